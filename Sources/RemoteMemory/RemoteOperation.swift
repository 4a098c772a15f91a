// The contract of client-side memory access, as plain data: what the engine asks of a transport.
//
// Operations to one region are carried out in the order in which they are given; one operation's
// steps happen in the order in which they are listed. Every operation completes exactly once, also
// when its member is gone. "Done" means that the bytes are in the region.

/// Names one operation in flight; handed back with its completion.
public struct OperationTicket: Hashable, Sendable, BitwiseCopyable {
    /// Which entry of the engine's table asked for it.
    public var entry: UInt16
    /// Which use of that entry: a completion that comes too late is recognised and dropped.
    public var generation: UInt16

    @inlinable public init(entry: UInt16, generation: UInt16) {
        self.entry = entry
        self.generation = generation
    }
}

/// One client-side access to one member's region.
///
/// Ranges are of the volume's data.
public struct RemoteOperation: Sendable, BitwiseCopyable {
    public enum Action: Sendable, BitwiseCopyable {
        /// Store the intent, then the payload of `request` at the intent's range, then the landed mark.
        case write(slot: UInt8, Intent, request: UInt32)
        /// Store the intent if `first`, free or zero `step`, store the landed mark if `last`.
        case zero(
            slot: UInt8, Intent, step: ByteRange, keepAllocated: Bool, first: Bool, last: Bool)
        /// Hand the bytes of `range` to `request`.
        case read(ByteRange, request: UInt32)
        /// Make `range` equal to that of `source`, leaving what is unallocated there unallocated.
        case copy(ByteRange, source: MemberIndex)
        /// Store the intent, make its part `range` equal to that of `source`, store the landed mark if
        /// `last`: a repair leaves the same trail as a write, so that it can itself be interrupted.
        case restore(slot: UInt8, Intent, range: ByteRange, source: MemberIndex, last: Bool)
        /// Tell whether `range` is equal to that of `reference`.
        case compare(ByteRange, reference: MemberIndex)
        /// Store the completed mark; its completion is of no interest.
        case complete(slot: UInt8, sequence: UInt64)
    }

    public var ticket: OperationTicket
    public var member: MemberIndex
    public var action: Action

    @inlinable public init(ticket: OperationTicket, member: MemberIndex, action: Action) {
        self.ticket = ticket
        self.member = member
        self.action = action
    }
}

/// How an operation ended.
public enum OperationOutcome: Sendable {
    case done
    /// A comparison found a difference.
    case different
    /// The member cannot be reached, or refuses; nothing is known of what landed.
    case failed
}
