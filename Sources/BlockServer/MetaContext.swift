// What clients may ask BLOCK_STATUS about ("Metadata querying").
//
//     base:allocation            whether blocks are allocated, of the specification
//     holdfast:resiliency        whether all members hold them that should, see `ResiliencyStatus`
//     holdfast:dirty/SNAPSHOT    whether they were changed since a snapshot, see `ChangeStatus`

public import NBDProtocol

/// One metadata context of an export.
public enum MetaContext: Hashable, Sendable, Codable {
    case allocation
    case resiliency
    case changes(since: SnapshotMark)

    /// The most contexts that a client may ask about at once: each request for them is answered by so many chunks.
    public static let mostSelected = 16

    /// Begins the names of contexts of changes.
    private static let changesPrefix = "holdfast:dirty/"

    /// As it stands in queries and replies.
    public var name: String {
        switch self {
        case .allocation: "base:allocation"
        case .resiliency: "holdfast:resiliency"
        case .changes(let mark): Self.changesPrefix + mark.name
        }
    }

    /// Its ID on a connection whose contexts it is among, at this place.
    ///
    /// What was chosen keeps its place for as long as the connection lives, whatever becomes of snapshots.
    public func id(at place: Int) -> UInt32 {
        switch self {
        case .allocation: 1
        case .resiliency: 2
        case .changes: 3 + UInt32(place)
        }
    }

    /// All contexts that there are of an export.
    public static func all(of export: Export) -> [MetaContext] {
        [.allocation, .resiliency] + export.snapshots.map { .changes(since: $0) }
    }

    /// The contexts of an export that queries of LIST find: each by its name, or by what begins it.
    static func listed(by queries: [String], of export: Export) -> [MetaContext] {
        guard !queries.isEmpty else { return all(of: export) }
        let wanted = Set(queries)
        return all(of: export).filter { context in
            wanted.contains(context.name) || context.groups.contains(where: wanted.contains)
        }
    }

    /// The contexts of an export that queries of SET select: by their names alone.
    static func selected(by queries: [String], of export: Export) -> [MetaContext] {
        let wanted = Set(queries)
        return all(of: export).filter { wanted.contains($0.name) }
    }

    /// The namespace, with its colon, and what else queries may mean several contexts by.
    private var groups: [String] {
        switch self {
        case .allocation: ["base:"]
        case .resiliency: ["holdfast:"]
        case .changes: ["holdfast:", Self.changesPrefix]
        }
    }
}

/// What `holdfast:resiliency` says of an extent; 0 is healthy.
public struct ResiliencyStatus: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Fewer members hold it than the layout has.
    public static let degraded = ResiliencyStatus(rawValue: 1 << 0)
    /// A member that misses it is being rebuilt.
    public static let rebuilding = ResiliencyStatus(rawValue: 1 << 1)
}

/// What `holdfast:dirty/SNAPSHOT` says of an extent; 0 is: as it is in that snapshot.
///
/// The bit is the one of QEMU's `qemu:dirty-bitmap`, so that its clients understand it.
public struct ChangeStatus: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// It was written to since, or nobody knows.
    public static let changed = ChangeStatus(rawValue: 1 << 0)
}

/// What a client and this server agreed on beside the export.
public struct TransmissionTerms: Hashable, Sendable, Codable {
    public var form: MessageForm
    /// What BLOCK_STATUS answers about, at most `MetaContext.mostSelected`; none when it may not be asked.
    public var contexts: [MetaContext]

    public init(form: MessageForm = .simple, contexts: [MetaContext] = []) {
        self.form = form
        self.contexts = contexts
    }
}
