/// The most that all clients of a volume get together; nil for as much as there is.
public struct VolumeLimits: Hashable, Sendable {
    /// A limit in bytes a second that one large request would not exceed for minutes.
    public static let leastBandwidth = ByteCount(64 << 10)

    /// Requests a second.
    public var iops: UInt64?
    /// Bytes a second, of reads, writes and zeroes that are written.
    public var bandwidth: ByteCount?

    /// Without limits.
    public static let none = VolumeLimits()

    public init(iops: UInt64? = nil, bandwidth: ByteCount? = nil) {
        self.iops = iops
        self.bandwidth = bandwidth
    }
}
