// A client device's side of an appliance: asking for regions, and attaching to one from another host.

import CLinux
import Glibc
public import Reactor
public import RemoteMemory
public import TCPTransport

/// A region that was granted: its memory on the same host, a key elsewhere.
public enum RegionGrant: Sendable {
    /// The caller owns the descriptor.
    case descriptor(Int32, RegionDescription)
    case key(Identifier, RegionDescription)

    /// The region, as it was when it was granted.
    public var description: RegionDescription {
        switch self {
        case .descriptor(_, let description), .key(_, let description): description
        }
    }

    /// The descriptor, which the caller owns.
    ///
    /// - Throws: `ApplianceConnectionError.unreadable` when the region is on another host.
    public var memory: (descriptor: Int32, description: RegionDescription) {
        get throws(ApplianceConnectionError) {
            guard case .descriptor(let descriptor, let description) = self else {
                throw .unreadable
            }
            return (descriptor, description)
        }
    }
}

/// A connection to one appliance; its end of file tells that the appliance died.
///
/// Calls block for as long as the appliance takes; use it from one thread at a time.
public final class ApplianceConnection {
    /// How long an answer may take, in milliseconds: a hung appliance must not hold up the others.
    private static let patience = 1000
    /// How fast memory is touched at the least when all of it is to be, in bytes a second.
    private static let slowestPopulation: UInt64 = 100 << 20

    private let socket: MessageSocket
    private let address: Address
    /// What further connections to the appliance are opened with.
    public var security: PeerSecurity

    /// - Throws: `ApplianceConnectionError.unreachable` when nobody listens at `address`.
    public init(address: Address, security: PeerSecurity) throws(ApplianceConnectionError) {
        self.address = address
        self.security = security
        socket = try MessageSocket(to: address, security: security, patience: Self.patience)
    }

    /// The same on this host.
    public convenience init(path: String) throws(ApplianceConnectionError) {
        try self.init(address: .unix(path: path), security: .local)
    }

    /// For watching: hangs up when the appliance is gone.
    public var descriptor: Int32 { socket.stream.descriptor }

    public func describe() throws(ApplianceConnectionError) -> ApplianceDescription {
        guard case .description(let description) = try ask(.describe).reply else {
            throw .unreadable
        }
        return description
    }

    /// The same, for an answer within so many milliseconds; a connection whose answer is late is of no more
    /// use, for the answer may still come.
    public func describe(within milliseconds: Int) throws(ApplianceConnectionError)
        -> ApplianceDescription
    {
        socket.patience = milliseconds
        defer { socket.patience = Self.patience }
        return try describe()
    }

    /// How much a region takes up.
    public func describe(_ region: RegionID) throws(ApplianceConnectionError) -> RegionDescription {
        guard case .region(let description) = try ask(.measure(region: region)).reply else {
            throw .unreadable
        }
        return description
    }

    public func allocate(_ region: RegionID, dataSize: ByteCount, populate: Bool)
        throws(ApplianceConnectionError)
    {
        if populate {
            socket.patience =
                Self.patience + Int(dataSize.bytes / Self.slowestPopulation) * 1000
        }
        defer { socket.patience = Self.patience }
        _ = try ask(.allocate(region: region, dataSize: dataSize, populate: populate))
    }

    /// Has a region that `owner` has opened hold `dataSize` from now on; it never shrinks.
    public func grow(_ region: RegionID, owner: OwnerID, epoch: Epoch, to dataSize: ByteCount)
        throws(ApplianceConnectionError)
    {
        _ = try ask(.grow(region: region, owner: owner, epoch: epoch, dataSize: dataSize))
    }

    /// Access to a region for `owner`; whoever had it is fenced.
    public func open(_ region: RegionID, owner: OwnerID, epoch: Epoch)
        throws(ApplianceConnectionError) -> RegionGrant
    {
        try grant(from: ask(.open(region: region, owner: owner, epoch: epoch)))
    }

    /// Access to a region for reading.
    public func view(_ region: RegionID) throws(ApplianceConnectionError) -> RegionGrant {
        try grant(from: ask(.view(region: region)))
    }

    /// Shuts out whoever has a region by a lower epoch.
    public func fence(_ region: RegionID, epoch: Epoch) throws(ApplianceConnectionError) {
        _ = try ask(.fence(region: region, epoch: epoch))
    }

    public func statistics() throws(ApplianceConnectionError) -> ApplianceStatistics {
        guard case .statistics(let statistics) = try ask(.statistics).reply else {
            throw .unreadable
        }
        return statistics
    }

    /// A connection of its own for client-side access to a region, attached by a key that was granted.
    ///
    /// The stream is non-blocking, and ready for requests. It may be called from any thread.
    public func attach(_ region: RegionID, key: Identifier) throws(ApplianceConnectionError)
        -> SocketStream
    {
        try Self.attach(to: address, security: security, region, key: key)
    }

    /// The same without a control connection.
    public static func attach(
        to address: Address, security: PeerSecurity, _ region: RegionID, key: Identifier
    ) throws(ApplianceConnectionError) -> SocketStream {
        let stream = try MessageSocket.dial(address, .access, security, within: patience)
        let deadline = Deadline(milliseconds: patience)
        let header = AccessRequestHeader(
            bodySize: 32, operation: .attach, segmentCount: 0, tag: 0
        ).words
        let identifiers = [
            header.0, header.1, region.value.high.littleEndian, region.value.low.littleEndian,
            key.high.littleEndian, key.low.littleEndian,
        ]
        var bytes = unsafe identifiers.withUnsafeBytes { unsafe Array($0) }
        try stream.sendAll(&bytes, by: deadline)
        let answer = try stream.receive(AccessWire.headerSize, by: deadline)
        let reply = unsafe AccessReplyHeader(answer.span.bytes)
        guard let status = reply.status, reply.bodySize <= 8 else { throw .unreadable }
        guard status == .done else { throw .notAttached(status) }
        // (The size of the data, which whoever opened the region knows.)
        _ = try stream.receive(Int(reply.bodySize), by: deadline)
        return stream
    }

    public func free(_ region: RegionID) throws(ApplianceConnectionError) {
        _ = try ask(.free(region: region))
    }

    public func enrol(_ region: RegionID, in cluster: ResiliencyCluster)
        throws(ApplianceConnectionError)
    {
        _ = try ask(.enrol(region: region, cluster: cluster))
    }

    public func observe(_ region: RegionID) throws(ApplianceConnectionError) -> Observation {
        guard case .observation(let observation) = try ask(.observe(region: region)).reply else {
            throw .unreadable
        }
        return observation
    }

    private func grant(
        from answer: (reply: ApplianceReply, passed: Int32)
    ) throws(ApplianceConnectionError) -> RegionGrant {
        switch answer.reply {
        case .region(let description) where answer.passed >= 0:
            return .descriptor(answer.passed, description)
        case .granted(let description, let key):
            if answer.passed >= 0 { close(answer.passed) }
            return .key(key, description)
        default:
            if answer.passed >= 0 { close(answer.passed) }
            throw .unreadable
        }
    }

    private func ask(_ request: ApplianceRequest) throws(ApplianceConnectionError)
        -> (reply: ApplianceReply, passed: Int32)
    {
        try socket.send(request)
        let (reply, passed) = try socket.receive(ApplianceReply.self)
        if case .refused(let refusal) = reply {
            if passed >= 0 { close(passed) }
            throw .refused(refusal)
        }
        return (reply, passed)
    }
}
