// What clients may ask BLOCK_STATUS about ("Metadata querying").
//
//     base:allocation        whether blocks are allocated, of the specification
//     holdfast:resiliency    whether all members hold them that should, see `ResiliencyStatus`

public import NBDProtocol

/// One metadata context.
public enum MetaContext: UInt32, CaseIterable, Hashable, Sendable {
    /// Its raw value is its ID on every connection.
    case allocation = 1
    case resiliency = 2

    /// As it stands in queries and replies.
    public var name: String {
        switch self {
        case .allocation: "base:allocation"
        case .resiliency: "holdfast:resiliency"
        }
    }

    /// The namespace, with its colon.
    private var namespace: String { String(name.prefix { $0 != ":" }) + ":" }

    /// The contexts that a query of LIST finds: itself, or all of its namespace.
    public static func listed(by query: String) -> [MetaContext] {
        allCases.filter { $0.name == query || $0.namespace == query }
    }

    /// The context that a query of SET selects; nil for what is not known here.
    public static func selected(by query: String) -> MetaContext? {
        allCases.first { $0.name == query }
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

/// What a client and this server agreed on beside the export.
public struct TransmissionTerms: Hashable, Sendable {
    public var form: MessageForm
    /// What BLOCK_STATUS answers about; none when it may not be asked.
    public var contexts: [MetaContext]

    public init(form: MessageForm = .simple, contexts: [MetaContext] = []) {
        self.form = form
        self.contexts = contexts
    }
}
