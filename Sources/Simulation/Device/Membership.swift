// What a client device does about its members: recording the engine's decisions, bringing members back,
// replacing them, snapshots. The rules are the product's; only the waiting is simulated.

import Registry
import RemoteMemory
import ResiliencySet

extension SimulatedDevice {
    /// A change of the registry that waits for its turn.
    struct Change {
        var changes: [MembershipChange]
        var then: (Bool) -> Void

        var isCut: Bool {
            changes.contains { change in
                switch change {
                case .cut, .cutGeneration, .replace, .grow: true
                case .fail, .add, .promote, .remove, .setLayout, .setLeaving: false
                }
            }
        }
    }

    /// Makes changes durable, one list after the other; tells whether they are.
    func commit(_ list: [MembershipChange], then: @escaping (Bool) -> Void) {
        guard !list.isEmpty else { return then(true) }
        changes.append(Change(changes: list, then: then))
        commitNext()
    }

    private func commitNext() {
        guard !isChanging, !changes.isEmpty else { return }
        isChanging = true
        attempt(changes.removeFirst(), mayBeMade: false)
    }

    private func attempt(_ change: Change, mayBeMade: Bool) {
        let known = record
        world.registry.call(from: self) { [owner] registry throws(RegistryError) in
            try registry.change(change.changes, owner: owner, expecting: known.epoch)
        } then: { [self] result in
            switch result {
            case .success(let next): finish(change, next)
            case .failure(.storage): ask(change)
            case .failure(.illegalChange(let reason)):
                world.note("device \(number): the registry refuses \(change.changes): \(reason)")
                finish(change, nil)
            case .failure: mayBeMade ? ask(change) : beReplaced(change)
            }
        }
    }

    /// The answer was lost, perhaps: what the registry holds tells.
    private func ask(_ change: Change) {
        let known = record
        if mutation(.believesEveryCommit) { return finish(change, known) }
        world.registry.call(from: self) { registry throws(RegistryError) in
            try registry.current()
        } then: { [self] result in
            switch result {
            case .success(let found) where found.isNext(after: known, of: owner):
                finish(change, found)
            case .success(let found) where found.owner == owner && found.epoch == known.epoch:
                // (Certainly not made: a cut is given up rather than tried again, for writes are held.)
                change.isCut ? finish(change, nil) : attempt(change, mayBeMade: true)
            case .success: beReplaced(change)
            case .failure:
                if !engine.unrecorded.isEmpty { world.probes.hit(.registryDownDuringFailure) }
                world.after(2_000_000, at: .device(self)) { [self] in ask(change) }
            }
        }
    }

    private func finish(_ change: Change, _ next: VolumeRecord?) {
        if let next { record = next }
        isChanging = false
        change.then(next != nil)
        drain()
        commitNext()
    }

    /// Another device has the set.
    private func beReplaced(_ change: Change) {
        world.note("device \(number) learns that it was replaced")
        isChanging = false
        changes = []
        engine.fence()
        drain()
    }

    // MARK: Decisions of the engine

    func record(_ decision: MembershipDecision) {
        world.note("device \(number) decides: \(decision)")
        switch decision {
        case .fail(let members):
            exposeWrites()
            let known = members.filter { record.member($0) != nil }
            if mutation(.acknowledgesUnrecorded) {
                engine.recorded(decision, epoch: engine.epoch)
                commit(known.isEmpty ? [] : [.fail(known)]) { _ in }
                return drain()
            }
            // (A member that was cut off meanwhile is in no set any more.)
            commit(known.isEmpty ? [] : [.fail(known)]) { [self] isMade in
                guard isMade else { return }
                engine.recorded(decision, epoch: record.epoch)
                drain()
            }
        case .promote(let member):
            commit([.promote(member)]) { [self] isMade in
                guard isMade else { return }
                engine.recorded(decision, epoch: record.epoch)
                drain()
            }
        case .cut(let member):
            guard let cut else { return engine.cutRefused() }
            let time = Int64(world.now)
            commit([.cut(member: member, snapshot: cut.name, at: time, replacement: nil)]) {
                [self] isMade in
                guard isMade else {
                    world.probes.hit(.cutRefused)
                    engine.cutRefused()
                    self.cut = nil
                    return drain()
                }
                world.snapshotTaken(cut, by: self)
                channels[member.number] = nil
                self.cut = nil
                noteHeld()
                engine.recorded(decision, epoch: record.epoch)
                world.checkChanges(until: record.epoch, by: self)
                drain()
            }
        case .replace(let member): replace(member)
        case .cutGeneration: cutGeneration()
        case .grow(let size):
            commit([.grow(to: size)]) { [self] isMade in
                if isMade {
                    noteGrowth()
                    engine.recorded(decision, epoch: record.epoch)
                } else {
                    world.probes.hit(.cutRefused)
                    engine.cutRefused()
                }
                drain()
            }
        }
    }

    // MARK: Housekeeping

    func keepHouse() {
        guard life == .running, engine.phase == .serving || engine.phase == .repairing else {
            return
        }
        if let cut, !engine.isCutting(cut.member) {
            world.probes.hit(.failureDuringSnapshotDrain)
            self.cut = nil
        }
        if let absent = engine.absent.first { return reconnect(absent) }
        guard engine.phase == .serving, !isReplacing, changes.isEmpty, !isChanging, cut == nil,
            !engine.isCutting
        else { return }
        if growsNow { return grow() }
        if world.coder != nil { carryTwinsOn() } else if wantsSnapshot { beginSnapshot() }
        // (Who takes a place is not added to it meanwhile.)
        guard !engine.isCutting, !isChanging else { return }
        if world.registry.snapshots.count > 2 { deleteOldestSnapshot() }
        replaceMissing()
    }

    /// The last member may be there again.
    private func reconnect(_ member: MemberIndex) {
        guard !isReconnecting, let known = record.member(member)
        else { return }
        guard world.coder == nil else { return reopenMembers() }
        if transport == .sharedMemory {
            let found = channels[member.number]?.mapping.map { intents(in: $0, of: member) } ?? []
            engine.memberReturned(member, intents: found)
            return drain()
        }
        isReconnecting = true
        open(known) { [self] outcome in
            isReconnecting = false
            switch outcome {
            case .opened:
                world.note("device \(number) has member \(member) back")
                guard let region = channels[member.number]?.mapping else { return }
                replayRedo(region)
                engine.memberReturned(member, intents: intents(in: region, of: member))
            case .lost: engine.memberLost(member, isAccessible: false)
            case .unreachable, .held: return
            }
            drain()
        }
    }

    private func replaceMissing() {
        let live = record.members.filter { $0.state == .active || $0.state == .rebuilding }
        guard live.count < world.scenario.memberCount, engine.unrecorded.isEmpty,
            !engine.active.isEmpty
        else { return }
        // A member whose memory is still there misses little: it comes first.
        for member in record.members where member.state == .failed {
            guard transport != .sharedMemory,
                let appliance = world.appliances.first(where: { $0.name == member.appliance }),
                appliance.life == .running,
                appliance.incarnation == member.incarnation || mutation(.believesLostMemory)
            else { continue }
            return readmit(member)
        }
        let taken = Set(live.map(\.appliance))
        let candidates = world.appliances.filter {
            $0.life == .running && !$0.isFull && !taken.contains($0.name)
        }
        guard let appliance = candidates.first else { return }
        if world.coder != nil {
            // (The place of the one that is gone: its shards are asked of nobody else.)
            let places = (0..<world.scenario.memberCount).map { MemberIndex($0) }
            guard let index = places.first(where: { place in !live.contains { $0.index == place } })
            else { return }
            return addMember(index, on: appliance)
        }
        guard let index = freeIndex else { return }
        addMember(index, on: appliance)
    }

    private var freeIndex: MemberIndex? {
        (0..<MemberIndex.limit).lazy.map { MemberIndex($0) }.first { index in
            self.record.member(index) == nil && self.channels[index.number] == nil
        } ?? record.freeIndex
    }

    /// Brings a member back with the memory it had.
    private func readmit(_ member: MemberRecord) {
        let again = MemberRecord(
            index: member.index, state: .rebuilding, region: member.region,
            appliance: member.appliance, incarnation: member.incarnation)
        isReplacing = true
        commit([.remove([member.index]), .add(again)]) { [self] isMade in
            guard isMade else { return isReplacing = false }
            open(again) { [self] outcome in
                isReplacing = false
                guard outcome == .opened, let region = channels[again.index.number]?.mapping
                else { return giveUp(again, isLost: outcome == .lost) }
                replayRedo(region)
                if engine.knowsDirtyMap(of: again.index) { world.probes.hit(.partialRebuild) }
                identities[again.index.number] = again.region
                engine.add(
                    again.index, epoch: record.epoch, keepsData: true,
                    intents: intents(in: region, of: again.index))
                drain()
            }
        }
    }

    private func addMember(_ index: MemberIndex, on appliance: SimulatedAppliance) {
        let member = MemberRecord(
            index: index, state: .rebuilding, region: RegionID(.random(using: &world.names)),
            appliance: appliance.name, incarnation: appliance.incarnation)
        let gone = record.members.filter { other in
            if other.index == index { return true }
            guard other.state == .failed,
                let home = world.appliances.first(where: { $0.name == other.appliance })
            else { return false }
            return home.incarnation != other.incarnation
        }
        let forget: [MembershipChange] = gone.isEmpty ? [] : [.remove(gone.map(\.index))]
        isReplacing = true
        commit(forget + [.add(member)]) { [self] isMade in
            guard isMade else { return isReplacing = false }
            if appliance.life == .running, appliance.incarnation == member.incarnation {
                appliance.regions[member.region] = SimulatedRegion(
                    id: member.region, dataSize: world.scenario.regionSize(of: record.size))
            }
            open(member) { [self] outcome in
                isReplacing = false
                guard outcome == .opened else { return giveUp(member, isLost: true) }
                identities[index.number] = member.region
                engine.add(index, epoch: record.epoch)
                drain()
            }
        }
    }

    /// A member that was added cannot be reached: it failed, or is forgotten when its memory is gone.
    func giveUp(_ member: MemberRecord, isLost: Bool = false) {
        commit([isLost ? .remove([member.index]) : .fail([member.index])]) { _ in }
    }

    // MARK: Snapshots

    private func deleteOldestSnapshot() {
        guard !isDeleting, let oldest = world.registry.snapshots.first else { return }
        isDeleting = true
        world.registry.call(from: self) { registry throws(RegistryError) in
            try registry.deleteSnapshot(named: oldest.name)
        } then: { [self] result in
            isDeleting = false
            guard case .success(let gone) = result else { return }
            world.note("snapshot \(gone.name) is deleted")
            engine.forgetSnapshot(cutAt: gone.cutAtEpoch)
            for member in gone.members {
                for appliance in world.appliances where appliance.name == member.appliance {
                    appliance.regions[member.region] = nil
                }
            }
        }
    }

    private func beginSnapshot() {
        guard engine.active.count > 1, engine.unrecorded.isEmpty,
            let victim = engine.active.last
        else { return }
        wantsSnapshot = false
        if engine.active.count < world.scenario.memberCount {
            world.probes.hit(.snapshotWhileDegraded)
        }
        world.snapshotCount += 1
        let name = "s\(world.snapshotCount)"
        world.note("device \(number) is to cut member \(victim) off as \(name)")
        cut = PendingCut(member: victim, name: name, invoked: world.now)
        if mutation(.cutsWithoutDraining) {
            engine.memberLost(victim, isAccessible: false)
            let list: [MembershipChange] = [
                .cut(member: victim, snapshot: name, at: Int64(world.now), replacement: nil)
            ]
            if let pending = cut { world.snapshotTaken(pending, by: self) }
            commit(list) { _ in }
            cut = nil
            return drain()
        }
        if !engine.beginCut(of: victim) {
            world.probes.hit(.cutRefused)
            cut = nil
        }
        drain()
    }
}
