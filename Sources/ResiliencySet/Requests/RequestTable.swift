// Everything in flight: a bounded table whose entries are also linked in order of arrival.
//
//                 ┌────────────┐ range free,   ┌─────────┐ all members  ┌───────────┐ registry
//   submit ─────▶ │  waiting   │ members there │ running │ done, one    │ recording │ has it ──▶ reply
//                 └────────────┘ ────────────▶ └─────────┘ missed it ─▶ └───────────┘
//                        ▲                       │   │
//                        └── no member left ─────┘   └── all members done ──▶ reply
//
// The order of arrival is the range lock: an entry starts when nothing older that conflicts with it is
// in the table. Nobody overtakes a conflicting elder, so nobody starves.

import RemoteMemory

/// One request or piece of background work.
struct Entry: BitwiseCopyable {
    enum Kind: UInt8 {
        case read, write
        /// Zeroes whose memory stays allocated.
        case zero
        /// Zeroes whose memory is given back.
        case discard
        case rebuildCopy, repair, compare
        /// A change of an erasure set that is answered already, on its way from redo slots to its place.
        case applying
        /// Without a range: a dirty map is stored, a member is asked whether it is there.
        case mapStore, probe

        /// Changes the contents of the device.
        var isChange: Bool {
            self == .write || self == .zero || self == .discard || self == .applying
        }
        /// Excludes everything else from its range, rather than only changes.
        var isExclusive: Bool { isChange || self == .repair }
    }

    enum Stage: UInt8 {
        case free, waiting, running, recording
        /// A read has its data, but whether this owner still has the set is not certain.
        case confirming
    }

    var kind = Kind.read
    var stage = Stage.free
    /// The intent slot of a change that runs.
    var slot: UInt8 = 0
    var generation: UInt16 = 0
    var token: UInt32 = 0
    /// Members that were asked and have not answered.
    var pending = MemberSet()
    /// Members still to be asked (sequential ordering).
    var next = MemberSet()
    /// Members that carried it out.
    var done = MemberSet()
    /// How many effects are set aside for this entry while it runs.
    var reserved = 0
    var submitted: UInt64 = 0
    /// When the operations under way were asked for.
    var asked: UInt64 = 0
    /// The dirty maps that this change adds to.
    var marks = MemberSet()
    var range = ByteRange(start: ByteOffset(0), count: .zero)
    var intent = Intent(
        epoch: Epoch(0), sequence: 0, range: ByteRange(start: ByteOffset(0), count: .zero),
        kind: .write)
    /// How far a change that is carried out in steps has come.
    var progress = ByteCount.zero
    var older = RequestTable.none
    var newer = RequestTable.none

    /// Whether it copies or compares what `member` holds (kept in `done` while it runs).
    func takesFrom(_ member: MemberIndex) -> Bool {
        switch kind {
        case .rebuildCopy, .repair, .compare: done.contains(member)
        case .read, .write, .zero, .discard, .applying, .mapStore, .probe: false
        }
    }

    /// Somebody waits for its reply.
    var isRequest: Bool {
        switch kind {
        case .read, .write, .zero, .discard: true
        case .applying, .rebuildCopy, .repair, .compare, .mapStore, .probe: false
        }
    }
}

/// The bounded table of entries, in order of arrival.
struct RequestTable: ~Copyable {
    /// The most requests of one volume in flight; beyond it connections are not received from.
    static let capacity = 256 + spare
    /// Kept for work that is nobody's request: a probe of each member and twin, a few map stores a member, a
    /// copy, a step of repair, a comparison.
    static let spare = 96
    static let none: Int16 = -1

    private let entries = FixedArray<Entry>(repeating: Entry(), count: Self.capacity)
    private var firstFree: Int16 = 0
    private var head = RequestTable.none
    private var tail = RequestTable.none
    private(set) var count = 0
    private(set) var waiting = 0
    private(set) var reserved = 0
    /// Something may be able to start once effects have been taken.
    var stalled = false

    init() {
        for index in 0..<Self.capacity {
            entries[index].newer = index + 1 < Self.capacity ? Int16(index + 1) : Self.none
        }
    }

    var isEmpty: Bool { count == 0 }
    var hasRoom: Bool { count < Self.capacity - Self.spare }
    var canTakeSpare: Bool { count < Self.capacity }
    var oldest: Int? { head == Self.none ? nil : Int(head) }

    @inline(__always)
    subscript(index: Int) -> Entry {
        @inline(__always) _read { yield entries[index] }
        @inline(__always) nonmutating _modify { yield &entries[index] }
    }

    @inline(__always)
    func newer(than index: Int) -> Int? {
        let next = entries[index].newer
        return next == Self.none ? nil : Int(next)
    }

    @inline(__always)
    func ticket(_ index: Int) -> OperationTicket {
        OperationTicket(entry: UInt16(index), generation: entries[index].generation)
    }

    @inline(__always)
    func find(_ ticket: OperationTicket) -> Int? {
        let index = Int(ticket.entry)
        guard index < Self.capacity, entries[index].generation == ticket.generation,
            entries[index].stage != .free
        else { return nil }
        return index
    }

    /// Adds an entry behind all others, waiting.
    @inline(__always)
    mutating func append(_ kind: Entry.Kind, _ range: ByteRange, token: UInt32, at time: UInt64)
        -> Int
    {
        precondition(firstFree != Self.none, "the caller asks hasRoom first")
        let index = Int(firstFree)
        firstFree = entries[index].newer
        entries[index].kind = kind
        entries[index].stage = .waiting
        entries[index].token = token
        entries[index].range = range
        entries[index].submitted = time
        entries[index].pending = MemberSet()
        entries[index].next = MemberSet()
        entries[index].done = MemberSet()
        entries[index].progress = .zero
        entries[index].marks = MemberSet()
        entries[index].older = tail
        entries[index].newer = Self.none
        if tail == Self.none {
            head = Int16(index)
        } else {
            entries[Int(tail)].newer = Int16(index)
        }
        tail = Int16(index)
        count += 1
        waiting += 1
        return index
    }

    /// Adds an entry before all others: repair comes before the requests that wait for it.
    mutating func appendFirst(_ kind: Entry.Kind, _ range: ByteRange, at time: UInt64) -> Int {
        let index = append(kind, range, token: 0, at: time)
        guard head != Int16(index) else { return index }
        let older = entries[index].older
        entries[Int(older)].newer = Self.none
        tail = older
        entries[index].older = Self.none
        entries[index].newer = head
        entries[Int(head)].older = Int16(index)
        head = Int16(index)
        return index
    }

    /// Removes an entry; its ticket is worth nothing from now on.
    @inline(__always)
    mutating func remove(_ index: Int) {
        setStage(index, .free)
        let older = entries[index].older
        let newer = entries[index].newer
        if older == Self.none { head = newer } else { entries[Int(older)].newer = newer }
        if newer == Self.none { tail = older } else { entries[Int(newer)].older = older }
        entries[index].generation &+= 1
        entries[index].newer = firstFree
        firstFree = Int16(index)
        count -= 1
    }

    /// Makes the entry's ticket worth nothing: what was asked for is not awaited any more.
    func renew(_ index: Int) { entries[index].generation &+= 1 }

    @inline(__always)
    mutating func setStage(_ index: Int, _ stage: Entry.Stage) {
        if entries[index].stage == .waiting { waiting -= 1 }
        if stage == .waiting { waiting += 1 }
        if stage == .waiting || stage == .free {
            reserved -= entries[index].reserved
            entries[index].reserved = 0
        }
        entries[index].stage = stage
    }

    /// Whether a step of repair is under way.
    var isRepairing: Bool {
        var cursor = oldest
        while let index = cursor {
            if entries[index].kind == .repair { return true }
            cursor = newer(than: index)
        }
        return false
    }

    /// Sets room for `effects` aside for an entry about to run; false when there is none now.
    @inline(__always)
    mutating func reserve(_ effects: Int, for index: Int) -> Bool {
        guard reserved + effects <= EffectQueue.capacity - EffectQueue.spare else {
            stalled = true
            return false
        }
        entries[index].reserved = effects
        reserved += effects
        return true
    }

    /// Sets room for one more effect aside for an entry that runs, out of what is spare.
    mutating func reserveMore(for index: Int) {
        entries[index].reserved += 1
        reserved += 1
    }

    /// Gives back what `reserve` set aside for an entry that cannot run after all.
    mutating func unreserve(_ index: Int) {
        reserved -= entries[index].reserved
        entries[index].reserved = 0
    }

    /// Whether something older than `index` keeps it from its range.
    @inline(__always)
    func isBlocked(_ index: Int) -> Bool {
        var cursor = entries[index].older
        guard cursor != Self.none else { return false }
        let range = entries[index].range
        let exclusive = entries[index].kind.isExclusive
        while cursor != Self.none {
            let elder = Int(cursor)
            if (exclusive || entries[elder].kind.isExclusive)
                && entries[elder].range.overlaps(range)
            {
                return true
            }
            cursor = entries[elder].older
        }
        return false
    }
}
