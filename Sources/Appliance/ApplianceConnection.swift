// A client device's side of an appliance's control socket.

import CLinux
import Glibc
public import RemoteMemory

/// A connection to one appliance; its end of file tells that the appliance died.
///
/// Calls block for as long as the appliance takes; use it from one thread at a time.
public final class ApplianceConnection {
    /// How long an answer may take, in milliseconds: a hung appliance must not hold up the others.
    private static let patience = 1000
    /// How fast memory is touched at the least when all of it is to be, in bytes a second.
    private static let slowestPopulation: UInt64 = 100 << 20

    private let socket: MessageSocket

    /// - Throws: `ApplianceConnectionError.unreachable` when nobody listens at `path`.
    public init(path: String) throws(ApplianceConnectionError) {
        socket = try MessageSocket.connect(to: path)
        socket.limitWaiting(milliseconds: Self.patience)
    }

    /// For watching: hangs up when the appliance is gone.
    public var descriptor: Int32 { socket.descriptor }

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
        socket.limitWaiting(milliseconds: milliseconds)
        defer { socket.limitWaiting(milliseconds: Self.patience) }
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
            socket.limitWaiting(
                milliseconds: Self.patience
                    + Int(dataSize.bytes / Self.slowestPopulation) * 1000)
        }
        defer { socket.limitWaiting(milliseconds: Self.patience) }
        _ = try ask(.allocate(region: region, dataSize: dataSize, populate: populate))
    }

    /// The region's memory, granted to `owner`; the caller owns the descriptor.
    public func open(_ region: RegionID, owner: OwnerID, epoch: Epoch)
        throws(ApplianceConnectionError) -> (descriptor: Int32, RegionDescription)
    {
        try self.region(from: ask(.open(region: region, owner: owner, epoch: epoch)))
    }

    /// The region's memory for reading; the caller owns the descriptor.
    public func view(_ region: RegionID) throws(ApplianceConnectionError)
        -> (descriptor: Int32, RegionDescription)
    {
        try self.region(from: ask(.view(region: region)))
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

    private func region(
        from answer: (reply: ApplianceReply, passed: Int32)
    ) throws(ApplianceConnectionError) -> (descriptor: Int32, RegionDescription) {
        guard case .region(let description) = answer.reply, answer.passed >= 0 else {
            throw .unreadable
        }
        return (answer.passed, description)
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
