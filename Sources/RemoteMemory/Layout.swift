// How a set spreads one device over several regions, and the states of its members.

/// How the data of one write is derived for the regions of a set.
public enum Layout: Hashable, Sendable, CustomStringConvertible {
    /// `mirror:N`: every region holds a full copy.
    case mirror(copies: Int)
    /// `erasure:K+M`: any K of K+M regions suffice.
    case erasure(data: Int, parity: Int)

    /// The range of copies a mirror may have; the index space leaves room for replacements.
    public static let mirrorCopies = 1...8
    /// The range of K in `erasure:K+M`; with one there would be a mirror, at more cost.
    public static let erasureData = 2...12
    /// The range of M in `erasure:K+M`; K+M is at most `MemberIndex.limit`.
    public static let erasureParity = 1...4

    /// Reads `mirror:N` or `erasure:K+M`; nil when `text` names no layout this version knows.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2 else { return nil }
        switch parts[0] {
        case "mirror":
            guard let copies = Int(parts[1]), Self.mirrorCopies.contains(copies) else {
                return nil
            }
            self = .mirror(copies: copies)
        case "erasure":
            let shards = parts[1].split(separator: "+", omittingEmptySubsequences: false)
            guard shards.count == 2, let data = Int(shards[0]), let parity = Int(shards[1]),
                Self.erasureData.contains(data), Self.erasureParity.contains(parity),
                data + parity <= MemberIndex.limit
            else { return nil }
            self = .erasure(data: data, parity: parity)
        default: return nil
        }
        // One way to write each: no signs, no leading zeroes.
        guard description == text else { return nil }
    }

    public var description: String {
        switch self {
        case .mirror(let copies): "mirror:\(copies)"
        case .erasure(let data, let parity): "erasure:\(data)+\(parity)"
        }
    }

    /// How many regions a healthy set of this layout has.
    public var memberCount: Int {
        switch self {
        case .mirror(let copies): copies
        case .erasure(let data, let parity): data + parity
        }
    }

    /// Whether each region holds bytes of its own.
    public var isErasure: Bool {
        switch self {
        case .mirror: false
        case .erasure: true
        }
    }

    /// How many regions must be there for the device to be read and written.
    public var membersNeeded: Int {
        switch self {
        case .mirror: 1
        case .erasure(let data, _): data
        }
    }

    /// How many members of a healthy set may be lost at once.
    public var lossesSurvived: Int { memberCount - membersNeeded }
}

/// In which order the operations of one multi-write are issued.
public enum Ordering: String, Sendable, Codable, CaseIterable {
    /// To all members at once: the lowest latency.
    case parallel
    /// To one member after the other: at most one member holds a half-done write.
    case sequential
}

/// A region's standing in its set.
public enum MemberState: String, Sendable, Codable, CaseIterable {
    /// Holds every acknowledged write; is read from.
    case active
    /// Answers late; still written to, read from only when nobody else can.
    case suspect
    /// Missed a write, or its memory is gone; neither read nor written.
    case failed
    /// Receives foreground writes while its missing extents are copied; not read.
    case rebuilding
    /// No longer part of the set; its region may live on as a snapshot.
    case removed
}
