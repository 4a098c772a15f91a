// The members of a volume on its thread: taken over, added, let go of, as the control side decides.

import CLinux
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport

extension Volume {
    // MARK: Taking over

    /// Finishes what the previous owner left half-done, its writes and its rebuilds; returns how many
    /// bytes of writes will be settled, which with far members goes on behind this.
    func repair(_ setup: VolumeSetup) -> ByteCount {
        for (member, memory) in setup.active {
            switch memory {
            case .mapped(let region):
                region.view.replayRedo()
                gather(from: region.view, member, setup)
            case .remote(let visit): gather(from: visit, member, setup)
            }
        }
        for member in setup.lost { engine.lostAtTakeover(member) }
        let settled = engine.repair()
        drain()
        for (member, memory) in setup.rebuilding {
            hold(memory, as: member)
            rejoin(member, memory, epoch: engine.epoch)
        }
        return settled
    }

    /// Takes what stands in the header of an active member.
    private func gather(
        from region: some RegionAccess, _ member: MemberIndex, _ setup: VolumeSetup
    ) {
        for (slot, content) in Self.intents(in: region) {
            engine.foundIntent(content, slot: slot, on: member)
        }
        for other in setup.rebuilding.keys + setup.away {
            guard let identity = identities[other],
                let map = region.loadMap(of: other, region: identity)
            else { continue }
            engine.foundMap(map, of: other)
        }
    }

    /// Adds a member with the memory it had: only what it misses is copied, if that is known.
    private func rejoin(_ member: MemberIndex, _ memory: MemberMemory, epoch: Epoch) {
        let found =
            switch memory {
            case .mapped(let region): Self.intents(in: region.view)
            case .remote(let visit): Self.intents(in: visit)
            }
        engine.add(member, epoch: epoch, keepsData: true, intents: found)
        drain()
    }

    static func intents(
        in region: some RegionAccess
    ) -> [(slot: UInt8, content: IntentSlot)] {
        (0..<UInt8(RegionLayout.intentSlotCount)).compactMap { slot in
            region.intentSlot(slot).map { (slot, $0) }
        }
    }

    func hold(_ memory: MemberMemory, as member: MemberIndex) {
        switch memory {
        case .mapped(let region):
            stripes?.forget(member)
            regions[member] = region
            views[member.number] = region.view
        case .remote(let visit):
            stripes?.copiesReads = true
            // (The visit goes: what it knows of the region's header was true before, and is large.)
            channels[member] = visit.channel
            links[member.number] = ChannelReference(visit.channel)
            if remoteMembers.isEmpty {
                engine.adopt(
                    .usual(
                        patience: patience, evictAfter: evictAfter, isSnapshot: engine.isFrozen))
            }
            remoteMembers.insert(member)
        }
    }

    func isVacant(_ member: MemberIndex) -> Bool {
        views[member.number] == nil && links[member.number] == nil
            && !engine.active.contains(member) && !engine.rebuilding.contains(member)
    }

    /// Forgets a channel that broke.
    func dropRemote(_ member: MemberIndex) {
        if let channel = channels.removeValue(forKey: member) { released.append(channel) }
        remoteMembers.remove(member)
    }

    // MARK: Membership, as the control side decides

    var epoch: Epoch { engine.epoch }
    var active: MemberSet { engine.active }
    var isQuiet: Bool { engine.isQuiet }

    func standing(of member: MemberIndex) -> RebuildStanding? { engine.rebuildStanding(of: member) }

    /// The last active member, while it cannot be reached.
    var absent: MemberSet { engine.absent }

    /// Adds a member to be rebuilt; with `keepsData` its region is the one it had when it failed.
    func add(
        _ memory: MemberMemory, identity: RegionID, as member: MemberIndex, epoch: Epoch,
        keepsData: Bool
    ) {
        identities[member] = identity
        hold(memory, as: member)
        guard !keepsData else { return rejoin(member, memory, epoch: epoch) }
        engine.add(member, epoch: epoch)
        drain()
    }

    /// The last member is there again, by way of a new channel.
    func memberReturned(_ member: MemberIndex, _ memory: MemberMemory) {
        guard engine.absent.contains(member), case .remote(let visit) = memory else { return }
        // (It may have failed by what it answered, on a channel that still stands.)
        channelBroke(member)
        hold(memory, as: member)
        engine.memberReturned(member, intents: Self.intents(in: visit))
        drain()
    }

    /// Takes the news that a member's memory is gone, or is on an appliance that hangs; returns whether the
    /// member is kept all the same, as the last copy.
    func lose(_ member: MemberIndex) -> Bool {
        engine.memberLost(member, isAccessible: views[member.number] != nil)
        drain()
        return engine.isForsaken(member)
    }

    /// Drops a member for good, unless fewer than `minimum` active ones would be left.
    func retire(_ member: MemberIndex, keeping minimum: Int) -> Bool {
        var rest = engine.active.subtracting(engine.absent)
        rest.remove(member)
        guard engine.phase == .serving, rest.count >= minimum else { return false }
        engine.memberLost(member, isAccessible: false)
        drain()
        return true
    }

    func recorded(_ decision: MembershipDecision, epoch: Epoch) {
        engine.recorded(decision, epoch: epoch)
        drain()
    }

    func refuseCut() {
        engine.cutRefused()
        drain()
    }

    func beginCut(of member: MemberIndex) -> Bool {
        heldSince = clinux_monotonic_nanoseconds()
        guard engine.beginCut(of: member) else { return false }
        drain()
        return true
    }

    func isCutting(_ member: MemberIndex) -> Bool { engine.isCutting(member) }

    /// Lets go of a member's memory; nothing may be on its way out from it.
    func unmap(_ member: MemberIndex, connections: some Sequence<Connection>) {
        if links[member.number] != nil { channelBroke(member) }
        guard let region = regions.removeValue(forKey: member) else { return }
        keepUnansweredReads(of: member, region.view)
        views[member.number] = nil
        for connection in connections { unsafe connection.detach(from: region.bytes) }
    }

    func unmapAll(connections: [Connection]) {
        for number in 0..<MemberIndex.count {
            unmap(MemberIndex(number), connections: connections)
        }
    }

    func fence() {
        engine.fence()
        drain()
    }

    // MARK: Rebuild and scrub

    var rebuildLimit: ByteCount? { engine.rebuildLimit }
    func limitRebuilds(to rate: ByteCount?) { engine.limitRebuilds(to: rate) }

    func beginScrub() { engine.beginScrub() }
    var isScrubbing: Bool { engine.isScrubbing }
    var scrubStanding: ScrubStanding { engine.scrubStanding }
}
