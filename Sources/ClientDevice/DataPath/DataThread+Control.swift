// What the control side asks of a data thread: to serve volumes and snapshots, to change their members, to
// tell how they are. Each is a call of the actor, between two turns of its loop.

import CLinux
package import RemoteMemory
package import ResiliencySet
import SharedMemoryTransport

extension DataThread {
    // MARK: Volumes

    /// Takes charge of a volume: repairs what its previous owner left half-done, then serves it.
    ///
    /// Returns how many bytes had to be settled.
    package func add(_ setup: VolumeSetup) -> ByteCount {
        let volume = Volume(setup, budget(of: setup.id, setup.limits))
        volumes[setup.id] = volume
        for snapshot in snapshots.values where snapshot.origin.id == setup.id {
            snapshot.origin.volume = volume
        }
        for snapshot in volumes.values where snapshot.origin?.id == setup.id {
            snapshot.origin?.volume = volume
        }
        return volume.repair(setup)
    }

    /// Lets go of a volume: its clients are disconnected, its memory is unmapped.
    package func remove(_ id: VolumeID) {
        guard let volume = volumes.removeValue(forKey: id) else { return }
        volume.fence()
        closeConnections(connections(of: volume))
        // (Those that were answered are held for the end of the turn, and hold the volume themselves: they
        // would never be closed.)
        volume.forEachUnsent { _ in }
        volume.unmapAll(connections: [])
        forgetReleased(of: volume)
    }

    /// Takes the news that a member's appliance died; true when it is kept all the same, since it is the
    /// last copy and its memory is still mapped here.
    package func lose(_ member: MemberIndex, of id: VolumeID) -> Bool {
        volumes[id]?.lose(member) ?? false
    }

    /// Drops a member that is to be removed; false when fewer than `minimum` active ones would be left.
    ///
    /// It ends as every failure does: recorded, then unmapped.
    package func retire(_ member: MemberIndex, of id: VolumeID, keeping minimum: Int) -> Bool {
        volumes[id]?.retire(member, keeping: minimum) ?? false
    }

    /// Whether nothing of a member with this index is held any more.
    package func isVacant(_ member: MemberIndex, of id: VolumeID) -> Bool {
        volumes[id]?.isVacant(member) ?? false
    }

    /// Adds a member to be rebuilt; with `keepsData` its region is the one it had when it failed.
    package func add(
        _ memory: MemberMemory, identity: RegionID, as member: MemberIndex, to id: VolumeID,
        epoch: Epoch, keepsData: Bool = false
    ) {
        volumes[id]?.add(
            memory, identity: identity, as: member, epoch: epoch, keepsData: keepsData)
    }

    /// The last active member, while it cannot be reached; nil when there is no such member.
    package func absentMember(of id: VolumeID) -> MemberIndex? { volumes[id]?.absent.first }

    /// The last member is there again, by way of a new channel.
    package func memberReturned(_ member: MemberIndex, of id: VolumeID, _ memory: MemberMemory) {
        volumes[id]?.memberReturned(member, memory)
    }

    /// Far members of an erasure set are opened anew; false when they are too few for it to go on.
    package func membersReturned(
        _ memories: [MemberIndex: MemberMemory], to id: VolumeID
    ) -> Bool {
        volumes[id]?.membersReturned(memories) ?? false
    }

    /// The registry holds a decision of the volume's engine.
    package func recorded(_ decision: MembershipDecision, of id: VolumeID, epoch: Epoch) {
        guard let volume = volumes[id] else { return }
        switch decision {
        case .replace(let member):
            // (It is watched anew, as the member's.)
            if let channel = volume.channels[member.twin] { forget(channel) }
            volume.takePlace(of: member, connections: connections(of: volume))
        case .cutGeneration: volume.releaseTwins(connections: connections(of: volume))
        case .grow(let size): volume.grow(to: size, connections: connections(of: volume))
        case .fail, .promote, .cut: break
        }
        volume.recorded(decision, epoch: epoch)
        switch decision {
        case .fail(let members):
            for member in members { volume.unmap(member, connections: connections(of: volume)) }
        case .cut(let member): volume.unmap(member, connections: connections(of: volume))
        case .promote, .replace, .cutGeneration, .grow: break
        }
        forgetReleased(of: volume)
    }

    package func refuseCut(of id: VolumeID) { volumes[id]?.refuseCut() }

    /// Holds the volume's writes until they have drained and the cut is recorded; false when it cannot.
    package func beginCut(of member: MemberIndex, of id: VolumeID) -> Bool {
        volumes[id]?.beginCut(of: member) ?? false
    }

    package func isCutting(_ member: MemberIndex, of id: VolumeID) -> Bool {
        volumes[id]?.isCutting(member) ?? false
    }

    /// For how long writes have been held for the cut under way, in nanoseconds.
    package func heldFor(_ id: VolumeID) -> UInt64 {
        guard let volume = volumes[id] else { return 0 }
        return clinux_monotonic_nanoseconds() - volume.heldSince
    }

    // MARK: Growth

    /// Reaches as much of every region of a volume as `dataSize`, to which they have grown; returns why it cannot.
    package func enlargeRegions(of id: VolumeID, to dataSize: ByteCount) -> String? {
        guard let volume = volumes[id] else { return "it is gone" }
        do throws(SharedMemoryError) {
            try volume.enlargeRegions(to: dataSize, connections: connections(of: volume))
            return nil
        } catch {
            return error.description
        }
    }

    /// Holds the volume's writes until its new size is recorded; false when that cannot be now.
    package func beginGrowth(of id: VolumeID, to size: ByteCount) -> Bool {
        volumes[id]?.beginGrowth(to: size) ?? false
    }

    package func isGrowing(_ id: VolumeID) -> Bool { volumes[id]?.isGrowing ?? false }

    // MARK: Twins

    /// Begins to fill a twin of `member`; false when that cannot be now.
    package func addTwin(
        _ memory: MemberMemory, identity: RegionID, of member: MemberIndex, in id: VolumeID
    ) -> Bool {
        volumes[id]?.addTwin(memory, identity: identity, of: member) ?? false
    }

    /// Gives twins up, and lets go of their memory; those that a change of the registry is about stay.
    package func dropTwins(_ twins: MemberSet, of id: VolumeID) {
        guard let volume = volumes[id] else { return }
        volume.dropTwins(twins, connections: connections(of: volume))
        forgetReleased(of: volume)
    }

    /// The twins that have every acknowledged write.
    package func wholeTwins(of id: VolumeID) -> MemberSet {
        volumes[id]?.wholeTwins ?? MemberSet()
    }

    /// Holds writes until the twin of `member` is recorded in its place; false when that cannot be now.
    package func beginReplacement(of member: MemberIndex, in id: VolumeID) -> Bool {
        volumes[id]?.beginReplacement(of: member) ?? false
    }

    /// Holds writes until all twins are recorded as a snapshot; false when that cannot be now.
    package func beginCutOfGeneration(of id: VolumeID) -> Bool {
        volumes[id]?.beginCutOfGeneration() ?? false
    }

    package func fence(_ id: VolumeID) { volumes[id]?.fence() }

    package func report(_ id: VolumeID) -> VolumeReport? {
        guard let volume = volumes[id] else { return nil }
        var rebuilds: [MemberIndex: RebuildStanding] = [:]
        for number in 0..<MemberIndex.count {
            let member = MemberIndex(number)
            if let standing = volume.standing(of: member) { rebuilds[member] = standing }
        }
        return VolumeReport(
            counters: volume.counters, connections: connections(of: volume).count,
            rebuilds: rebuilds, rebuildLimit: volume.rebuildLimit, active: volume.active)
    }

    /// The volume is to have so many members from now on.
    package func setMemberCount(_ count: Int, of id: VolumeID) {
        volumes[id]?.memberCount = count
    }

    /// Limits a volume's rebuilds to this much a second; nil for as fast as they go beside the I/O.
    package func limitRebuilds(of id: VolumeID, to rate: ByteCount?) {
        volumes[id]?.limitRebuilds(to: rate)
    }

    /// Limits how fast the clients of a volume and its snapshots may go, from now on.
    package func limit(_ id: VolumeID, to limits: VolumeLimits) {
        servedBudget(of: id)?.limit(to: limits)
    }

    /// What a volume and its snapshots have together; with `limits` where none of them is served yet.
    private func budget(of id: VolumeID, _ limits: VolumeLimits) -> Budget {
        servedBudget(of: id) ?? Budget(limits)
    }

    private func servedBudget(of id: VolumeID) -> Budget? {
        volumes.values.first { $0.id == id || $0.origin?.id == id }?.budget
            ?? snapshots.values.first { $0.origin.id == id }?.budget
    }

    package func beginScrub(_ id: VolumeID) -> Bool {
        guard let volume = volumes[id] else { return false }
        volume.beginScrub()
        return true
    }

    /// How far a scrub has come; nil when the volume is gone.
    package func scrubStanding(_ id: VolumeID) -> (standing: ScrubStanding, isOver: Bool)? {
        volumes[id].map { ($0.scrubStanding, !$0.isScrubbing) }
    }

    // MARK: Snapshots

    /// Serves a snapshot; one that is served goes on with its region opened anew.
    ///
    /// The limits are those of its volume.
    package func add(
        _ memory: MemberMemory, as key: SnapshotKey, export: String, size: ByteCount,
        cutAt cut: Epoch, patience: UInt64, limits: VolumeLimits
    ) {
        if let snapshot = snapshots[key] { return snapshot.adopt(memory) }
        let origin = SnapshotOrigin(id: key.volume, cut: cut, volume: volumes[key.volume])
        snapshots[key] = Snapshot(
            name: export, size: size, of: origin, sharing: budget(of: key.volume, limits),
            memory: memory, patience: patience)
    }

    /// Serves a snapshot of an erasure set, as a volume of its own that nobody writes.
    package func addSnapshot(_ setup: VolumeSetup) {
        guard let origin = setup.origin else {
            preconditionFailure("a volume is repaired before it is served")
        }
        let snapshot = Volume(setup, budget(of: origin, setup.limits))
        snapshot.origin?.volume = volumes[origin]
        volumes[setup.id] = snapshot
    }

    /// A snapshot is deleted: what was changed behind it was changed behind the one before it.
    package func forgetSnapshot(cutAt cut: Epoch, of id: VolumeID) {
        volumes[id]?.engine.forgetSnapshot(cutAt: cut)
    }

    /// What is known to be changed since each snapshot; nil for a volume that is not served.
    package func savedChanges(of id: VolumeID) -> [SnapshotChanges]? {
        volumes[id]?.engine.savedChanges
    }

    /// The regions of such a snapshot that cannot be reached.
    package func missingRegions(of id: VolumeID) -> MemberSet {
        volumes[id]?.missing ?? MemberSet()
    }

    /// One of them is opened again.
    package func restore(_ memory: MemberMemory, as member: MemberIndex, of id: VolumeID) {
        guard let volume = volumes[id] else { return }
        volume.restore(memory, as: member)
        forgetReleased(of: volume)
    }

    /// How many clients an export has that is served as a volume.
    package func connectionCount(of id: VolumeID) -> Int {
        volumes[id].map { connections(of: $0).count } ?? 0
    }

    /// The snapshots whose channel broke.
    package func brokenSnapshots() -> [SnapshotKey] {
        snapshots.filter { $0.value.isBroken }.map(\.key)
    }

    package func connectionCount(of key: SnapshotKey) -> Int {
        guard let snapshot = snapshots[key] else { return 0 }
        return connections(of: snapshot).count
    }

    func connections(of snapshot: Snapshot) -> [Connection] {
        connections.values.filter {
            if case .snapshot(let other) = $0.target { other === snapshot } else { false }
        }
    }

    /// Lets go of a snapshot: its clients are disconnected, its memory is unmapped.
    package func remove(_ key: SnapshotKey) {
        guard let snapshot = snapshots.removeValue(forKey: key) else { return }
        if let channel = snapshot.channel { forget(channel) }
        snapshot.end()
        closeConnections(connections(of: snapshot))
        snapshot.forEachUnsent { _ in }
    }
}
