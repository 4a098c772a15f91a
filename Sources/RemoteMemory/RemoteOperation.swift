// The contract of client-side memory access, as plain data: what the engine asks of a transport.
//
// Operations to one region are carried out in the order in which they are given; one operation's
// steps happen in the order in which they are listed. Every operation completes exactly once, also
// when its member is gone. "Done" means that the bytes are in the region.

/// Names one operation in flight; handed back with its completion.
public struct OperationTicket: Hashable, Sendable, BitwiseCopyable {
    /// Of operations whose completion is of no interest.
    @inlinable public static var none: OperationTicket {
        OperationTicket(entry: .max, generation: 0)
    }

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
        /// Store the intent, then the bits of the dirty maps of `marks`, then the payload of `request`
        /// at the intent's range, then the landed mark.
        ///
        /// With `isGuarded` the payload goes by way of the redo area: this is the last copy, and a
        /// half-written block of it could be restored from nowhere.
        case write(
            slot: UInt8, Intent, request: UInt32, isGuarded: Bool, marks: MemberSet)
        /// Store the intent and the bits of the dirty maps of `marks` if `first`, free or zero `step`,
        /// store the landed mark if `last`.
        case zero(
            slot: UInt8, Intent, step: ByteRange, keepAllocated: Bool, first: Bool, last: Bool,
            marks: MemberSet)
        /// Hand the bytes of `range` to `request`.
        case read(ByteRange, request: UInt32)
        /// Make `range` equal to that of `source`, leaving what is unallocated there unallocated.
        case copy(ByteRange, source: MemberIndex)
        /// Store the intent, make its part `range` equal to that of `source`, store the landed mark if
        /// `last`: a repair leaves the same trail as a write, so that it can itself be interrupted.
        case restore(slot: UInt8, Intent, range: ByteRange, source: MemberIndex, last: Bool)
        /// Make the intent's part `range` equal to that of `source`, which has not got the write; if `last`,
        /// take the intent back, so that this member reads as never having seen it.
        case withdraw(slot: UInt8, Intent, range: ByteRange, source: MemberIndex, last: Bool)
        /// Tell whether `range` is equal to that of `reference`.
        case compare(ByteRange, reference: MemberIndex)
        /// Store the completed mark; its completion is of no interest.
        case complete(slot: UInt8, sequence: UInt64)
        /// Store the whole dirty map of a member: it counts from the moment its last word is there.
        case storeMap(of: MemberIndex)
        /// Store one word of the dirty map of a member; its completion is of no interest.
        case storeMapWord(of: MemberIndex, word: UInt32)
        /// Nothing but an answer: the member is there, and this client device still has the set.
        case probe

        // Of erasure sets. Windows and spans are ranges of a region's data (StripeGeometry); `work` is
        // one of the driver's work areas, with room for a window of each member.

        /// Hand the bytes of `range`, which is of the volume, that stand on this member to `request`.
        case gather(ByteRange, request: UInt32)
        /// Bring `span` to its columns in this member's part of the work area: a part begins with the
        /// first byte of a row.
        case fetch(span: ByteRange, work: UInt8)
        /// Store the bits of the dirty maps of `marks`, then this member's new bytes for the intent's
        /// step in the redo slot, then the intent: it is the record that they are there.
        ///
        /// Data is the payload of `request`, parity stands in the work area of the same number. An
        /// intent to zero has no bytes.
        case redo(slot: UInt8, Intent, request: UInt32, marks: MemberSet)
        /// Store in place what the redo slot holds, or zeroes, then the landed mark.
        case apply(slot: UInt8, Intent, keepAllocated: Bool)
        /// Take the intent back: what the redo slot holds counts for nothing.
        case discard(slot: UInt8)
        /// Work out this member's bytes of `window` from those that `sources` brought to the work area,
        /// and store them in place.
        case rebuild(window: ByteRange, work: UInt8, sources: MemberSet)
        /// Bring what the rows of `window` fold to to the work area: chunks folded to `foldSize`, and
        /// those of rows with the same roles added up, in the order of the stripe's number modulo N.
        case fold(window: ByteRange, work: UInt8)
        /// Tell whether the folds of `members` in the work area belong together: nothing is sent.
        case verify(window: ByteRange, work: UInt8, members: MemberSet)
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

extension RemoteOperation {
    /// The bytes of the volume that it touches; nil for none, or where an erasure set is concerned.
    public var range: ByteRange? {
        switch action {
        case .write(_, let intent, _, _, _): intent.range
        case .zero(_, _, let step, _, _, _, _): step
        case .read(let range, _), .copy(let range, _), .compare(let range, _): range
        case .restore(_, _, let range, _, _), .withdraw(_, _, let range, _, _): range
        case .complete, .storeMap, .storeMapWord, .probe: nil
        case .gather, .fetch, .redo, .apply, .discard, .rebuild, .fold, .verify: nil
        }
    }

    /// Whether it changes what the device holds.
    public var isChange: Bool {
        switch action {
        case .write, .zero, .restore, .withdraw, .redo, .apply, .discard: true
        case .read, .copy, .compare, .complete, .storeMap, .storeMapWord, .probe: false
        case .gather, .fetch, .rebuild, .fold, .verify: false
        }
    }

    /// The other member whose data it needs.
    public var sourceMember: MemberIndex? {
        switch action {
        case .copy(_, let source), .restore(_, _, _, let source, _),
            .withdraw(_, _, _, let source, _):
            source
        case .compare(_, let reference): reference
        case .write, .zero, .read, .complete, .storeMap, .storeMapWord, .probe: nil
        case .gather, .fetch, .redo, .apply, .discard, .rebuild, .fold, .verify: nil
        }
    }
}

/// How an operation ended.
public enum OperationOutcome: Sendable {
    case done
    /// A comparison found a difference.
    case different
    /// The member cannot be reached, or refuses; nothing is known of what landed.
    case failed
    /// The member that a copy, restoration or comparison takes its data from cannot be reached.
    case sourceFailed
    /// The appliance knows a newer epoch: another client device has the set.
    case fenced
}
