// Carrying out a fault, waiting for its time, and undoing it, in the thread of that fault.

import Glibc
import TestSupport

/// Does to a run's cluster what a storm says.
struct FaultInjector {
    /// How many appliances may be added to those a run begins with.
    static let extraAppliances = 3
    /// Attempts to start a client device again: while its registry is full it may refuse.
    private static let startAttempts = 5
    private static let startPause: Duration = .milliseconds(500)
    /// How long a client device may go on after another took over and it was woken.
    private static let formerLimit: Duration = .seconds(30)

    let run: ChaosRun
    private var cluster: Cluster { run.cluster }

    /// Gives what came of it, for the journal.
    func carryOut(_ scheduled: ScheduledFault) throws -> String {
        let duration = scheduled.duration
        switch scheduled.fault {
        case .kill(let role): return try kill(role, for: duration, keepingMemory: false)
        case .restart(let name):
            return try kill(.appliance(name), for: duration, keepingMemory: true)
        case .suspend(let role): return try suspend([role], for: duration)
        case .suspendAllAppliances:
            return try suspend(cluster.applianceNames.map { .appliance($0) }, for: duration)
        case .takeOver: return try takeOver(after: duration)
        case .fillRegistry:
            run.disk?.fill()
            sleepFor(duration)
            run.disk?.makeRoom()
            return "has room again"
        case .network(let host, let direction, let condition):
            cluster.lab?.setCondition(condition, of: host, direction)
            sleepFor(duration)
            cluster.lab?.setCondition(PathCondition(), of: host, direction)
            return "sound again"
        case .linkDown(let host):
            try cluster.lab?.setLink(of: host, isUp: false)
            sleepFor(duration)
            try cluster.lab?.setLink(of: host, isUp: true)
            return "up again"
        case .createSnapshot(let volume, let isImmediate):
            return try run.volumes[volume].createSnapshot(isImmediate: isImmediate)
        case .deleteSnapshot(let volume): return try run.volumes[volume].deleteSnapshot()
        case .scrub(let volume): return try scrub(run.volumes[volume].name)
        case .resize(let volume): return try run.volumes[volume].resize()
        case .limitRebuild(let volume, let limit):
            return outcome(
                try cluster.cli("rebuild", run.volumes[volume].name, "--limit", "\(limit)"))
        case .addAppliance: return try addAppliance()
        case .removeAppliance(let name): return try removeAppliance(name)
        }
    }

    // MARK: Processes

    private func kill(
        _ role: Cluster.Role, for duration: Duration, keepingMemory: Bool
    ) throws -> String {
        noteCrash(of: role)
        try cluster.kill(role)
        sleepFor(duration)
        if case .appliance(let name) = role, !keepingMemory { cluster.forgetMemory(of: name) }
        try start(role)
        return "started again"
    }

    private func suspend(_ roles: [Cluster.Role], for duration: Duration) throws -> String {
        for role in roles { try cluster.signal(SIGSTOP, to: role) }
        sleepFor(duration)
        for role in roles { try cluster.signal(SIGCONT, to: role) }
        return "goes on"
    }

    private func takeOver(after duration: Duration) throws -> String {
        try cluster.signal(SIGSTOP, to: .client)
        defer { try? cluster.signal(SIGCONT, to: .client) }
        let former = try cluster.takeOver()
        sleepFor(duration)
        former?.signal(SIGCONT)
        if let former, former.waitForExit(atMost: Self.formerLimit) == nil {
            run.report("a client device whose sets were taken over goes on")
        }
        return "taken over"
    }

    /// Starts a process again; a client device several times, if it must be.
    private func start(_ role: Cluster.Role) throws {
        var problem: (any Error)?
        for _ in 0..<Self.startAttempts {
            do {
                return try cluster.start(role)
            } catch {
                problem = error
                noteCrash(of: role)
                try? cluster.kill(role)
                run.journal.note("\(role) did not start: \(firstLine(of: error))")
                sleepFor(Self.startPause)
            }
        }
        if let problem { throw problem }
    }

    /// Continues and starts whatever does not run.
    func startEverything() throws {
        let roles = [.client] + cluster.applianceNames.map { Cluster.Role.appliance($0) }
        for role in roles {
            try cluster.signal(SIGCONT, to: role)
            guard !cluster.isRunning(role) else { continue }
            noteCrash(of: role)
            run.journal.note("\(role) had ended (\(ending(of: role))) and is started")
            try start(role)
        }
    }

    /// A process that a signal of its own ended is a finding, whatever became of the data.
    private func noteCrash(of role: Cluster.Role) {
        guard case .signalled(let number) = cluster.end(of: role), number != SIGKILL else { return }
        run.report("\(role) crashed with signal \(number)\(cluster.log)")
    }

    private func ending(of role: Cluster.Role) -> String {
        cluster.end(of: role).map { "\($0)" } ?? "unknown"
    }

    // MARK: Commands

    private func scrub(_ volume: String) throws -> String {
        let mismatches = try cluster.mismatchedExtents(of: volume)
        if mismatches > 0 { run.report("\(volume): members differ in \(mismatches) extents") }
        return "\(mismatches) mismatches"
    }

    private func addAppliance() throws -> String {
        let taken = Set(cluster.applianceNames)
        let names = (1...run.plan.appliances + Self.extraAppliances).map { "a\($0)" }
        guard let name = names.first(where: { !taken.contains($0) }) else {
            return "there are enough"
        }
        try cluster.addAppliance(name)
        return "\(name) added"
    }

    private func removeAppliance(_ name: String) throws -> String {
        guard cluster.applianceNames.count > run.plan.appliances else { return "there are too few" }
        let drain = try cluster.cli(["appliance", "drain", name], atMost: .seconds(180))
        let removal = try cluster.removeAppliance(name)
        // What keeps its members is to be used again.
        if !removal.succeeded { _ = try cluster.cli("appliance", "drain", name, "--cancel") }
        return "drain: \(outcome(drain)); remove: \(outcome(removal))"
    }
}
