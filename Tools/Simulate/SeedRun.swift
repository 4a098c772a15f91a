// What a seed stands for here: a scenario, with the steps and the mutation asked for. It is run, and
// when it fails it is shrunk and told.

import Simulation

/// How to run seeds.
struct SeedRun: Sendable {
    /// Lines of the shrunk scenario's trace that are shown.
    static let traceLimit = 200

    var scenario: String?
    /// Steps of a run; nil for as many as the scenario has.
    var steps: Int?
    var mutation: Mutation?

    /// Everything but the seed, as on the command line; begins with a space unless empty.
    var options: String {
        var options = ""
        if let scenario { options += " --scenario \(scenario)" }
        if let steps { options += " --steps \(steps)" }
        if let mutation { options += " --mutation \(mutation.rawValue)" }
        return options
    }

    func replayLine(of seed: UInt64) -> String { "Tools/simulate --seed \(seed)\(options)" }

    func scenario(of seed: UInt64) throws -> Scenario {
        var made = try Scenario(seed: seed, name: scenario)
        if let steps { made.steps = steps }
        return made
    }

    /// Runs `seed`; what cannot be run is a violation, too.
    func run(_ seed: UInt64, isTraced: Bool = false) -> RunReport {
        do {
            return Simulator.run(
                try scenario(of: seed), mutation: mutation, isTraced: isTraced)
        } catch {
            var report = RunReport()
            report.violations = ["The scenario of this seed cannot be made: \(error)"]
            return report
        }
    }

    /// Shrinks what fails with `seed`, and traces the result.
    func finding(of seed: UInt64, _ violations: [String], isShrinking: Bool) -> Finding {
        var finding = Finding(
            seed: seed, violations: violations, replay: replayLine(of: seed))
        guard isShrinking, let failing = try? scenario(of: seed) else { return finding }
        var line = ProgressLine()
        let shrinker = Shrinker()
        TrapReport.note(worker: 0, runs: seed)
        let smallest = shrinker.shrink(failing) { progress in
            line.show(
                "shrinking seed \(seed), \(progress.cuts) cuts", done: progress.tries,
                of: shrinker.tryLimit, "tries at most")
        } fails: { candidate in
            // Once the user has had enough, nothing gets smaller.
            !Interruption.isRequested
                && !Simulator.run(candidate, mutation: mutation, isTraced: false).violations.isEmpty
        }
        let report = Simulator.run(smallest, mutation: mutation, isTraced: true)
        TrapReport.note(worker: 0, runs: nil)
        line.finish()
        finding.shrunk = "\(smallest)"
        finding.shrunkViolations = report.violations
        finding.trace = report.trace.suffix(Self.traceLimit)
        return finding
    }
}
