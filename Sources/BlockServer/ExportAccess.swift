// Who may use what: clients by the names they have proven, exports by their volumes.
//
//     alice=vol0,vol1          a certificate or pre-shared key that names alice: two volumes and their snapshots
//     db.example=*             everything
//     *=public                 everybody, also those who prove nothing

/// Whether TLS is spoken before an export is chosen ("Server-side requirements" of TLS).
public enum TLSPolicy: String, CaseIterable, Hashable, Sendable {
    /// NOTLS.
    case off
    /// Whoever asks for it gets it.
    case allowed
    /// FORCEDTLS.
    case required
}

/// What a client may use.
public enum ExportAccess: Hashable, Sendable {
    case everything
    /// These volumes and their snapshots, and nothing else.
    case volumes(Set<String>)

    /// Whether it holds for the export of this name, which may not exist.
    public func covers(_ export: String) -> Bool {
        switch self {
        case .everything: true
        // (No volume has an @ in its name: what stands behind it names a snapshot.)
        case .volumes(let names): names.contains(String(export.prefix { $0 != "@" }))
        }
    }

    func joined(with other: ExportAccess) -> ExportAccess {
        guard case .volumes(let some) = self, case .volumes(let more) = other else {
            return .everything
        }
        return .volumes(some.union(more))
    }
}

/// Why a grant was not understood.
public struct GrantError: Error, Hashable, Sendable, CustomStringConvertible {
    public let text: String

    public init(text: String) { self.text = text }

    public var description: String {
        "'\(text)' grants nothing: write IDENTITY=VOLUME,VOLUME, with * for everybody or everything"
    }
}

/// What each identity may use, as the operator said it.
public struct ExportGrants: Hashable, Sendable {
    /// Everybody, and everything.
    private static let any = "*"

    /// Nil when nothing was said: then whoever may connect may use everything.
    private var accesses: [String: ExportAccess]?

    /// No rules: whoever may connect may use everything.
    public static let none = ExportGrants()

    private init() {}

    /// Rules such as `alice=vol0,vol1`; several about one identity add up.
    public init(_ rules: [String]) throws(GrantError) {
        var accesses: [String: ExportAccess] = [:]
        for rule in rules {
            // (An identity may have the sign in it, as addresses of documents do; a volume cannot.)
            guard let sign = rule.lastIndex(of: "=") else { throw GrantError(text: rule) }
            let identity = String(rule[..<sign])
            let volumes = rule[rule.index(after: sign)...]
                .split(separator: ",", omittingEmptySubsequences: false).map(String.init)
            guard !identity.isEmpty, !volumes.contains(where: { $0.isEmpty || $0.contains("@") })
            else { throw GrantError(text: rule) }
            let access: ExportAccess =
                volumes.contains(Self.any) ? .everything : .volumes(Set(volumes))
            accesses[identity] = accesses[identity]?.joined(with: access) ?? access
        }
        self.accesses = accesses
    }

    /// Reads the rules of a file: one a line, and what follows a # is a remark.
    public init(text: String) throws(GrantError) {
        try self.init(
            text.split(whereSeparator: \.isNewline).compactMap { line in
                var rule = line.prefix { $0 != "#" }.drop(while: \.isWhitespace)
                while rule.last?.isWhitespace == true { rule.removeLast() }
                return rule.isEmpty ? nil : String(rule)
            })
    }

    /// Both together.
    public func adding(_ other: ExportGrants) -> ExportGrants {
        guard let more = other.accesses else { return self }
        var sum = self
        sum.accesses = (accesses ?? [:]).merging(more) { $0.joined(with: $1) }
        return sum
    }

    /// What a client may use that has proven these names; none for one that has proven nothing.
    public func access(of names: [String]) -> ExportAccess {
        guard let accesses else { return .everything }
        return (names + [Self.any]).compactMap { accesses[$0] }
            .reduce(.volumes([])) { $0.joined(with: $1) }
    }
}
