// What a client device says about a snapshot: a region that left its volume's set.

public import FoundationEssentials
public import RemoteMemory

/// Whether a snapshot can be read.
public enum SnapshotState: String, Hashable, Sendable, Codable, CaseIterable {
    case ready
    /// Its appliance is out of reach: reads wait for it.
    case waiting
    /// The appliance that held it lost its memory.
    case lost
    /// Its appliance died: it is served as long as this client device lives, then lost.
    case orphaned
}

/// One snapshot.
public struct SnapshotStatus: Hashable, Sendable, Codable {
    public var name: String
    /// The name of the volume it was cut from.
    public var volume: String
    public var createdAt: Date
    public var sizeBytes: ByteCount
    /// The name of the appliance that holds it.
    public var appliance: String
    /// Where NBD clients find it, read-only.
    public var uri: String
    public var state: SnapshotState
    /// The memory it takes up.
    public var residentBytes: ByteCount

    public init(
        name: String, volume: String, createdAt: Date, sizeBytes: ByteCount, appliance: String,
        uri: String, state: SnapshotState, residentBytes: ByteCount
    ) {
        self.name = name
        self.volume = volume
        self.createdAt = createdAt
        self.sizeBytes = sizeBytes
        self.appliance = appliance
        self.uri = uri
        self.state = state
        self.residentBytes = residentBytes
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
