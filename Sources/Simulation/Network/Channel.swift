// The way from one client device to one region: ordered, and cut at most once.
//
// A cut is noticed by both ends. A link that is down without a word delays what is on its way until it is
// up again, as retransmission does: in one direction or both.

import RemoteMemory

/// An ordered channel of operations and their outcomes.
final class Channel {
    let id: Int
    let appliance: SimulatedAppliance
    let region: RegionID
    var member: MemberIndex
    private let run: Int
    /// The device may send; outcomes are of interest.
    var isOpen = true
    /// What arrives later was lost with the sender's host.
    var lostAfter = UInt64.max
    var lastArrival: UInt64 = 0
    var lastReply: UInt64 = 0
    /// When the last phase of an access began to be placed (RDMA).
    var lastPhase: UInt64 = 0
    /// The region, once it is mapped (shared memory).
    var mapping: SimulatedRegion?
    var phaseStates: [Int: PhaseState] = [:]
    private var outstanding: [Int: OutstandingOperation] = [:]
    private var nextKey = 0

    init(id: Int, appliance: SimulatedAppliance, region: RegionID, member: MemberIndex) {
        self.id = id
        self.appliance = appliance
        self.region = region
        self.member = member
        run = appliance.run
    }

    /// The process at the other end is not the one that the channel was opened to.
    var isStale: Bool { appliance.life == .dead || appliance.run != run }

    /// Keeps an operation until its outcome is there.
    func await(_ operation: OutstandingOperation) -> Int {
        nextKey += 1
        outstanding[nextKey] = operation
        return nextKey
    }

    /// The outcome is there: it counts unless the channel was cut.
    func resolve(_ key: Int, _ body: () -> Void) {
        phaseStates[key] = nil
        guard isOpen, outstanding.removeValue(forKey: key) != nil else { return }
        body()
    }

    /// All operations without an outcome, oldest first.
    func takeOutstanding() -> [OutstandingOperation] {
        defer { outstanding = [:] }
        return outstanding.sorted { $0.key < $1.key }.map(\.value)
    }
}

/// What is down between a device and an appliance.
final class Link {
    var isDownThere = false
    var isDownBack = false
    var heldThere: [() -> Void] = []
    var heldBack: [() -> Void] = []
}

extension World {
    func latency(_ appliance: SimulatedAppliance) -> UInt64 {
        let usual = UInt64(network.within(5...40)) * 1000
        return usual + appliance.slowness + (network.oneIn(200) ? 3_000_000 : 0)
    }

    /// Sends something to an appliance; a hung one takes it later, a dead one never.
    func send(_ channel: Channel, from device: SimulatedDevice, _ action: @escaping () -> Void) {
        let time = max(channel.lastArrival + 1, now + latency(channel.appliance))
        channel.lastArrival = time
        let link = device.link(to: channel.appliance)
        // (A NIC needs nobody: operations reach the memory of a process that hangs.)
        let place: Place =
            scenario.transport == .verbs ? .world : .appliance(channel.appliance)
        let arrive = { [self] in
            // (A process that is gone, or another one since, knows nothing of this connection.)
            if channel.isStale {
                device.reset(channel)
            } else if !device.isLost(channel) {
                dispatch(Event(place: place, action: action))
            }
        }
        at(time, .world) {
            if link.isDownThere {
                link.heldThere.append(arrive)
            } else {
                arrive()
            }
        }
    }

    /// Sends an answer to a device.
    func answer(_ channel: Channel, to device: SimulatedDevice, _ action: @escaping () -> Void) {
        let time = max(channel.lastReply + 1, now + latency(channel.appliance))
        channel.lastReply = time
        let link = device.link(to: channel.appliance)
        at(time, .world) { [self] in
            if link.isDownBack {
                link.heldBack.append { [self] in
                    dispatch(Event(place: .device(device), action: action))
                }
            } else {
                dispatch(Event(place: .device(device), action: action))
            }
        }
    }

    /// Mends a link: what was held arrives now, in order.
    func mend(_ link: Link) {
        link.isDownThere = false
        link.isDownBack = false
        let there = link.heldThere
        let back = link.heldBack
        link.heldThere = []
        link.heldBack = []
        for action in there { action() }
        for action in back { action() }
    }
}
