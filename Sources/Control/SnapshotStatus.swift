// What a client device says about a snapshot: a region that left its volume's set.

public import FoundationEssentials
public import RemoteMemory

/// Whether a snapshot can be read.
public enum SnapshotState: String, Hashable, Sendable, Codable, CaseIterable {
    case ready
    /// Its appliance is out of reach: reads wait for it.
    case waiting
    /// The appliance that held it lost its memory; of an erasure set's, more than M did.
    case lost
    /// Its appliance died, or more than M did: it is served as long as this client device lives, then lost.
    case orphaned
}

/// One snapshot.
public struct SnapshotStatus: Hashable, Sendable, Codable {
    public var name: String
    /// The name of the volume it was cut from.
    public var volume: String
    public var createdAt: Date
    public var sizeBytes: ByteCount
    /// The name of the appliance that holds it; of an erasure set's, its first region.
    public var appliance: String
    /// Where NBD clients find it, read-only.
    public var uri: String
    public var state: SnapshotState
    /// The memory it takes up.
    public var residentBytes: ByteCount
    /// The regions that a snapshot of an erasure set is read from, any K of them; nil for that of a mirror.
    public var regions: [SnapshotRegionStatus]?

    public init(
        name: String, volume: String, createdAt: Date, sizeBytes: ByteCount, appliance: String,
        uri: String, state: SnapshotState, residentBytes: ByteCount,
        regions: [SnapshotRegionStatus]? = nil
    ) {
        self.name = name
        self.volume = volume
        self.createdAt = createdAt
        self.sizeBytes = sizeBytes
        self.appliance = appliance
        self.uri = uri
        self.state = state
        self.residentBytes = residentBytes
        self.regions = regions
    }
}

/// One region of a snapshot of an erasure set.
public struct SnapshotRegionStatus: Hashable, Sendable, Codable {
    /// The member whose bytes it has.
    public var index: MemberIndex
    /// The name of the appliance that holds it.
    public var appliance: String
    public var region: RegionID
    /// Its appliance is there, and still has its memory.
    public var isReachable: Bool

    public init(index: MemberIndex, appliance: String, region: RegionID, isReachable: Bool) {
        self.index = index
        self.appliance = appliance
        self.region = region
        self.isReachable = isReachable
    }
}

/// A snapshot that was just cut, and what that cost the writers.
public struct CreatedSnapshot: Hashable, Sendable, Codable {
    public var snapshot: SnapshotStatus
    /// How long writes were held back: while those in flight drained and the registry committed.
    public var heldMilliseconds: Double

    public init(snapshot: SnapshotStatus, heldMilliseconds: Double) {
        self.snapshot = snapshot
        self.heldMilliseconds = heldMilliseconds
    }
}
