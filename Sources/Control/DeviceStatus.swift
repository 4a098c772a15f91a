// What a client device says about itself and about the appliances it knows.
//
// The names of these properties are the names in the JSON: scripts depend on them. A golden test
// holds them still; new ones may be added, and an optional one is left out when it has no value.

public import FoundationEssentials
public import RemoteMemory

/// Everything a client device has to show.
public struct DeviceStatus: Hashable, Sendable, Codable {
    /// The client device's process.
    public var pid: Int32
    /// The version of Holdfast it runs.
    public var version: String
    public var startedAt: Date
    /// Where its NBD server listens, as NBD URIs without an export.
    public var nbd: [String]
    /// Ordered by name.
    public var appliances: [ApplianceStatus]
    /// Ordered by name.
    public var volumes: [VolumeStatus]

    public init(
        pid: Int32, version: String, startedAt: Date, nbd: [String],
        appliances: [ApplianceStatus], volumes: [VolumeStatus]
    ) {
        self.pid = pid
        self.version = version
        self.startedAt = startedAt
        self.nbd = nbd
        self.appliances = appliances
        self.volumes = volumes
    }
}

/// Whether the client device reaches an appliance.
public enum ApplianceState: String, Hashable, Sendable, Codable, CaseIterable {
    case up
    case down
}

/// One appliance, as the client device sees it.
public struct ApplianceStatus: Hashable, Sendable, Codable {
    public var name: String
    /// `unix:PATH`, `tcp:HOST:PORT` or `rdma:HOST:PORT`.
    public var address: String
    /// Appliances of one failure domain may be lost together.
    public var failureDomain: String?
    public var state: ApplianceState
    /// The appliance's process, where it is known and on this machine.
    public var pid: Int32?
    /// The life of its memory; nil until it was first reached.
    public var incarnation: Incarnation?
    /// The memory it lends.
    public var capacityBytes: ByteCount
    /// The part of it that is promised to regions.
    public var allocatedBytes: ByteCount
    /// The part of it that holds data and takes up memory.
    public var residentBytes: ByteCount
    /// Its members are being moved away, and none is placed there.
    public var isDraining: Bool

    public init(
        name: String, address: String, failureDomain: String? = nil, state: ApplianceState,
        pid: Int32? = nil, incarnation: Incarnation? = nil,
        capacityBytes: ByteCount, allocatedBytes: ByteCount, residentBytes: ByteCount,
        isDraining: Bool = false
    ) {
        self.name = name
        self.address = address
        self.failureDomain = failureDomain
        self.state = state
        self.pid = pid
        self.incarnation = incarnation
        self.capacityBytes = capacityBytes
        self.allocatedBytes = allocatedBytes
        self.residentBytes = residentBytes
        self.isDraining = isDraining
    }
}
