// What a request must be like to be served: each rule in one ordered place, with its precise error.
//
// The order is the specification's ("Request types"): framing first, since nothing can follow a broken
// frame; then the command and its flags; then permission; then the range.

public import NBDProtocol

/// What to do with a request.
public enum RequestVerdict: Hashable, Sendable {
    case read
    case write
    /// Zeroes; `keepAllocated` when the client wants no holes.
    case zero(keepAllocated: Bool)
    case blockStatus
    /// Nothing is left to do: answer at once.
    case acknowledge
    case refuse(ErrorNumber)
    /// The client leaves: answer what is in flight, then close.
    case disconnect
}

/// The rules of the transmission phase.
public enum RequestRules {
    /// Block sizes told to clients, in bytes ("Block size constraints").
    public static let smallestBlock: UInt32 = 1
    public static let preferredBlock: UInt32 = 4096
    @inlinable public static var largestPayload: UInt32 { 32 << 20 }

    /// Whether the frame makes sense; nothing after a broken one can be understood.
    @inlinable
    public static func frameFault(
        _ header: RequestHeader, _ form: MessageForm
    ) -> CloseReason? {
        let magic = form == .extended ? Wire.extendedRequestMagic : Wire.requestMagic
        guard header.magic == magic else { return .badRequestMagic(header.magic) }
        guard header.payloadSize(form) <= UInt64(largestPayload) else {
            return .payloadTooLarge(header.length)
        }
        return nil
    }

    /// What to do with a request whose frame is whole.
    public static func verdict(
        _ header: RequestHeader, size: UInt64, isReadOnly: Bool, _ form: MessageForm = .simple,
        hasContexts: Bool = false
    ) -> RequestVerdict {
        switch header.type {
        case CommandType.read:
            let known: CommandFlags = form == .simple ? .fua : [.fua, .df]
            guard header.flags.isSubset(of: known), header.length <= UInt64(largestPayload),
                fits(header, size)
            else { return .refuse(.invalid) }
            return header.length == 0 ? .acknowledge : .read
        case CommandType.write:
            let known: CommandFlags = form == .extended ? [.fua, .payloadLength] : .fua
            guard header.flags.isSubset(of: known) else { return .refuse(.invalid) }
            return change(.write, header, size, isReadOnly, pastTheEnd: .noSpace)
        case CommandType.writeZeroes:
            guard header.flags.isSubset(of: [.fua, .noHole, .fastZero]) else {
                return .refuse(.invalid)
            }
            let keepsAllocated = header.flags.contains(.noHole)
            let verdict = change(
                .zero(keepAllocated: keepsAllocated), header, size, isReadOnly,
                pastTheEnd: .noSpace)
            // (Memory that is to stay allocated is overwritten, which takes as long as a write.)
            guard keepsAllocated, header.flags.contains(.fastZero),
                verdict == .zero(keepAllocated: true)
            else { return verdict }
            return .refuse(.notSupported)
        case CommandType.blockStatus:
            guard hasContexts, header.flags.isSubset(of: [.fua, .reqOne]), header.length > 0,
                fits(header, size)
            else { return .refuse(.invalid) }
            return .blockStatus
        case CommandType.trim:
            guard header.flags.isSubset(of: .fua) else { return .refuse(.invalid) }
            return change(
                .zero(keepAllocated: false), header, size, isReadOnly, pastTheEnd: .invalid)
        case CommandType.flush:
            // Acknowledged writes are on every member already: there is nothing behind them to flush.
            let isClean =
                header.offset == 0 && header.length == 0 && header.flags.isSubset(of: .fua)
            return isClean ? .acknowledge : .refuse(.invalid)
        case CommandType.cache:
            guard header.flags.isSubset(of: .fua), fits(header, size) else {
                return .refuse(.invalid)
            }
            return .acknowledge
        case CommandType.disconnect: return .disconnect
        default: return .refuse(.invalid)
        }
    }

    private static func change(
        _ verdict: RequestVerdict, _ header: RequestHeader, _ size: UInt64, _ isReadOnly: Bool,
        pastTheEnd: ErrorNumber
    ) -> RequestVerdict {
        guard !isReadOnly else { return .refuse(.notPermitted) }
        guard fits(header, size) else { return .refuse(pastTheEnd) }
        return header.length == 0 ? .acknowledge : verdict
    }

    private static func fits(_ header: RequestHeader, _ size: UInt64) -> Bool {
        header.offset <= size && header.length <= size - header.offset
    }
}
