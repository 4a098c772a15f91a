// What can be connected to.

public import NBDProtocol
public import RemoteMemory

/// A snapshot, as a moment since which changes are known.
public struct SnapshotMark: Hashable, Sendable, Codable {
    /// Without its volume's.
    public var name: String
    /// The epoch that began with its cut: another of the same name has another.
    public var cut: Epoch

    public init(name: String, cut: Epoch) {
        self.name = name
        self.cut = cut
    }
}

/// One volume or snapshot, as clients see it.
public struct Export: Hashable, Sendable {
    public var name: String
    public var description: String
    /// In bytes.
    public var size: UInt64
    public var isReadOnly: Bool
    /// The snapshots of the same volume that are older than what is served here, the oldest first.
    public var snapshots: [SnapshotMark]

    public init(
        name: String, description: String, size: UInt64, isReadOnly: Bool,
        snapshots: [SnapshotMark] = []
    ) {
        self.name = name
        self.description = description
        self.size = size
        self.isReadOnly = isReadOnly
        self.snapshots = snapshots
    }

    /// What clients may send.
    ///
    /// CAN_MULTI_CONN is meant: all connections of an export are served by one engine, so a flush or
    /// FUA write on one covers what was completed on any.
    public func flags(_ form: MessageForm) -> TransmissionFlags {
        var flags: TransmissionFlags = [
            .hasFlags, .sendFlush, .sendFUA, .sendTrim, .sendWriteZeroes, .sendCache, .canMultiConn,
            .sendFastZero,
        ]
        if isReadOnly {
            flags.insert(.readOnly)
            flags.subtract([.sendTrim, .sendWriteZeroes, .sendFastZero])
        }
        if form != .simple { flags.insert(.sendDF) }
        return flags
    }
}

/// What has as many connections as it may have.
public struct Occupancy: Hashable, Sendable {
    /// How many there are in all, when no more are taken; else nil.
    public var total: Int?
    /// How many each export has that takes no more.
    public var full: [String: Int]

    public init(total: Int? = nil, full: [String: Int] = [:]) {
        self.total = total
        self.full = full
    }

    /// Why another connection of an export is not taken; nil when it is.
    func refusal(of export: String) -> CloseReason? {
        if let total { return .fullServer(connections: total) }
        return full[export].map { .fullExport(export, connections: $0) }
    }
}

/// All exports at one moment.
public struct ExportCatalog: Sendable {
    public private(set) var exports: [Export]
    public var occupancy = Occupancy()

    public init(_ exports: [Export] = []) {
        self.exports = exports.sorted { $0.name < $1.name }
    }

    /// Finds an export among those that `access` covers; the empty name is that of the only writable one, if
    /// there is just one ("default export" in the specification).
    public func find(_ name: String, for access: ExportAccess = .everything) -> Export? {
        if name.isEmpty {
            let volumes = exports.filter { !$0.isReadOnly && access.covers($0.name) }
            return volumes.count == 1 ? volumes[0] : nil
        }
        return exports.first { $0.name == name && access.covers(name) }
    }
}
