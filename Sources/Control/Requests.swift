// The bodies of the requests that create something.

public import RemoteMemory

/// A volume to be created.
public struct VolumeCreation: Hashable, Sendable, Codable {
    public var name: String
    public var size: ByteCount
    public var layout: Layout
    public var ordering: Ordering

    public init(name: String, size: ByteCount, layout: Layout, ordering: Ordering = .parallel) {
        self.name = name
        self.size = size
        self.layout = layout
        self.ordering = ordering
    }
}

/// A snapshot to be cut.
public struct SnapshotCreation: Hashable, Sendable, Codable {
    public var name: String
    /// Cut now, even if that leaves the volume without redundancy until it is rebuilt.
    public var immediate: Bool

    public init(name: String, immediate: Bool = false) {
        self.name = name
        self.immediate = immediate
    }
}

/// An appliance to be made known.
public struct ApplianceAddition: Hashable, Sendable, Codable {
    public var name: String
    /// `unix:PATH`, `tcp:HOST:PORT` or `rdma:HOST:PORT`.
    public var address: String
    /// Appliances of one failure domain may be lost together; a set avoids two of the same.
    public var failureDomain: String?

    public init(name: String, address: String, failureDomain: String? = nil) {
        self.name = name
        self.address = address
        self.failureDomain = failureDomain
    }
}
