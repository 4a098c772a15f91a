// Real processes under a load that knows what it may read back, in storms of everything that goes wrong
// on real machines. Which storms there are comes from the seed; how they meet the load is the machine's.

import ArgumentParser
import Foundation
import Glibc
import TestSupport

@main
struct ChaosCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chaos",
        abstract: "Kills, suspends and disturbs a cluster under load, and says what was lost.",
        discussion: """
            The exit status is 1 when a block was lost or wrong or the cluster did not heal, 64 when \
            the arguments made no sense, and 130 when it was interrupted.
            """)

    /// Lines of the log that are shown when something was wrong.
    private static let shownLogLines = 40

    @Option(help: "How long; the storm that has begun is played to its end.")
    var minutes: Double = 3
    @Option(help: "Which storms (default: one chosen at random, and told).")
    var seed: UInt64?
    @Option(help: "How many appliances there are at first.")
    var appliances = 5
    @Option(help: "How the volumes' data is kept, such as mirror:3.")
    var layout = "mirror:3"
    @Option(help: "How appliances are reached: shared-memory or tcp.")
    var transport: Cluster.Transport = .sharedMemory
    @Option(
        help: ArgumentHelp(
            "How long an appliance may be silent; on a machine that is busy with other things, longer.",
            valueName: "time"))
    var evictAfter = "300ms"
    @Flag(
        help: "By tcp: stay on loopback, also where hosts with a network between them can be made.")
    var noNetwork = false
    @Option(help: "The file that tells every fault with its time.")
    var log: String?
    @Flag(
        help: ArgumentHelp(
            "Write a wrong block after the first storm: it must be found.", visibility: .hidden))
    var corrupt = false
    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard minutes > 0, minutes <= 10000 else {
            throw ValidationError("--minutes is above 0 and at most 10000.")
        }
        guard let spare = Self.spareMembers(of: layout) else {
            throw ValidationError("\(layout) is no layout; write one such as mirror:3.")
        }
        guard spare > 0 else {
            throw ValidationError("\(layout) can lose nothing; every storm would be its end.")
        }
        guard (spare + 1...32).contains(appliances) else {
            throw ValidationError("--appliances is at least what \(layout) needs, at most 32.")
        }
    }

    /// How many members a set of `layout` can lose; nil for what is no layout.
    static func spareMembers(of layout: String) -> Int? {
        let parts = layout.split(separator: ":")
        guard parts.count == 2 else { return nil }
        switch parts[0] {
        case "mirror": return Int(parts[1]).flatMap { $0 > 0 ? $0 - 1 : nil }
        case "erasure": return parts[1].split(separator: "+").last.flatMap { Int($0) }
        default: return nil
        }
    }

    func run() throws {
        Interruption.install()
        let seed = seed ?? .random(in: 1...0xFFFF_FFFF)
        let journal = try Journal(log ?? "/tmp/holdfast-chaos-\(seed).log")
        let plan = ChaosPlan(
            seed: seed, seconds: minutes * 60, transport: transport, layout: layout,
            spare: Self.spareMembers(of: layout) ?? 0, appliances: appliances,
            evictAfter: evictAfter, isCorrupting: corrupt,
            hasNetwork: transport == .tcp && !noNetwork && Requirement.networkLab.isMet)
        let run = try ChaosRun(plan, journal: journal)
        defer { run.stop() }
        var line = ProgressLine()
        run.play {
            let writes = run.writes.map(\.acknowledgedWrites).reduce(0, +)
            line.show(
                "storm \(run.progress.storms + 1), \(Int(journal.seconds)) of "
                    + "\(Int(plan.seconds)) s, \(writes) writes acknowledged")
        } isInterrupted: {
            Interruption.isRequested
        }
        line.finish()
        try tell(outcome(of: run, journal), run)
    }

    private func outcome(of run: ChaosRun, _ journal: Journal) -> Outcome {
        let progress = run.progress
        let counts = run.writes
        return Outcome(
            seed: run.plan.seed, transport: transport.rawValue, layout: layout,
            appliances: appliances, hasNetwork: run.plan.hasNetwork, seconds: journal.seconds,
            storms: progress.storms, faults: progress.faults,
            acknowledgedWrites: counts.map(\.acknowledgedWrites).reduce(0, +),
            reads: counts.map(\.reads).reduce(0, +),
            requestErrors: counts.map(\.requestErrors).reduce(0, +),
            lostConnections: counts.map(\.lostConnections).reduce(0, +),
            findings: progress.findings,
            isInterrupted: Interruption.isRequested, log: journal.path)
    }

    private func tell(_ outcome: Outcome, _ run: ChaosRun) throws {
        if json {
            say(try outcome.json)
        } else {
            if !outcome.findings.isEmpty {
                say("The end of \(outcome.log):")
                for line in run.journal.tail(Self.shownLogLines) { say("  \(line)") }
                say(run.cluster.log)
            }
            for finding in outcome.findings { say("WRONG: \(finding)") }
            say(outcome.summary)
        }
        if !outcome.findings.isEmpty { throw ExitCode.failure }
        if outcome.isInterrupted { throw ExitCode(Interruption.exitStatus) }
    }
}

extension Cluster.Transport: ExpressibleByArgument {}
