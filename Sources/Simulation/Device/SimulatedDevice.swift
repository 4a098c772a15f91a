// A client device: the real engine, driven in a world of seeds.
//
//     receive ──▶ engine ──effects──▶ operations (Driver), replies (Clients), changes (Membership)
//
// Its life begins with a takeover (Takeover.swift).

import Registry
import RemoteMemory
import ResiliencySet

/// One run of a client device process.
final class SimulatedDevice {
    enum Life { case running, paused, dead }

    /// A request of a client that the engine has.
    struct Request {
        var client: SimulatedClient?
        var session = 0
        var cookie: UInt64 = 0
        var kind = RequestKind.read
        var range = ByteRange(start: ByteOffset(0), count: .zero)
        var write: UInt32 = 0
        var data: [UInt64] = []
        /// The member that a read was first asked of.
        var firstAsked: MemberIndex?
        /// It went to a member without the redo area: two losses at once may tear it.
        var isExposed = false
    }

    struct PendingCut {
        var member: MemberIndex
        var name: String
        var invoked: UInt64
    }

    let number: Int
    let owner: OwnerID
    unowned let world: World
    private(set) var life = Life.running
    var backlog: [Event] = []
    var budget = StoreBudget()

    var engine: ResiliencySet
    var isServing = false
    var record: VolumeRecord
    var channels = [Channel?](repeating: nil, count: MemberIndex.count)
    var links: [Link?]
    /// Which region each member of the engine has or had: dirty maps name them. (The record may be ahead.)
    var identities = [RegionID?](repeating: nil, count: MemberIndex.count)
    var requests = [Request](repeating: Request(), count: 256)
    var freeTokens = Array((0..<256).reversed())
    /// Clients whose requests wait for room.
    var stalled: [() -> Void] = []
    /// The work areas of an erasure set: what each member brought, or what is to go to it.
    var work: [[MemberIndex: StripedPart]]
    var cut: PendingCut?
    /// Registry changes are made one at a time, in order.
    var changes: [Change] = []
    var isChanging = false
    var isReplacing = false
    var isReconnecting = false
    /// Regions grow, before the set does.
    var isGrowing = false
    /// When growing is tried again after it was refused.
    var nextGrowth: UInt64 = 0
    var wantsSnapshot = false
    var wantsMove = false
    /// Twins are made, for a move or a snapshot of an erasure set.
    var twinning: Twinning?
    var isDeleting = false
    /// What its predecessor knew of changes, if that one stopped in order.
    var savedChanges: [SnapshotChanges] = []
    /// Blocks that were to be written while writes were held, by the cut.
    var heldBlocks: [Epoch: Set<Int>] = [:]
    /// Active members could not be opened at its takeover.
    var hasLostMembers = false
    /// Intent slots that were used.
    private var usedSlots: UInt64 = 0
    private var wasAbsent = false

    init(number: Int, world: World, record: VolumeRecord) {
        self.number = number
        self.world = world
        self.record = record
        owner = OwnerID(.random(using: &world.names))
        links = Array(repeating: nil, count: world.appliances.count)
        work = Array(repeating: [:], count: world.coder?.stripes.workAreaCount ?? 0)
        engine = ResiliencySet(
            size: record.size, ordering: world.scenario.ordering, epoch: record.epoch,
            active: MemberSet(), stripes: world.scenario.stripes(of: record.size),
            tuning: world.scenario.tuning(mutation: world.mutation))
    }

    var transport: Scenario.Transport { world.scenario.transport }

    func link(to appliance: SimulatedAppliance) -> Link {
        if let link = links[appliance.index] { return link }
        let link = Link()
        links[appliance.index] = link
        return link
    }

    // MARK: Life

    func kill() {
        guard life != .dead else { return }
        world.note("device \(number) dies")
        stopInOrder()
        if isServing, engine.phase == .repairing { world.probes.hit(.crashDuringRepair) }
        if isGrowing || engine.isGrowing { world.probes.hit(.crashDuringGrowth) }
        life = .dead
        backlog = []
        // What is on the wire arrives, unless the whole host went down.
        for channel in channels.compactMap({ $0 }) where world.network.oneIn(2) {
            channel.lostAfter = world.now + UInt64(world.network.within(0...60)) * 1000
        }
        for client in world.clients { client.deviceDied(self) }
        world.deviceDied(self)
    }

    func pause() {
        guard life == .running else { return }
        world.note("device \(number) is paused")
        life = .paused
    }

    func resume() {
        guard life == .paused else { return }
        world.note("device \(number) goes on")
        life = .running
        let waiting = backlog
        backlog = []
        for event in waiting { world.dispatch(event) }
    }

    /// Lets go of everything it refers to.
    func dismantle() {
        backlog = []
        stalled = []
        changes = []
        for channel in channels { _ = channel?.takeOutstanding() }
        channels = []
        links = []
        requests = []
    }

    /// Starts the clock of a running engine.
    func startTicking() {
        world.after(world.scenario.tickInterval, at: .device(self)) { [self] in
            tick()
            startTicking()
        }
    }

    private func tick() {
        guard isServing else { return }
        engine.tick(world.now)
        if engine.isQuiet { engine.markCompleted() }
        drain()
        var steps = 0
        let limit = world.scenario.backgroundSteps * (engine.twins.isEmpty ? 1 : 4)
        while life == .running, steps < limit, engine.advanceBackground() {
            drain()
            steps += 1
        }
        keepHouse()
    }

    // MARK: Effects

    func drain() {
        while life == .running, let effect = engine.nextEffect() {
            switch effect {
            case .perform(let operation): perform(operation)
            case .encode(let step): encode(step)
            case .decode(let step): decode(step)
            case .reply(let token, let outcome): answer(Int(token), outcome)
            case .record(let decision): record(decision)
            case .disconnect(let member): disconnect(member)
            case .dropTwin(let twin): twinDropped(twin)
            }
        }
        noteAbsence()
        guard life == .running, !stalled.isEmpty, engine.hasRoom, !freeTokens.isEmpty else {
            return
        }
        let waiting = stalled
        stalled = []
        for retry in waiting { retry() }
    }

    /// A member is lost while half-done writes are repaired: the one that was whole, perhaps.
    private func noteLoss() {
        guard engine.phase == .repairing else { return }
        world.probes.hit(.secondFailureDuringRepair)
        world.ledger.excuseTorn(before: number)
    }

    /// The last member went away in the middle of writes that it holds a part of, perhaps.
    private func noteAbsence() {
        let isAbsent = !engine.absent.isEmpty
        if isAbsent, !wasAbsent, world.coder != nil { world.probes.hit(.stoodStill) }
        if isAbsent, !wasAbsent { exposeWrites() }
        wasAbsent = isAbsent
    }

    /// A member was lost in the middle of these writes: with this device lost too, they may be torn.
    func exposeWrites() {
        for request in requests where request.isExposed {
            world.ledger.excuseTorn(request.write)
        }
    }

    /// Notices what an operation shows of the rare paths.
    func probe(_ operation: RemoteOperation) {
        switch operation.action {
        case .write(let slot, let intent, let token, let isGuarded, _):
            if !isGuarded { requests[Int(token)].isExposed = true }
            if usedSlots & (1 << UInt64(slot)) != 0 { world.probes.hit(.intentSlotReuse) }
            usedSlots |= 1 << UInt64(slot)
            if engine.rebuilding.contains(operation.member) {
                let unit = world.scenario.blocksPerExtent * Int(Scenario.blockSize)
                let extents =
                    Int(intent.range.start.bytes) / unit...(Int(intent.range.end.bytes) - 1) / unit
                let missing = extents.count { extent in
                    engine.mapWord(extent / 64, of: operation.member) & (1 << UInt64(extent % 64))
                        != 0
                }
                if missing > 0, missing < extents.count {
                    world.probes.hit(.writeAcrossRebuildFrontier)
                }
            }
        case .restore(let slot, let intent, let range, let source, _),
            .withdraw(let slot, let intent, let range, let source, _):
            guard let from = channels[source.number]?.mapping,
                let target = channels[operation.member.number]?.mapping
            else { return }
            let found = intents(in: from, of: source).first { $0.slot == slot }?.content
            if found?.intent.sequence != intent.sequence {
                world.probes.hit(.repairedOld)
            } else {
                world.probes.hit(found?.landed == true ? .repairedNew : .repairedFromLast)
            }
            let granules = Int(Scenario.blockSize / SimulatedRegion.granule)
            let tags = Array(target.read(range))
            for block in stride(from: 0, to: tags.count, by: granules)
            where tags[block..<min(block + granules, tags.count)].contains(where: {
                $0 != tags[block]
            }) {
                world.probes.hit(.tornWriteRepaired)
            }
        case .zero:
            if engine.request(of: operation.ticket) == nil { world.probes.hit(.repairedZeroes) }
        case .read, .copy, .compare, .complete, .storeMap, .storeMapWord, .probe: return
        case .gather, .fetch, .redo, .apply, .discard, .rebuild, .fold, .verify:
            probeStriped(operation)
        }
    }

    /// The engine is told of an outcome; `channel` is the one it came by.
    ///
    /// (A twin that was asked may be the member by now.)
    func complete(
        _ operation: RemoteOperation, _ outcome: OperationOutcome, by channel: Channel? = nil
    ) {
        engine.setTime(world.now)
        if outcome == .failed || outcome == .sourceFailed { noteLoss() }
        engine.complete(operation.ticket, on: channel?.member ?? operation.member, outcome)
        drain()
        // (Back to back, as the product does: a twin is to be whole while clients are still there.)
        if case .rebuild = operation.action, life == .running, !engine.twins.isEmpty,
            engine.advanceBackground()
        {
            drain()
        }
    }

    private func disconnect(_ member: MemberIndex) {
        guard let channel = channels[member.number] else { return }
        if channel.appliance.life == .hung { world.probes.hit(.evictedWhileHung) }
        world.note("device \(number) cuts its channel to \(member)")
        noteLoss()
        channel.isOpen = false
        channels[member.number] = nil
    }

    /// An appliance's process is gone: whatever waited for it fails.
    func applianceDied(_ appliance: SimulatedAppliance) {
        guard life != .dead else { return }
        guard transport != .sharedMemory else {
            // Its memory stays mapped here; the connection to it says that it is gone.
            let delay = UInt64(world.network.within(50...2000)) * 1000
            world.after(delay, at: .device(self)) { [self] in loseMembers(on: appliance) }
            return
        }
        for channel in channels.compactMap({ $0 }) where channel.appliance === appliance {
            reset(channel)
        }
    }

    /// Both ends learn that a channel is gone.
    func reset(_ channel: Channel) {
        let delay = UInt64(world.network.within(20...500)) * 1000
        world.after(delay, at: .device(self)) { [self] in
            guard channel.isOpen else { return }
            channel.isOpen = false
            channels[channel.member.number] = nil
            failOutstanding(channel)
        }
    }

    private func loseMembers(on appliance: SimulatedAppliance) {
        guard isServing else { return }
        for member in record.members where member.appliance == appliance.name {
            guard member.incarnation != appliance.incarnation || appliance.life == .dead else {
                continue
            }
            engine.memberLost(member.index, isAccessible: true)
            drain()
        }
        for region in twinning?.regions ?? [] where region.appliance == appliance.name {
            guard region.incarnation != appliance.incarnation || appliance.life == .dead else {
                continue
            }
            engine.memberLost(region.index.twin, isAccessible: true)
            drain()
        }
    }
}
