// Deliberate mistakes, to see that the simulator finds them. Each is run in a process of its own: often
// it is the engine that notices first, and stops its whole process.

import FoundationEssentials
import Glibc
import Simulation

/// What became of one mutation.
struct MutationResult: Codable, Equatable {
    let mutation: String
    let isFound: Bool
    /// The smallest seed that showed it; nil when it was not found.
    var seed: UInt64?
    /// Seeds run to their end.
    var seeds: Int?
    /// Wall-clock seconds.
    let seconds: Double
    /// What showed it, or why it was not found.
    let evidence: String
}

/// Runs every mutation, one after the other.
struct MutationRun {
    let first: UInt64
    let scenario: String?
    let steps: Int?
    let jobs: Int
    let isJSON: Bool

    /// Prints a table, or JSON; whether all were found.
    func play() throws -> Bool {
        var results: [MutationResult] = []
        let width = Mutation.allCases.map(\.rawValue.count).max() ?? 0
        for (index, mutation) in Mutation.allCases.enumerated() {
            guard !Interruption.isRequested else { break }
            if !isJSON, index == 0 { say(Self.header(nameWidth: width)) }
            let result = try play(mutation)
            results.append(result)
            if !isJSON { say(result.row(nameWidth: width)) }
        }
        let missed = results.filter { !$0.isFound }
        let left = Mutation.allCases.count - results.count
        if isJSON {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
            say(String(decoding: try encoder.encode(results), as: UTF8.self))
        } else {
            say(
                "\(results.count - missed.count) found, \(missed.count) not found"
                    + (left > 0 ? ", \(left) not run" : ""))
            for miss in missed {
                guard let mutation = Mutation(rawValue: miss.mutation) else { continue }
                say("NOT FOUND: \(miss.mutation): \(mutation.description)")
            }
        }
        return missed.isEmpty && left == 0
    }

    private func play(_ mutation: Mutation) throws -> MutationResult {
        var arguments = [
            "--seeds", "\(mutation.seedsAllowed)", "--first", "\(first)", "--jobs", "\(jobs)",
            "--mutation", mutation.rawValue, "--json", "--no-shrinking",
        ]
        if let scenario { arguments += ["--scenario", scenario] }
        if let steps { arguments += ["--steps", "\(steps)"] }
        let stopwatch = Stopwatch()
        let child = try ChildRun(arguments)
        return Self.result(mutation, child, seconds: stopwatch.seconds)
    }

    /// Makes out of a child's output and end what became of `mutation`.
    static func result(
        _ mutation: Mutation, _ child: ChildRun, seconds: Double
    ) -> MutationResult {
        func result(
            _ isFound: Bool, _ evidence: String, seed: UInt64? = nil, seeds: Int? = nil
        ) -> MutationResult {
            MutationResult(
                mutation: mutation.rawValue, isFound: isFound, seed: seed, seeds: seeds,
                seconds: seconds, evidence: evidence)
        }
        let output = Data(child.output.utf8)
        if child.signal != nil {
            // (An interrupted child is killed, too, but it has not trapped.)
            guard let trap = try? JSONDecoder().decode(Trap.self, from: output) else {
                return result(false, "its process was killed")
            }
            return result(true, "the engine stopped itself", seed: trap.trapped.min())
        }
        guard let outcome = try? JSONDecoder().decode(Outcome.self, from: output) else {
            return result(false, "its process ended with status \(child.status), saying nothing")
        }
        guard let finding = outcome.finding else {
            return result(
                false, outcome.isInterrupted ? "interrupted" : "nothing was wrong",
                seeds: outcome.seeds)
        }
        return result(
            true, finding.violations.first ?? "", seed: finding.seed, seeds: outcome.seeds)
    }

    private struct Trap: Decodable { let trapped: [UInt64] }

    private static func header(nameWidth: Int) -> String {
        padded("mutation", nameWidth) + "  " + padded("found by seed", 13) + "  "
            + padded("seeds run", 9) + "  " + padded("s", 6) + "  evidence"
    }
}

extension MutationResult {
    fileprivate func row(nameWidth: Int) -> String {
        padded(mutation, nameWidth) + "  "
            + padded(isFound ? seed.map(String.init) ?? "?" : "NOT FOUND", 13) + "  "
            + padded(seeds.map(String.init) ?? "?", 9) + "  " + padded(tenths(seconds), 6) + "  "
            + evidence
    }
}

private func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
}
