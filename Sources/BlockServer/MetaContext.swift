// What clients may ask BLOCK_STATUS about ("Metadata querying").
//
//     base:allocation    whether blocks are allocated, of the specification

public import NBDProtocol

/// One metadata context.
public enum MetaContext: UInt32, CaseIterable, Hashable, Sendable {
    /// Its raw value is its ID on every connection.
    case allocation = 1

    /// As it stands in queries and replies.
    public var name: String {
        switch self {
        case .allocation: "base:allocation"
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
