// The bodies of requests: what is to be created, or how something is to be done.

public import RemoteMemory

/// A volume to be created.
public struct VolumeCreation: Hashable, Sendable, Codable {
    public var name: String
    public var size: ByteCount
    public var layout: Layout
    public var ordering: Ordering
    /// How many bytes stand together on one member of an erasure set; nil for what is usual.
    public var chunk: ByteCount?

    public init(
        name: String, size: ByteCount, layout: Layout, ordering: Ordering = .parallel,
        chunk: ByteCount? = nil
    ) {
        self.name = name
        self.size = size
        self.layout = layout
        self.ordering = ordering
        self.chunk = chunk
    }
}

/// What is to change of a volume.
public struct VolumeChange: Hashable, Sendable, Codable {
    /// How it is to be spread over appliances from now on.
    public var layout: Layout

    public init(layout: Layout) {
        self.layout = layout
    }
}

/// How large a volume is to be.
public struct VolumeResize: Hashable, Sendable, Codable {
    /// In bytes; never less than it is.
    public var size: ByteCount

    public init(size: ByteCount) {
        self.size = size
    }
}

/// How fast the clients of a volume may go from now on, all together.
public struct LimitChange: Hashable, Sendable, Codable {
    /// Requests a second; zero for no limit, nil for what held before.
    public var iops: UInt64?
    /// Bytes a second; zero for no limit, nil for what held before.
    public var bandwidth: ByteCount?

    public init(iops: UInt64? = nil, bandwidth: ByteCount? = nil) {
        self.iops = iops
        self.bandwidth = bandwidth
    }
}

/// A member that is to stand elsewhere.
public struct MemberMove: Hashable, Sendable, Codable {
    /// The name of the appliance that holds it.
    public var from: String
    /// The name of the appliance that is to hold it; nil for whichever suits best.
    public var to: String?

    public init(from: String, to: String? = nil) {
        self.from = from
        self.to = to
    }
}

/// Whether an appliance is to be emptied.
public struct DrainStart: Hashable, Sendable, Codable {
    /// It is to be used again; what was moved away stays where it is.
    public var isCancelled: Bool

    public init(isCancelled: Bool = false) {
        self.isCancelled = isCancelled
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

/// How a volume is to be rebuilt.
public struct RebuildStart: Hashable, Sendable, Codable {
    /// The most that the volume's rebuilds copy from now on, in bytes a second; zero for as fast as they
    /// go beside the I/O, nil for what held before.
    ///
    /// It holds for as long as the client device runs.
    public var limit: ByteCount?

    public init(limit: ByteCount? = nil) {
        self.limit = limit
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
