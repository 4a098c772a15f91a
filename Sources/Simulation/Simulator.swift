// One run: requests and faults, then everything is mended, then everything is read and judged.

import Registry
import RemoteMemory
import ResiliencySet

/// What became of a run.
public struct RunReport: Sendable {
    public var violations: [String] = []
    /// Requests of clients.
    public var operations = 0
    public var events = 0
    public var probes = ProbeCounts()
    public var trace: [String] = []

    public init() {}
}

/// Runs scenarios.
public enum Simulator {
    /// How long everything may take to come to rest once it is mended, in nanoseconds of virtual time.
    static let restLimit: UInt64 = 20_000_000_000

    /// Runs a scenario to its end; the same one always takes the same course.
    public static func run(
        _ scenario: Scenario, mutation: Mutation?, isTraced: Bool
    ) -> RunReport {
        let world = World(scenario, mutation: mutation, isTraced: isTraced)
        world.run()
        var report = RunReport()
        report.violations = world.violations
        report.operations = world.requestCount
        report.events = world.events
        report.probes = world.probes
        report.trace = world.trace
        world.dismantle()
        return report
    }

    public static func exhaustive(progress: (_ explored: Int, _ known: Int) -> Bool) -> RunReport {
        Exhaustive.run(progress: progress)
    }
}

extension World {
    func run() {
        planFaults()
        planGrowth()
        for number in 0..<scenario.clients {
            clients.append(SimulatedClient(number: number, world: self))
        }
        startDevice()
        keepClientsGoing()
        // Requests and faults.
        var deadline = now + 20_000_000_000
        while !isStoryOver, now < deadline, violations.isEmpty, !isVolumeLost, step() {}
        guard violations.isEmpty else { return }
        heal()
        deadline = now + Simulator.restLimit
        while !isAtRest, now < deadline, violations.isEmpty, step() {}
        guard violations.isEmpty else { return }
        readEverything()
        deadline = now + Simulator.restLimit
        while !isAtRest, now < deadline, violations.isEmpty, step() {}
        guard violations.isEmpty else { return }
        judge(atRest: isAtRest)
    }

    /// All requests were sent and answered.
    private var isStoryOver: Bool {
        let isSent = scenario.script == nil ? requestCount >= scenario.steps : isScriptOver
        return isSent && clients.allSatisfy(\.isIdle)
    }

    /// Whether a client may send another request: counts it, and lets happen what is due.
    func takeRequest() -> Bool {
        guard !isHealing, requestCount < scenario.steps else { return false }
        injectFaults()
        return true
    }

    /// Clients that lost their server look for another one.
    private func keepClientsGoing() {
        after(3_000_000) { [self] in
            for client in clients {
                if client.isIdle || isHealing { client.leaveOutdated() }
                client.device == nil ? client.connect() : client.think()
            }
            keepClientsGoing()
        }
    }

    /// One client reads every block.
    private func readEverything() {
        guard !isVolumeLost, let client = clients.first(where: { $0.device === devices.last })
        else {
            if !isVolumeLost { violated("no client is connected at the end") }
            return
        }
        let size = registry.record?.size ?? scenario.size
        for block in 0..<Int(size.bytes / Scenario.blockSize) {
            client.send(.read, block..<block + 1)
        }
    }

    /// Breaks the cycles of references that a world is made of.
    func dismantle() {
        for device in devices { device.dismantle() }
        for appliance in appliances { appliance.backlog = [] }
        clients = []
        devices = []
        forgetEvents()
    }
}
