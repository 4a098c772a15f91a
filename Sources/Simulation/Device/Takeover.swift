// Taking the set over: registry, fence, record of who is missing, repair, service.

import Registry
import RemoteMemory
import ResiliencySet

extension World {
    /// How long the answer to opening a region is waited for, in nanoseconds.
    static var openPatience: UInt64 { 20_000_000 }

    /// Starts a client device process.
    func startDevice() {
        guard let record = registry.record else { return }
        let device = SimulatedDevice(number: devices.count, world: self, record: record)
        devices.append(device)
        note("device \(device.number) starts")
        after(10_000, at: .device(device)) { device.takeOver() }
    }

    /// Another one follows when a device died.
    func deviceDied(_ device: SimulatedDevice) {
        scriptedDeath(device)
        guard devices.last === device else { return }
        after(UInt64(network.within(1...5)) * 1_000_000) { [self] in
            if devices.last === device { startDevice() }
        }
    }
}

extension SimulatedDevice {
    func takeOver() {
        world.registry.call(from: self) { registry throws(RegistryError) in
            try registry.current()
        } then: { [self] result in
            guard case .success(let found) = result else { return retry { $0.takeOver() } }
            if found.owner == owner {
                record = found
                return openMembers()
            }
            world.registry.call(from: self) { [owner] registry throws(RegistryError) in
                let next = try registry.takeOver(by: owner, expecting: found.epoch)
                return (next, registry.takeChanges(savedAt: found.epoch))
            } then: { [self] result in
                switch result {
                case .success((let next, let changes)):
                    record = next
                    savedChanges = changes
                    openMembers()
                case .failure: retry { $0.takeOver() }
                }
            }
        }
    }

    private func retry(_ action: @escaping (SimulatedDevice) -> Void) {
        world.after(5_000_000, at: .device(self)) { [self] in action(self) }
    }

    /// Whether a newer device has been started: then this one gives up instead of fighting for the set.
    private var isOutdated: Bool { world.devices.last !== self }

    private func openMembers() {
        guard !isOutdated else { return kill() }
        var outcomes: [MemberIndex: OpeningOutcome] = [:]
        let live = record.liveMembers
        if live.contains(where: { $0.state == .rebuilding }) {
            world.probes.hit(.takeoverDuringRebuild)
        }
        guard !live.isEmpty else { return }
        for member in live {
            open(member) { [self] outcome in
                guard outcomes[member.index] == nil else { return }
                outcomes[member.index] = outcome
                if outcomes.count == live.count { decide(outcomes) }
            }
        }
    }

    /// Opens a region at this owner's epoch: nobody else's accesses land from then on.
    func open(_ member: MemberRecord, then: @escaping (OpeningOutcome) -> Void) {
        guard let appliance = world.appliances.first(where: { $0.name == member.appliance }) else {
            return then(.lost)
        }
        world.channelCount += 1
        let channel = Channel(
            id: world.channelCount, appliance: appliance, region: member.region,
            member: member.index)
        let epoch = record.epoch
        var isAnswered = false
        func conclude(_ outcome: OpeningOutcome) {
            guard !isAnswered else { return }
            isAnswered = true
            if outcome == .opened {
                let old = channels[member.index.number]
                channels[member.index.number] = channel
                old?.isOpen = false
                if let old { failOutstanding(old) }
            }
            then(outcome)
        }
        if appliance.life == .dead {
            // Refused: its memory is gone, unless appliances keep it.
            let outcome: OpeningOutcome = world.scenario.mayKeepMemory ? .unreachable : .lost
            return world.after(100_000, at: .device(self)) { conclude(outcome) }
        }
        world.after(World.openPatience, at: .device(self)) { conclude(.unreachable) }
        world.sendControl(channel, from: self) { [self] in
            let outcome = grant(channel, member, epoch)
            world.answer(channel, to: self) { conclude(outcome) }
        }
    }

    /// What the appliance does when a region is opened.
    private func grant(_ channel: Channel, _ member: MemberRecord, _ epoch: Epoch)
        -> OpeningOutcome
    {
        let appliance = channel.appliance
        let isSame =
            appliance.incarnation == member.incarnation || mutation(.believesLostMemory)
        guard isSame else { return .lost }
        if mutation(.believesLostMemory), appliance.regions[member.region] == nil {
            appliance.regions[member.region] = SimulatedRegion(
                id: member.region, dataSize: world.scenario.regionSize(of: record.size))
        }
        guard let region = appliance.regions[member.region] else { return .lost }
        if transport == .sharedMemory, !mutation(.skipsFencing) {
            let holder = world.devices.first { device in
                device !== self && device.life != .dead
                    && device.channels.contains { $0?.mapping === region }
            }
            guard holder == nil else { return .held }
        }
        guard region.epoch <= epoch, region.channel ?? 0 < channel.id else { return .unreachable }
        region.epoch = epoch
        region.channel = channel.id
        guard hasRoom(region, in: appliance) else { return .unreachable }
        channel.mapping = region
        return .opened
    }

    private func decide(_ outcomes: [MemberIndex: OpeningOutcome]) {
        guard !isOutdated else { return kill() }
        switch record.verdict(on: outcomes) {
        case .wait: retry { $0.openMembers() }
        case .lost(let missing):
            commit(missing.isEmpty ? [] : [.fail(missing)]) { _ in }
        case .serve(let active, let rebuilding, let missing):
            // Maps of an earlier failure must not count for this one.
            for member in active {
                guard let region = channels[member.number]?.mapping else { continue }
                for lost in missing where record.member(lost)?.state == .active {
                    OrderedAccess(region: region, budget: StoreBudget()).dropMap(of: lost)
                }
            }
            let isUnfenced = missing.contains {
                outcomes[$0] != .lost && record.member($0)?.state == .active
            }
            let lostActive = missing.filter { record.member($0)?.state == .active }
            if !lostActive.isEmpty {
                hasLostMembers = true
                world.ledger.excuseTorn(before: number)
            }
            let serve = { [self] in
                begin(active: active, rebuilding: rebuilding, lostActive: lostActive)
            }
            commit(missing.isEmpty ? [] : [.fail(missing)]) { [self] isMade in
                guard isMade else { return }
                guard isUnfenced, !mutation(.servesUnfenced),
                    world.scenario.tuning(mutation: nil).lease > 0
                else {
                    return serve()
                }
                // A member that could not be fenced may still answer the old owner's reads, until its
                // lease is over.
                let lease = world.scenario.tuning(mutation: nil).lease
                world.after(lease + lease / 4, at: .device(self)) { serve() }
            }
        }
    }

    private func begin(
        active: [MemberIndex], rebuilding: [MemberIndex], lostActive: [MemberIndex]
    ) {
        guard !isOutdated else { return kill() }
        // (What cannot be read now cannot be repaired: a member that went away again is opened again.)
        guard active.allSatisfy({ channels[$0.number]?.isOpen == true }) else {
            return retry { $0.openMembers() }
        }
        engine = ResiliencySet(
            size: record.size, ordering: world.scenario.ordering, epoch: record.epoch,
            active: MemberSet(active), stripes: world.scenario.stripes(of: record.size),
            tuning: world.scenario.tuning(mutation: world.mutation))
        engine.setTime(world.now)
        let cuts = world.registry.snapshots.map(\.cutAtEpoch)
        if !cuts.isEmpty, !savedChanges.isEmpty { world.probes.hit(.changesKept) }
        engine.restoreChanges(since: cuts, saved: savedChanges)
        for member in record.members { identities[member.index.number] = member.region }
        for member in active { gather(member) }
        for member in lostActive { engine.lostAtTakeover(member) }
        if hasLostMembers { world.ledger.excuseTorn(before: number) }
        isServing = true
        if number > 0 { world.scriptedStart(self) }
        let settled = engine.repair()
        world.checkRepair(settled, by: self)
        drain()
        guard life == .running else { return }
        for member in rebuilding { resumeRebuild(of: member) }
        startTicking()
        world.tookOver(self)
    }

    /// Reads what stands in an active member's region.
    private func gather(_ member: MemberIndex) {
        guard let region = channels[member.number]?.mapping else { return }
        replayRedo(region)
        guard !mutation(.skipsRepair) else { return }
        for (slot, content) in intents(in: region, of: member) {
            engine.foundIntent(content, slot: slot, on: member)
        }
        for other in record.members where other.state == .failed || other.state == .rebuilding {
            let access = OrderedAccess(region: region, budget: StoreBudget())
            guard let map = access.loadMap(of: other.index, region: other.region) else {
                continue
            }
            if engine.knowsDirtyMap(of: other.index) {
                world.probes.hit(.dirtyMapMergeAfterDoubleFailure)
            }
            engine.foundMap(map, of: other.index)
        }
    }

    func replayRedo(_ region: SimulatedRegion) {
        let access = OrderedAccess(region: region, budget: StoreBudget())
        if access.replayRedo() != .zero { world.probes.hit(.lastCopyRedoReplayed) }
    }

    /// The intents in a region, each landed or not as the transport can tell.
    func intents(in region: SimulatedRegion, of member: MemberIndex)
        -> [(slot: UInt8, content: IntentSlot)]
    {
        guard world.coder == nil else { return records(in: region, of: member) }
        let access = OrderedAccess(region: region, budget: StoreBudget())
        return (0..<UInt8(RegionLayout.intentSlotCount)).compactMap { slot in
            guard var content = access.intentSlot(slot) else { return nil }
            if content.intent.dataCheck != 0, !mutation(.trustsLandedMark) {
                content.landed =
                    TagPayload.check(region.read(content.intent.range)) == content.intent.dataCheck
            }
            return (slot, content)
        }
    }

    private func resumeRebuild(of member: MemberIndex) {
        guard let known = record.member(member), known.state == .rebuilding else { return }
        guard let region = channels[member.number]?.mapping else { return giveUp(known) }
        replayRedo(region)
        if engine.knowsDirtyMap(of: member) { world.probes.hit(.rebuildResumedAfterRestart) }
        engine.add(
            member, epoch: record.epoch, keepsData: true,
            intents: intents(in: region, of: member))
        drain()
    }
}

extension World {
    /// Sends something that an appliance's process has to do itself.
    func sendControl(
        _ channel: Channel, from device: SimulatedDevice, _ action: @escaping () -> Void
    ) {
        let time = max(channel.lastArrival + 1, now + latency(channel.appliance))
        channel.lastArrival = time
        let link = device.link(to: channel.appliance)
        at(time, .world) { [self] in
            let event = Event(place: .appliance(channel.appliance), action: action)
            if link.isDownThere {
                link.heldThere.append { [self] in dispatch(event) }
            } else {
                dispatch(event)
            }
        }
    }
}
