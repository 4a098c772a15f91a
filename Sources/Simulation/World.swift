// The world around the engine: one clock, one queue of what happens next, and everybody in it.
//
//     clients ──requests──▶ client device ──operations──▶ appliances        (Clients/, Device/, Network/)
//                               │    ▲
//                       changes ▼    │ records
//                            registry                                      (Registry.swift)
//
// Everything happens in an event at one place: a device, an appliance, or the world itself. A place that is
// dead loses its events, one that is paused gets them later in the same order. Nothing reads a clock or the
// system's random numbers, so a seed tells all that happens.

import RemoteMemory
import Registry

/// Where an event happens.
enum Place {
    case world
    case device(SimulatedDevice)
    case appliance(SimulatedAppliance)
}

/// Something that happens.
struct Event {
    var place: Place
    var action: () -> Void
}

/// Everything there is.
final class World {
    let scenario: Scenario
    let mutation: Mutation?
    let isTraced: Bool

    private var queue = EventQueue<Event>()
    private(set) var now: UInt64 = 0
    private(set) var events = 0

    /// Separate streams of chance: leaving one kind of fault out does not change the rest.
    var network: Chance
    var faults: Chance
    var clientChance: Chance
    var names: Chance
    /// Which members a check leaves out.
    var checks: Chance

    var appliances: [SimulatedAppliance] = []
    var devices: [SimulatedDevice] = []
    var clients: [SimulatedClient] = []
    let registry: SimulatedRegistry
    var ledger: Ledger
    /// Of an erasure set; nil for a mirror.
    let coder: StripeCoder?
    var probes = ProbeCounts()
    var violations: [String] = []
    var trace: [String] = []
    /// No more faults: everything is mended, and has to come to rest.
    var isHealing = false
    var isVolumeLost = false
    /// The requests that zeroes come from, for whoever repairs them.
    var zeroes: [ZeroKey: UInt64] = [:]
    /// Messages under way, for whoever wants to fail the n-th.
    var messages = 0
    var channelCount = 0
    var requestCount = 0
    var snapshotCount = 0
    /// When each snapshot of an erasure set was asked for.
    var cutsAskedFor: [String: UInt64] = [:]
    var snapshots: [KeptSnapshot] = []
    /// The write that each block shows in a snapshot, by the epoch of its cut.
    var cutContents: [Epoch: [UInt32]] = [:]
    var plannedFaults: [PlannedFault] = []
    /// How many blocks the volume is to have after so many requests, the last first.
    var plannedGrowth: [(request: Int, blocks: Int)] = []
    /// How many blocks the volume is to have now.
    var wantedBlocks: Int
    var scriptPosition = 0
    var isScriptOver = false
    /// The events from the last write of the script to its answer.
    var lastWrite = 1...1
    /// The event at which the first device died.
    var firstDeath: Int?

    init(_ scenario: Scenario, mutation: Mutation?, isTraced: Bool) {
        self.scenario = scenario
        self.mutation = mutation
        self.isTraced = isTraced
        network = Chance(seed: scenario.seed, stream: "network")
        faults = Chance(seed: scenario.seed, stream: "faults")
        clientChance = Chance(seed: scenario.seed, stream: "clients")
        names = Chance(seed: scenario.seed, stream: "names")
        checks = Chance(seed: scenario.seed, stream: "checks")
        wantedBlocks = scenario.firstBlocks ?? scenario.blocks
        ledger = Ledger(blocks: scenario.blocks, mayTear: scenario.code == nil)
        coder = scenario.stripes.map { StripeCoder($0) }
        registry = SimulatedRegistry(scenario, &names)
        registry.world = self
        build()
    }

    private func build() {
        for index in 0..<scenario.memberCount + scenario.spares {
            let appliance = SimulatedAppliance(
                index: index, incarnation: Incarnation(.random(using: &names)), world: self)
            appliances.append(appliance)
        }
        var members: [MemberRecord] = []
        for index in 0..<scenario.memberCount {
            let id = RegionID(.random(using: &names))
            let region = SimulatedRegion(
                id: id, dataSize: scenario.regionSize(of: scenario.firstSize))
            appliances[index].regions[id] = region
            OrderedAccess(region: region, budget: StoreBudget()).writeLabel(
                RegionLabel(
                    volume: registry.volumeID, region: id, size: scenario.firstSize,
                    epoch: Epoch(1)))
            members.append(
                MemberRecord(
                    index: MemberIndex(index), state: .active, region: id,
                    appliance: appliances[index].name, incarnation: appliances[index].incarnation))
        }
        registry.create(members: members)
    }

    // MARK: Events

    /// Has something happen `delay` nanoseconds from now.
    func after(_ delay: UInt64, at place: Place = .world, _ action: @escaping () -> Void) {
        queue.push(Event(place: place, action: action), at: now + delay)
    }

    /// Has something happen at a time that is not in the past.
    func at(_ time: UInt64, _ place: Place, _ action: @escaping () -> Void) {
        queue.push(Event(place: place, action: action), at: time)
    }

    /// Lets the next event happen; false when there is none.
    func step() -> Bool {
        guard let (time, event) = queue.pop() else { return false }
        now = time
        events += 1
        followScript()
        dispatch(event)
        return true
    }

    func forgetEvents() { queue.removeAll() }

    func dispatch(_ event: Event) {
        switch event.place {
        case .world: event.action()
        case .device(let device):
            switch device.life {
            case .running: event.action()
            case .paused: device.backlog.append(event)
            case .dead: break
            }
        case .appliance(let appliance):
            switch appliance.life {
            case .running: event.action()
            case .hung: appliance.backlog.append(event)
            case .dead: break
            }
        }
    }

    // MARK: What is noticed

    func note(_ text: @autoclosure () -> String) {
        if isTraced { trace.append("\(now / 1000) µs  \(text())") }
    }

    func violated(_ text: String) {
        if isTraced { trace.append("\(now / 1000) µs  VIOLATION \(text)") }
        if violations.count < 16 { violations.append(text) }
    }

    /// The device that clients are to be served by: the newest that lives.
    var currentDevice: SimulatedDevice? { devices.last { $0.life != .dead } }

    /// The region of a member, wherever it is; nil when its memory is gone.
    func region(_ member: MemberRecord) -> SimulatedRegion? {
        guard let appliance = appliances.first(where: { $0.name == member.appliance }),
            appliance.incarnation == member.incarnation
        else { return nil }
        return appliance.regions[member.region]
    }
}
