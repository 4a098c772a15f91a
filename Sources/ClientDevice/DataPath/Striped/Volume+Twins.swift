// Twins of an erasure set on its thread: regions beside those of its members (see the engine's Snapshot/Twins).
//
// When a region is let go of with others still in use, what it has yet to answer is of no interest: the engine
// has asked others, and must not take an old answer for one of whoever has the place now.

import CLinux
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport

extension Volume {
    /// Begins to fill a twin of `member`; false when the engine cannot now.
    func addTwin(_ memory: MemberMemory, identity: RegionID, of member: MemberIndex) -> Bool {
        let twin = member.twin
        guard isVacant(twin) else { return false }
        identities[twin] = identity
        hold(memory, as: twin)
        guard engine.addTwin(of: member) else {
            letGo(of: twin, connections: [])
            return false
        }
        drain()
        return true
    }

    var wholeTwins: MemberSet { engine.wholeTwins }

    /// Gives twins up, and lets go of their memory.
    func dropTwins(_ twins: MemberSet, connections: [Connection]) {
        engine.dropTwins(twins)
        drain()
        for twin in twins where !engine.twins.contains(twin) {
            unmap(twin, connections: connections)
            identities[twin] = nil
        }
    }

    /// Holds writes until the twin of `member` is in its place; false when that cannot be now.
    func beginReplacement(of member: MemberIndex) -> Bool {
        heldSince = clinux_monotonic_nanoseconds()
        guard engine.beginReplacement(of: member) else { return false }
        drain()
        return true
    }

    /// Holds writes until all twins are a snapshot; false when that cannot be now.
    func beginCutOfGeneration() -> Bool {
        heldSince = clinux_monotonic_nanoseconds()
        guard engine.beginCutOfGeneration() else { return false }
        drain()
        return true
    }

    /// The registry has a twin in the place of its member: its memory is the member's from now on.
    ///
    /// To be called just before the engine hears of it.
    func takePlace(of member: MemberIndex, connections: [Connection]) {
        let twin = member.twin
        letGo(of: member, connections: connections)
        views[member.number] = views[twin.number]
        views[twin.number] = nil
        links[member.number] = links[twin.number]
        links[twin.number] = nil
        regions[member] = regions.removeValue(forKey: twin)
        if let channel = channels.removeValue(forKey: twin) { channels[member] = channel }
        if remoteMembers.contains(twin) {
            remoteMembers.remove(twin)
            remoteMembers.insert(member)
        }
        identities[member] = identities.removeValue(forKey: twin)
        stripes?.rename(twin, to: member)
    }

    /// The registry has the twins as a snapshot: their memory is let go of, and opened anew to be read.
    ///
    /// To be called just before the engine hears of it.
    func releaseTwins(connections: [Connection]) {
        for twin in engine.twins {
            letGo(of: twin, connections: connections)
            identities[twin] = nil
        }
    }

    /// Lets go of a region without hearing what it still answers.
    private func letGo(of member: MemberIndex, connections: [Connection]) {
        if let link = links[member.number] {
            links[member.number] = nil
            link.use { channel in
                channel.fail(.dropped)
                while channel.nextCompletion() != nil {}
            }
            dropRemote(member)
        }
        guard let region = regions.removeValue(forKey: member) else { return }
        views[member.number] = nil
        for connection in connections { unsafe connection.detach(from: region.bytes) }
    }

    // MARK: Snapshots

    /// The regions of a snapshot that cannot be reached.
    var missing: MemberSet { engine.isFrozen ? engine.absent : MemberSet() }

    /// A region of a snapshot is opened again.
    func restore(_ memory: MemberMemory, as member: MemberIndex) {
        guard engine.isFrozen, engine.absent.contains(member) else { return }
        channelBroke(member)
        hold(memory, as: member)
        engine.memberIsBack(member)
        drain()
    }
}
