// What an appliance counts, for whoever looks after it.

/// What an appliance has done since it started.
public struct ApplianceStatistics: Codable, Hashable, Sendable {
    /// When it started, in seconds since 1970.
    public var since: UInt64
    public var controlConnections = 0
    public var accessConnections = 0
    public var controlRequests: UInt64 = 0
    public var accessRequests: UInt64 = 0
    /// In all, in bytes.
    public var bytesReceived: UInt64 = 0
    public var bytesSent: UInt64 = 0
    /// Connections that were turned away: too many, too slow, without proof, or fenced.
    public var refused: UInt64 = 0

    init(since: UInt64) { self.since = since }
}
