// The engine in a world that is made up: clients, appliances, a registry and all their faults come from
// a seed, and what clients see is judged. The same seed of the same software always runs the same.

import ArgumentParser
import FoundationEssentials
import Glibc
import Simulation

@main
struct Simulate: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate",
        abstract: "Runs the engine in a world full of faults, and judges what clients see.",
        discussion: """
            The exit status is 1 when something was wrong, 64 when the arguments were, and 130 when \
            it was interrupted.
            """)

    /// Seeds run when nothing else is asked for.
    private static let usualSeeds: UInt64 = 100

    @Option(help: "Run this seed alone, and print its trace.")
    var seed: UInt64?
    @Option(help: "How many seeds to run (default: 100).")
    var seeds: UInt64?
    @Option(help: "The first seed.")
    var first: UInt64 = 1
    @Option(
        help: ArgumentHelp(
            "A scenario instead of one that the seed chooses.",
            discussion: "One of \(Scenario.names.joined(separator: ", "))."))
    var scenario: String?
    @Option(help: "Steps of each run, instead of as many as the scenario has.")
    var steps: Int?
    @Option(help: "Threads (default: one for each core).")
    var jobs: Int?

    @Flag(help: "See that every deliberate mistake is found within the seeds it is allowed.")
    var mutations = false
    @Option(
        help: ArgumentHelp(
            "Make this deliberate mistake.",
            discussion: "One of \(Mutation.allCases.map(\.rawValue).joined(separator: ", "))."),
        transform: mutationArgument)
    var mutation: Mutation?
    @Flag(help: "Let the device die at every step of a short story, and every operation fail once.")
    var exhaustive = false
    @Flag(help: "Print what becomes of half-done writes, found by trying.")
    var table = false

    @Flag(help: "Exit with status 1 when a rare path was never taken.")
    var requireProbes = false
    @Flag(help: "Leave a failing scenario as it is.")
    var noShrinking = false
    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        let modes = [seed != nil, seeds != nil, mutations, exhaustive, table].filter { $0 }.count
        guard modes <= 1 else {
            throw ValidationError(
                "Give one of --seed, --seeds, --mutations, --exhaustive and --table.")
        }
        guard seeds ?? 1 >= 1, seeds ?? 1 <= 1 << 40, first < 1 << 62 else {
            throw ValidationError("--seeds is from 1 to 2^40, and --first below 2^62.")
        }
        guard (1...TrapReport.workerLimit).contains(jobs ?? 1) else {
            throw ValidationError("--jobs is from 1 to \(TrapReport.workerLimit).")
        }
        guard steps ?? 1 >= 1 else { throw ValidationError("--steps is at least 1.") }
        if let scenario {
            do {
                _ = try Scenario(seed: 1, name: scenario)
            } catch {
                throw ValidationError("\(error)")
            }
        }
        guard mutation == nil || !(mutations || exhaustive) else {
            throw ValidationError("--mutation goes with --seed and --seeds.")
        }
        guard !exhaustive || (scenario == nil && steps == nil) else {
            throw ValidationError("--exhaustive has a world of its own; leave out the scenario.")
        }
        guard !(mutations && requireProbes) else {
            throw ValidationError("--require-probes counts nothing with --mutations.")
        }
    }

    func run() throws {
        Interruption.install()
        if mutations {
            let isComplete = try MutationRun(
                first: first, scenario: scenario, steps: steps, jobs: threadCount, isJSON: json
            ).play()
            if Interruption.isRequested { throw ExitCode(Interruption.exitStatus) }
            if !isComplete { throw ExitCode.failure }
            return
        }
        if table { return printTable() }
        let outcome: Outcome
        if exhaustive {
            outcome = searchExhaustively()
        } else if let seed {
            outcome = replay(seed)
        } else {
            outcome = runSeeds()
        }
        try tell(outcome)
    }

    // MARK: What is run

    private var threadCount: Int {
        min(jobs ?? ProcessInfo.processInfo.activeProcessorCount, TrapReport.workerLimit)
    }
    private var commit: String { environment("HOLDFAST_COMMIT") ?? "unknown" }
    private var seedRun: SeedRun { SeedRun(scenario: scenario, steps: steps, mutation: mutation) }

    private func runSeeds() -> Outcome {
        let plan = seedRun
        TrapReport.install(replayOptions: plan.options, isJSON: json)
        let count = seeds ?? mutation.map { UInt64($0.seedsAllowed) } ?? Self.usualSeeds
        let campaign = Campaign(seeds: first..<first + count, jobs: threadCount) { plan.run($0) }
        let stopwatch = Stopwatch()
        var line = ProgressLine()
        let tally = campaign.play {
            line.show("simulating", done: campaign.tally.seeds, of: Int(count), "seeds")
            if Interruption.isRequested { campaign.stop() }
            guard Interruption.count > 1 else { return }
            note("Not waiting for the seeds \(campaign.running).")
            _exit(Interruption.exitStatus)
        }
        line.finish()
        var outcome = outcome(
            stopwatch, operations: tally.operations, events: tally.events, probes: tally.probes)
        outcome.seeds = tally.seeds
        outcome.isInterrupted = Interruption.isRequested && tally.failure == nil
        if let (seed, violations) = tally.failure {
            outcome.finding = plan.finding(of: seed, violations, isShrinking: !noShrinking)
        }
        return outcome
    }

    private func replay(_ seed: UInt64) -> Outcome {
        let plan = seedRun
        TrapReport.install(replayOptions: plan.options, isJSON: json)
        TrapReport.note(worker: 0, runs: seed)
        let stopwatch = Stopwatch()
        let report = plan.run(seed, isTraced: true)
        TrapReport.note(worker: 0, runs: nil)
        var outcome = outcome(
            stopwatch, operations: report.operations, events: report.events,
            probes: report.probes)
        outcome.seeds = 1
        if json { outcome.trace = report.trace } else { report.trace.forEach(say) }
        if !report.violations.isEmpty {
            outcome.finding = plan.finding(
                of: seed, report.violations, isShrinking: !noShrinking)
        }
        return outcome
    }

    private func searchExhaustively() -> Outcome {
        let stopwatch = Stopwatch()
        var line = ProgressLine()
        let report = Simulator.exhaustive { explored, known in
            line.show("searching", done: explored, of: known, "small worlds")
            return !Interruption.isRequested
        }
        line.finish()
        var outcome = outcome(
            stopwatch, operations: report.operations, events: report.events,
            probes: report.probes)
        outcome.isInterrupted = Interruption.isRequested && report.violations.isEmpty
        if !report.violations.isEmpty {
            outcome.finding = Finding(
                violations: report.violations, replay: "Tools/simulate --exhaustive",
                trace: report.trace.suffix(SeedRun.traceLimit))
        }
        return outcome
    }

    private func printTable() {
        var line = ProgressLine()
        let rows = Simulator.halfDoneWrites { line.show("trying", done: $0, of: $1, "rows") }
        line.finish()
        func words(_ found: Set<HalfDoneOutcome>) -> String {
            found.isEmpty ? "–" : found.sorted().map(\.rawValue).joined(separator: ", ")
        }
        say("| layout | ordering | transport | alone | with appliances | as the last copy | runs |")
        say("|---|---|---|---|---|---|---|")
        for row in rows {
            say(
                "| \(row.layout) | \(row.ordering) | \(row.transport) | \(words(row.aloneLost)) "
                    + "| \(words(row.someLost)) | \(words(row.othersLostBefore)) | \(row.runs) |")
        }
    }

    // MARK: What is told

    private func outcome(
        _ stopwatch: Stopwatch, operations: Int, events: Int, probes: ProbeCounts
    ) -> Outcome {
        var outcome = Outcome(
            commit: commit, operations: operations, events: events, probes: probes,
            processorSeconds: stopwatch.processorSeconds, seconds: stopwatch.seconds)
        outcome.scenario = scenario
        outcome.mutation = mutation?.rawValue
        return outcome
    }

    private func tell(_ outcome: Outcome) throws {
        say(json ? try outcome.json : outcome.text)
        if let finding = outcome.finding {
            if !json { say(finding.text(commit: commit)) }
            throw ExitCode.failure
        }
        if outcome.isInterrupted { throw ExitCode(Interruption.exitStatus) }
        if requireProbes, !outcome.missingProbes.isEmpty {
            note("Never taken: " + outcome.missingProbes.joined(separator: ", "))
            throw ExitCode.failure
        }
    }
}

private func mutationArgument(_ text: String) throws -> Mutation {
    guard let mutation = Mutation(rawValue: text) else {
        let names = Mutation.allCases.map(\.rawValue).joined(separator: ", ")
        throw ValidationError("There is no mutation \"\(text)\"; choose one of \(names).")
    }
    return mutation
}
