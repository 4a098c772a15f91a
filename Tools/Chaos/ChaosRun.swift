// A run: a cluster, volumes under load, and storms with a calm after each.
//
//     start ─→ storm ─→ calm ─→ storm ─→ calm ─→ … ─→ time is up, or something is wrong
//
// In a calm everything is undone and started again; the cluster must heal within a bounded time; then the
// load pauses, everything acknowledged is read back, and the members are compared. What is wrong ends the
// run: the first finding is the one that can be understood.

import Foundation
import Glibc
import TestSupport

/// What a run is asked for.
struct ChaosPlan: Sendable {
    var seed: UInt64
    var seconds: Double
    var transport: Cluster.Transport
    var layout: String
    /// How many members a set of that layout can lose.
    var spare: Int
    var appliances: Int
    /// As `holdfast serve --evict-after` takes it.
    var evictAfter: String
    /// A wrong block is written, to see that it is found.
    var isCorrupting: Bool
    var hasNetwork: Bool
}

/// What a run came to so far.
struct ChaosTally: Sendable {
    var storms = 0
    /// By kind.
    var faults: [String: Int] = [:]
    var findings: [String] = []
}

/// The cluster and its volumes; used by the main thread, and by one thread for each fault.
final class ChaosRun: Sendable {
    /// How long a cluster may take to heal when nothing disturbs it any more.
    static let healLimit: Duration = .seconds(120)
    /// How long a fault may take to be over, commands included.
    private static let faultLimit: Duration = .seconds(240)
    /// Writes that every volume must acknowledge in a calm.
    private static let calmWrites = 50

    let plan: ChaosPlan
    let journal: Journal
    let cluster: Cluster
    let volumes: [LoadedVolume]
    let disk: SmallDisk?
    private let tally = Monitor(ChaosTally())
    private let faultsUnderWay = Monitor(0)
    /// Processes that a fault has to itself.
    private let occupied = Monitor<Set<Cluster.Role>>([])

    /// Starts the cluster and the load.
    init(_ plan: ChaosPlan, journal: Journal) throws {
        self.plan = plan
        self.journal = journal
        disk = SmallDisk.obstacle == nil ? try SmallDisk() : nil
        var cluster = Cluster.Plan()
        cluster.transport = plan.transport
        cluster.appliances = plan.appliances
        cluster.evictAfter = plan.evictAfter
        cluster.keepsMemory = plan.transport == .tcp
        cluster.hasNetwork = plan.hasNetwork
        cluster.spareHosts = FaultInjector.extraAppliances
        cluster.seed = plan.seed
        let started = try Cluster(cluster, in: disk?.directory)
        self.cluster = started
        volumes = try LoadedVolume.kinds(seed: plan.seed).enumerated().map { number, kind in
            try LoadedVolume("v\(number + 1)", kind, layout: plan.layout, on: started)
        }
        for volume in volumes { try volume.writer.waitForWrites(Self.calmWrites) }
        journal.note("started with seed \(plan.seed)")
    }

    var progress: ChaosTally { tally.withLock { $0 } }
    var writes: [VerifyingWriter.Counts] { volumes.map(\.writer.progress) }

    /// Plays storms until the time is up, something is wrong, or `isInterrupted`.
    func play(watch: () -> Void, isInterrupted: () -> Bool) {
        var random = SeededGenerator(seed: plan.seed)
        repeat {
            playStorm(Storm.draw(against: target, using: &random), watch: watch)
            do {
                try calm()
            } catch {
                report("the cluster does not heal: \(error)")
            }
            tally.withLock { $0.storms += 1 }
            watch()
        } while journal.seconds < plan.seconds && progress.findings.isEmpty && !isInterrupted()
    }

    /// Ends everything.
    func stop() {
        for volume in volumes { _ = try? volume.writer.stop(atMost: .seconds(10)) }
        cluster.stop()
    }

    func report(_ finding: String) {
        journal.note("WRONG: \(finding)")
        tally.withLock { $0.findings.append(finding) }
    }

    private var target: StormTarget {
        StormTarget(
            appliances: cluster.applianceNames, volumes: volumes.count, spare: plan.spare,
            hasNetwork: plan.hasNetwork, canFillRegistry: disk != nil,
            keepsMemory: plan.transport == .tcp)
    }

    // MARK: A storm

    private func playStorm(_ storm: [ScheduledFault], watch: () -> Void) {
        journal.note("storm \(progress.storms + 1)")
        let start = ContinuousClock.now
        for scheduled in storm {
            while ContinuousClock.now < start + scheduled.start {
                sleepFor(min(.milliseconds(50), start + scheduled.start - ContinuousClock.now))
                watch()
            }
            launch(scheduled)
        }
        let areOver = eventually(atMost: Self.faultLimit, every: .milliseconds(50)) { () -> Bool? in
            watch()
            return faultsUnderWay.withLock { $0 == 0 ? true : nil }
        }
        if areOver == nil { report("a fault or command was not over within \(Self.faultLimit)") }
    }

    /// Lets a thread carry out a fault, unless another has its processes.
    private func launch(_ scheduled: ScheduledFault) {
        let fault = scheduled.fault
        let roles =
            fault == .suspendAllAppliances
            ? cluster.applianceNames.map { .appliance($0) } : fault.occupied
        let isFree = occupied.withLock { occupied in
            guard occupied.isDisjoint(with: roles) else { return false }
            occupied.formUnion(roles)
            return true
        }
        guard isFree else { return }
        tally.withLock { $0.faults[fault.kind, default: 0] += 1 }
        journal.note("\(fault), for \(scheduled.duration)")
        faultsUnderWay.withLock { $0 += 1 }
        Thread.detachNewThread { [self] in
            let injector = FaultInjector(run: self)
            do {
                journal.note("\(fault): \(try injector.carryOut(scheduled))")
            } catch {
                // Refused commands and processes that could not start are for the calm to judge.
                journal.note("\(fault): \(firstLine(of: error))")
            }
            occupied.withLock { $0.subtract(roles) }
            faultsUnderWay.withLock { $0 -= 1 }
        }
    }

    // MARK: A calm

    private func calm() throws {
        disk?.makeRoom()
        try cluster.lab?.heal()
        try FaultInjector(run: self).startEverything()
        // (It fails for a volume that cannot be healthy yet; its limit is gone all the same.)
        for volume in volumes { _ = try cluster.cli("rebuild", volume.name, "--limit", "0") }
        try cluster.waitUntilHealthy(atMost: Self.healLimit)
        journal.note("healthy")
        for volume in volumes {
            try volume.writer.waitForWrites(Self.calmWrites, atMost: Self.healLimit)
        }
        for volume in volumes { try volume.pause() }
        if plan.isCorrupting { try volumes[0].corrupt() }
        for volume in volumes {
            for finding in try volume.findings() { report(finding) }
        }
        guard progress.findings.isEmpty else { return }
        for volume in volumes { volume.writer.start() }
        journal.note("all is there: \(writes.map(\.acknowledgedWrites)) writes acknowledged")
    }
}

/// An error without the logs that reports have behind it.
func firstLine(of error: any Error) -> String {
    "\(error)".split(separator: "\n").first.map(String.init) ?? ""
}
