// What an entry of an erasure set is in the middle of, beside what every entry has.
//
// The entry's own range is the lock: whole stripes, as two writes to one stripe change the same parity, and
// a read may have to reconstruct. What the client named is kept here.
//
//     change    fetching ──▶ logging ──▶ applying ──▶ next step       one step at a time, in one slot
//     read      fetching ──▶ next step                                degraded; otherwise all at once
//     copy      fetching ──▶ applying ──▶ next step
//     compare   folding ──▶ verifying (──▶ locating ──▶ steps like a copy's ──▶ folding)

public import RemoteMemory

/// How a step gets the old bytes that its new parity depends on.
public enum StripePath: UInt8, Sendable, BitwiseCopyable {
    /// All data of its stripes is new, or no member holds parity of them.
    case whole
    /// The old bytes of what is written, and the old parity: the difference is added.
    case modify
    /// The bytes beside what is written.
    case reconstruct
    /// Any K members: what is lost is worked out, and the new bytes are laid over it.
    case degraded
}

/// What the parity of a step is made of; to be worked out at once, in the work area.
public struct EncodeStep: Sendable, BitwiseCopyable {
    public var work: UInt8
    public var request: UInt32
    /// The part of the volume that the step changes.
    public var range: ByteRange
    public var path: StripePath
    /// Whose bytes are in the work area.
    public var sources: MemberSet
    /// Those whose parity of the window is wanted, each where it holds parity.
    public var parity: MemberSet
}

/// What a read of lost bytes is made of; to be worked out at once, from the work area.
public struct DecodeStep: Sendable, BitwiseCopyable {
    public var work: UInt8
    public var request: UInt32
    /// The part of the volume that is to be handed to the request.
    public var range: ByteRange
    /// The members whose windows are in the work area: K of them.
    public var sources: MemberSet
}

/// One entry's progress.
struct StripedEntry: BitwiseCopyable {
    enum Part: UInt8 { case fetching, logging, applying, folding, verifying, locating }

    static let noWork = UInt8.max

    /// What the client named, or the extent.
    var range = ByteRange(start: ByteOffset(0), count: .zero)
    /// The part of it under way.
    var step = ByteRange(start: ByteOffset(0), count: .zero)
    var part = Part.fetching
    var path = StripePath.whole
    var work = StripedEntry.noWork
    /// Whose bytes are in the work area, or on their way.
    var sources = MemberSet()
    /// The members that the step is carried out on; of a comparison, the member that was wrong.
    var takers = MemberSet()
    /// Memory that becomes zero is kept.
    var keepsAllocated = false
}

/// Which shared work areas are taken.
struct WorkAreas: ~Copyable {
    private let first: Int
    private var free: UInt32

    /// Those of a set with so many redo slots, whose work areas come first.
    init(behind slotCount: Int) {
        first = slotCount
        free = UInt32.max >> UInt32(UInt32.bitWidth - StripeGeometry.sharedWorkAreas)
    }

    mutating func take() -> UInt8? {
        guard free != 0 else { return nil }
        let area = free.trailingZeroBitCount
        free &= free - 1
        return UInt8(first + area)
    }

    mutating func release(_ work: UInt8) {
        let bit = UInt32(1) << UInt32(Int(work) - first)
        precondition(free & bit == 0, "a work area is released once")
        free |= bit
    }

    var areAllFree: Bool { free.nonzeroBitCount == StripeGeometry.sharedWorkAreas }
}

extension ResiliencySet {
    /// The volume's bytes that an entry is still to be carried out on.
    func rest(of index: Int) -> ByteRange {
        let range = striped[index].range
        let progress = table[index].progress
        return ByteRange(
            start: range.start + progress, count: ByteCount(range.count.bytes - progress.bytes))
    }

    /// Adds a request whose lock is its stripes.
    mutating func submitStriped(
        _ kind: Entry.Kind, _ range: ByteRange, token: UInt32, _ stripes: StripeGeometry
    ) {
        guard !range.isEmpty else { return effects.push(.reply(request: token, .done)) }
        let index = table.append(kind, stripes.wholeStripes(range), token: token, at: now)
        striped[index] = StripedEntry(range: range, keepsAllocated: kind == .zero)
        start(index)
    }

    @discardableResult
    mutating func startStriped(_ index: Int, _ stripes: StripeGeometry) -> Bool {
        let kind = table[index].kind
        // (Asked first: with all slots taken, most of the table waits for one.)
        guard !kind.isChange || slots.hasFree, !table.isBlocked(index) else { return false }
        switch kind {
        case .read: return startStripedRead(index, stripes)
        case .write, .zero, .discard: return startStripedChange(index, stripes)
        case .rebuildCopy: return startStripedCopy(index, stripes)
        case .repair: return startRedoStep(index)
        case .compare: return startFold(index, stripes)
        case .applying, .mapStore, .probe: return false
        }
    }

    mutating func completeStriped(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome,
        _ stripes: StripeGeometry
    ) {
        switch table[index].kind {
        case .write, .zero, .discard, .applying:
            completeStripedChange(index, member, outcome, stripes)
        case .read: completeStripedRead(index, member, outcome, stripes)
        case .rebuildCopy: completeStripedCopy(index, member, outcome, stripes)
        case .repair: completeRedoStep(index, member, outcome)
        case .compare: completeFold(index, member, outcome, stripes)
        case .mapStore: completeMapStore(index, member, outcome)
        case .probe: completeProbe(index, member, outcome)
        }
    }

    /// Has `members` bring the window of the entry's step, or less, to its work area.
    mutating func fetch(
        _ index: Int, from members: MemberSet, span: (MemberIndex) -> ByteRange
    ) {
        striped[index].part = .fetching
        striped[index].sources = members
        table[index].pending = members
        table[index].asked = now
        let ticket = table.ticket(index)
        for member in members {
            effects.push(
                .perform(
                    RemoteOperation(
                        ticket: ticket, member: member,
                        action: .fetch(span: span(member), work: striped[index].work))))
        }
    }

    /// Takes an outcome off an entry; false when the entry has gone back, or is no more.
    mutating func settle(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome
    ) -> Bool {
        guard table[index].pending.contains(member), table[index].stage == .running else {
            return false
        }
        table[index].pending.remove(member)
        guard outcome != .done else {
            table[index].done.insert(member)
            return true
        }
        let ticket = table.ticket(index)
        memberFailed(member)
        return table.find(ticket) != nil && table[index].stage == .running
    }

    /// An entry starts its step over: with other members, and what is still on its way is not its own.
    mutating func goBack(_ index: Int) {
        if table[index].kind.isChange {
            slots.release(table[index].slot)
            changesInFlight -= 1
        }
        releaseWork(index)
        table[index].pending = MemberSet()
        table[index].next = MemberSet()
        table.renew(index)
        table.setStage(index, .waiting)
    }

    /// Gives the entry's work area back, if it has one; that of a change goes with its slot.
    mutating func releaseWork(_ index: Int) {
        let work = striped[index].work
        guard work != StripedEntry.noWork else { return }
        striped[index].work = StripedEntry.noWork
        if !table[index].kind.isChange { workAreas.release(work) }
    }
}
