// What the control side and a data thread tell each other of volumes and snapshots.

package import RemoteMemory
package import ResiliencySet
package import TCPTransport

/// What a data thread needs to know of a volume.
package struct VolumeSetup: Sendable {
    package var id: VolumeID
    package var name: String
    package var size: ByteCount
    package var ordering: Ordering
    /// Where the bytes stand in an erasure set; nil for a mirror.
    package var stripes: StripeGeometry?
    package var epoch: Epoch
    /// How many members the layout has; nil: those that are there.
    package var memberCount: Int?
    /// How long requests wait below the minimum of members, in nanoseconds.
    package var patience: UInt64
    /// How long a far member may be silent before it is given up, in nanoseconds.
    package var evictAfter: UInt64 = 1_000_000_000
    /// How fast clients may go; of a snapshot, together with those of its volume.
    package var limits = VolumeLimits.none
    package var active: [MemberIndex: MemberMemory]
    /// Members whose rebuild is to go on where it stood.
    package var rebuilding: [MemberIndex: MemberMemory]
    /// Active members that this takeover does without.
    package var lost: [MemberIndex] = []
    /// Members that failed before and may come back.
    package var away: [MemberIndex] = []
    /// Which region each member has.
    package var identities: [MemberIndex: RegionID]
    package var decisions: @Sendable (VolumeID, MembershipDecision) -> Void
    package var breaks: @Sendable (VolumeID, MemberIndex, ChannelFault) -> Void = { _, _, _ in }
    /// Called when a twin is of no more use.
    package var drops: @Sendable (VolumeID, RegionID) -> Void = { _, _ in }
    /// Of a generation that was removed from an erasure set, which is served read-only, as it is: its volume.
    package var origin: VolumeID?
    /// The epochs that began with the cuts of its snapshots, the oldest first.
    package var cuts: [Epoch] = []
    /// What an earlier owner knew to be changed since, if nobody else had the volume in between.
    package var changes: [SnapshotChanges] = []

    package init(
        id: VolumeID, name: String, size: ByteCount, ordering: Ordering, epoch: Epoch,
        patience: UInt64, active: [MemberIndex: MemberMemory],
        rebuilding: [MemberIndex: MemberMemory] = [:], identities: [MemberIndex: RegionID] = [:],
        decisions: @escaping @Sendable (VolumeID, MembershipDecision) -> Void
    ) {
        self.id = id
        self.name = name
        self.size = size
        self.ordering = ordering
        self.epoch = epoch
        self.patience = patience
        self.active = active
        self.rebuilding = rebuilding
        self.identities = identities
        self.decisions = decisions
    }
}

/// What a data thread knows of a volume.
package struct VolumeReport: Sendable {
    package var counters: VolumeCounters
    package var connections: Int
    package var rebuilds: [MemberIndex: RebuildStanding]
    /// The most that they copy, in bytes a second.
    package var rebuildLimit: ByteCount?
    package var active: MemberSet
}

/// Names a snapshot across volumes.
package struct SnapshotKey: Hashable, Sendable {
    package var volume: VolumeID
    package var name: String

    package init(volume: VolumeID, name: String) {
        self.volume = volume
        self.name = name
    }
}
