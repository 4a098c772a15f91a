// What LIST_META_CONTEXT and SET_META_CONTEXT carry ("Metadata querying").

/// Queries for contexts of an export.
///
///     length 4 │ name │ count 4 │ queries: length 4 │ text
public struct MetaContextRequest: Sendable {
    public var name: String
    public var queries: [String]

    /// Nil when an inner length does not fit, or something is not a string of the protocol.
    public init?(_ data: Span<UInt8>) {
        var reader = WireReader(data)
        guard let length = reader.uint32(), let name = reader.string(Int(length)),
            let count = reader.uint32()
        else { return nil }
        var queries: [String] = []
        // (A count that the data cannot hold ends at the first query that is not there.)
        for _ in 0..<count {
            guard let length = reader.uint32(), let query = reader.string(Int(length)) else {
                return nil
            }
            queries.append(query)
        }
        guard reader.isAtEnd else { return nil }
        self.name = name
        self.queries = queries
    }
}
