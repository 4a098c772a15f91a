// What a run amounts to, for people and as JSON. Both say the same.

import FoundationEssentials
import Simulation

/// The outcome of a run of many seeds, one seed, or the exhaustive search.
struct Outcome: Codable, Equatable {
    /// The software that was run.
    let commit: String
    var scenario: String?
    var mutation: String?
    /// Seeds that were run to their end; nil for the exhaustive search.
    var seeds: Int?
    /// Requests of clients.
    var operations: Int
    var events: Int
    let processorSeconds: Double
    let seconds: Double
    /// Requests of clients in a minute of processor time; nil when it took no time.
    let operationsPerCPUMinute: Double?
    /// How often each rare path was taken, by name.
    var probes: [String: Int]
    /// Rare paths that were never taken.
    var missingProbes: [String]
    /// The user ended it before its end.
    var isInterrupted = false
    var finding: Finding?
    /// All of the trace, when one seed was run.
    var trace: [String]?

    init(
        commit: String, operations: Int, events: Int, probes: ProbeCounts,
        processorSeconds: Double, seconds: Double
    ) {
        self.commit = commit
        self.operations = operations
        self.events = events
        self.processorSeconds = processorSeconds
        self.seconds = seconds
        operationsPerCPUMinute =
            processorSeconds > 0 ? Double(operations) / processorSeconds * 60 : nil
        self.probes = Dictionary(
            uniqueKeysWithValues: Probe.allCases.map { ($0.name, probes[$0]) })
        missingProbes = probes.missing.map(\.name)
    }
}

/// A seed that failed, or what the exhaustive search found.
struct Finding: Codable, Equatable {
    var seed: UInt64?
    var violations: [String]
    /// The line that runs it again.
    var replay: String
    /// The smallest scenario that still fails; nil when nothing was shrunk.
    var shrunk: String?
    var shrunkViolations: [String] = []
    /// The last lines of the trace of the shrunk scenario.
    var trace: [String] = []
}

extension Outcome {
    /// What was counted, in a few lines.
    var text: String {
        var head = isInterrupted ? "Interrupted. " : ""
        if let seeds { head += "\(seeds) seed\(seeds == 1 ? "" : "s"), " }
        head += "\(operations) operations, \(events) events"
        if let mutation { head += ", with the mutation \(mutation)" }
        let rate = operationsPerCPUMinute.map { "\(Int($0))" } ?? "unknown"
        var lines = [
            head,
            "\(tenths(seconds)) s, \(tenths(processorSeconds)) s of processor time, "
                + "\(rate) operations per CPU minute",
        ]
        let hit = probes.filter { $0.value > 0 }
        if !hit.isEmpty {
            lines.append("Rare paths taken:")
            let width = hit.keys.map(\.count).max() ?? 0
            // In the order of their definition.
            for probe in Probe.allCases {
                guard let count = hit[probe.name] else { continue }
                let gap = String(repeating: " ", count: width - probe.name.count)
                lines.append("  \(probe.name)\(gap)  \(count)")
            }
        }
        if !missingProbes.isEmpty {
            lines.append("Rare paths never taken: " + missingProbes.joined(separator: ", "))
        }
        return lines.joined(separator: "\n")
    }

    var json: String {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            return String(decoding: try encoder.encode(self), as: UTF8.self)
        }
    }
}

extension Finding {
    /// All that is needed to look into it.
    func text(commit: String) -> String {
        var lines = ["FAILED: " + (seed.map { "seed \($0), " } ?? "") + "commit \(commit)"]
        lines += violations.map { "  \($0)" }
        lines.append("Replay: \(replay)")
        if let shrunk {
            lines.append("Shrunk to: \(shrunk)")
            lines += shrunkViolations.map { "  \($0)" }
        }
        if !trace.isEmpty {
            lines.append("Its last \(trace.count) steps:")
            lines += trace.map { "  \($0)" }
        }
        return lines.joined(separator: "\n")
    }
}

/// `value`, not negative, with one digit after the point.
func tenths(_ value: Double) -> String {
    let count = Int((value * 10).rounded())
    return "\(count / 10).\(count % 10)"
}
