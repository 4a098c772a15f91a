// The resiliency set: one device made of several regions, as a pure state machine.
//
//      requests ──▶ ┌───────────────────────┐ ──▶ remote operations
//   completions ──▶ │     ResiliencySet     │ ──▶ replies
//     decisions ──▶ └───────────────────────┘ ──▶ membership changes to record
//         ticks ──▶
//
// No sockets, clocks, threads or allocation in here; whoever drives it (the reactor, or a simulator
// that replays a failure from a seed) carries out the effects and reports what became of them.
//
// A request travels:  Requests/ (admission, range lock)  →  MultiWrite/ or Read/  →  reply
// A set travels:      Repair/ (after a takeover)  →  serving, with Rebuild/, Snapshot/ (cuts, and growth) and
//                     Scrub/ beside the running I/O, and Membership/ whenever a member fails.
//
// Invariants, kept on in release:
//   · a member is read  ⇒  it is active and holds every acknowledged write
//   · a write is acknowledged  ⇒  every active member holds it, and every member that missed it was
//     recorded as failed before
//   · two entries whose ranges overlap run at once  ⇒  neither changes data

public import RemoteMemory

/// The engine of one volume.
///
/// The driver gives one input at a time and then takes all effects with `nextEffect()`.
public struct ResiliencySet: ~Copyable {
    /// What the set does as a whole.
    public enum Phase: Sendable {
        /// After a takeover: intents are gathered and half-done writes finished; requests wait.
        case repairing
        case serving
        /// Another owner has the set: every request fails, nothing is touched any more.
        case fenced
    }

    public internal(set) var phase = Phase.repairing
    public internal(set) var epoch: Epoch
    public internal(set) var size: ByteCount
    public let ordering: Ordering
    /// Where the bytes stand in an erasure set; nil for a mirror.
    public internal(set) var stripes: StripeGeometry?
    /// How many members have to be there: one, or K.
    let membersNeeded: Int
    var tuning: Tuning

    // Membership (Membership/)
    /// Members that hold every acknowledged write.
    public internal(set) var active: MemberSet
    /// Members and twins that receive writes to what they hold already.
    public var rebuilding: MemberSet { dirty.rebuilding }
    /// The last active member, while it cannot be reached: requests wait for it.
    public internal(set) var absent = MemberSet()
    /// Members that answer late; read from only when nobody else can be.
    public internal(set) var suspects = MemberSet()
    var liveness = Liveness()
    /// Failed here, but not yet in the registry: no write is acknowledged until this is empty.
    public internal(set) var unrecorded = MemberSet()
    var recording = Recording.idle
    /// The last copy, when its appliance died.
    var forsaken = MemberSet()
    /// It is a snapshot: nothing of it ever changes.
    public internal(set) var isFrozen = false
    /// Twins that failed while the registry may have made more of them already.
    var lostTwins = MemberSet()

    // Requests (Requests/)
    var table = RequestTable()
    var effects = EffectQueue()
    var now: UInt64 = 0

    // Multi-writes (MultiWrite/)
    var slots: IntentSlots
    var changesInFlight = 0

    // Erasure sets (Layout/)
    let striped: FixedArray<StripedEntry>
    /// Who has the last record of each slot.
    let recordHolders = FixedArray<MemberSet>(
        repeating: MemberSet(), count: RegionLayout.intentSlotCount)
    var workAreas: WorkAreas
    var redoSteps: [RedoStep] = []
    /// Records were decided on; more may have to be.
    var hasRedoPlan = false

    // Beside the I/O
    var cut = Cut.none
    /// The members that were active beside the one whose cut is being recorded.
    var cutCompanions = MemberSet()
    var dirty: DirtyMaps
    var changeMaps: ChangeMaps
    /// Dirty maps on their way to regions: decisions wait for them.
    var mapStores = 0
    var rebuild = Rebuilding()
    var scrubbing = Scrubbing()
    var found: [FoundIntent] = []
    var repairSteps: [RepairStep] = []
    /// A member was lost since the steps were worked out.
    var isPlanStale = false
    /// All steps are done; the set serves as soon as the dirty maps are stored.
    var isClosingRepair = false

    /// A set that still has to be repaired; `size` is a multiple of `RegionLayout.volumeGranularity`.
    public init(
        size: ByteCount, ordering: Ordering, epoch: Epoch, active: MemberSet,
        stripes: StripeGeometry? = nil, tuning: Tuning = Tuning()
    ) {
        self.size = size
        self.ordering = ordering
        self.epoch = epoch
        self.active = active
        self.tuning = tuning
        self.stripes = stripes
        membersNeeded = stripes?.dataShards ?? 1
        let slotCount = stripes?.redoSlotCount ?? RegionLayout.intentSlotCount
        slots = IntentSlots(count: slotCount)
        if stripes != nil { slots.resume(after: Self.sequences(before: epoch)) }
        striped = FixedArray(
            repeating: StripedEntry(), count: stripes == nil ? 1 : RequestTable.capacity)
        workAreas = WorkAreas(behind: slotCount)
        dirty = DirtyMaps(
            deviceSize: size, extentSize: Self.extentSize(of: size, stripes, tuning))
        changeMaps = ChangeMaps(deviceSize: size, extentSize: tuning.changeExtentSize)
    }

    /// The granule of rebuild and dirty tracking in a set of this size.
    static func extentSize(
        of size: ByteCount, _ stripes: StripeGeometry?, _ tuning: Tuning
    ) -> ByteCount {
        tuning.extentSize ?? stripes?.extentSize ?? RegionLayout.extentSize(forDataOf: size)
    }
}

extension ResiliencySet {
    /// What no owner of an earlier epoch has come to: each has 2^40 sequences, two weeks at a million a second.
    ///
    /// A record that is overwritten in part tells no sequence, but the landed mark of the one before it
    /// stays. Used again, that sequence would be believed to have landed.
    private static func sequences(before epoch: Epoch) -> UInt64 {
        min(epoch.number, 1 << 23) << 40
    }
}

/// What can be chosen about a set without changing what it promises.
public struct Tuning: Sendable {
    /// How long a request waits for a member to come back before it fails, in nanoseconds.
    public var patience: UInt64 = 30_000_000_000
    /// How long a member may be silent before it is given up, in nanoseconds; 0 where silence is
    /// impossible (memory that is mapped answers at once).
    public var evictAfter: UInt64 = 0
    /// How long an answer of a member confirms this owner, in nanoseconds; 0 where an old owner cannot
    /// live on beside a new one.
    public var lease: UInt64 = 0
    /// The transport may place the bytes of one write in any order (RDMA).
    public var tearsWrites = false
    /// The least time after which a read is asked of another member too, in nanoseconds; 0 for never.
    public var hedgeFloor: UInt64 = 0
    /// The most that rebuilds copy, in bytes a second; nil for as fast as they go beside the I/O.
    public var rebuildRate: ByteCount?
    /// The granule of rebuild and dirty tracking; nil for what `RegionLayout` says.
    public var extentSize: ByteCount?
    /// The granule in which changes since snapshots are known; nil for 64 KiB, or more on large devices.
    public var changeExtentSize: ByteCount?
    /// The most that one step of a discard or zeroing touches on each member: it bounds how long other
    /// requests wait behind a huge one (freeing 64 MiB of small pages takes some milliseconds).
    public var zeroStep = ByteCount.mebibytes(64)

    public init() {}
}

extension ResiliencySet {
    /// Goes on with another tuning, from which the size of extents is not taken: members of another kind have
    /// come.
    public mutating func adopt(_ tuning: Tuning) {
        self.tuning = tuning
        for member in active.union(rebuilding) { heard(from: member, askedAt: now) }
    }

    /// The next thing to do, in order; nil when all was taken.
    @inline(__always)
    public mutating func nextEffect() -> Effect? {
        if let effect = effects.pop() { return effect }
        guard table.stalled else { return nil }
        table.stalled = false
        startWaiting()
        return effects.pop()
    }

    /// Whether another request can be admitted now; when not, the caller stops receiving.
    public var hasRoom: Bool { table.hasRoom }

    /// Nothing is in flight, waiting or to be taken.
    public var isQuiet: Bool { table.isEmpty && effects.isEmpty }

    /// No request and no work but probes is in flight or waiting.
    public var isSettled: Bool {
        effects.isEmpty && recording == .idle && unrecorded.isEmpty
            && table.count == liveness.probed.count
    }

    /// What was not given back, in a set that is settled; nil for nothing.
    public var leak: String? {
        if changesInFlight != 0 { return "\(changesInFlight) changes in flight" }
        if !slots.areAllFree { return "intent slots" }
        if !workAreas.areAllFree { return "work areas" }
        if table.waiting != 0 { return "\(table.waiting) entries counted as waiting" }
        if table.reserved != 0 { return "\(table.reserved) reserved effects" }
        return mapStores == 0 ? nil : "\(mapStores) map stores"
    }

    /// Takes the outcome of an operation; outcomes of operations given up long ago are dropped.
    public mutating func complete(
        _ ticket: OperationTicket, on member: MemberIndex, _ outcome: OperationOutcome
    ) {
        if tuning.evictAfter != 0, outcome == .done {
            suspects.remove(member)
            liveness.answered[member.number] = now
        }
        guard outcome != .fenced else { return fence() }
        guard let index = table.find(ticket) else { return }
        if tuning.evictAfter != 0, outcome == .done {
            heard(from: member, askedAt: table[index].asked)
        }
        if let stripes { return completeStriped(index, member, outcome, stripes) }
        switch table[index].kind {
        case .write, .zero, .discard: completeChange(index, member, outcome)
        case .read: completeRead(index, member, outcome)
        case .rebuildCopy: completeRebuildCopy(index, member, outcome)
        case .repair: completeRepairStep(index, member, outcome)
        case .compare: completeComparison(index, member, outcome)
        case .mapStore: completeMapStore(index, member, outcome)
        case .probe: completeProbe(index, member, outcome)
        case .applying: preconditionFailure("a mirror answers when all is in place")
        }
    }

    /// Tells the time without looking after anything; a driver of members that answer late does so with
    /// every batch of outcomes.
    public mutating func setTime(_ time: UInt64) { now = max(now, time) }

    /// The request that an operation is carried out for; nil for work of the set's own.
    public func request(of ticket: OperationTicket) -> UInt32? {
        guard let index = table.find(ticket), table[index].isRequest else { return nil }
        return table[index].token
    }

    /// Whether the outcome of an operation on `member` is still of interest.
    public func awaits(_ ticket: OperationTicket, from member: MemberIndex) -> Bool {
        guard let index = table.find(ticket) else { return false }
        return table[index].stage == .running && table[index].pending.contains(member)
    }

    /// Tells the time, in nanoseconds of a clock that only grows; requests that waited too long fail.
    public mutating func tick(_ time: UInt64) {
        grantRebuilds(time &- now)
        now = time
        watchMembers()
        confirmReads()
        if !canServe || tuning.lease != 0 { endPatience() }
        if !canServe { startWaiting() }
    }

    /// Fails the requests that waited too long for a member.
    private mutating func endPatience() {
        guard phase != .fenced else { return }
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            guard table[index].isRequest, now >= table[index].submitted &+ tuning.patience else {
                continue
            }
            switch table[index].stage {
            case .waiting: if !canServe { conclude(index, .failed) }
            case .confirming: conclude(index, .failed)
            case .free, .running, .recording: continue
            }
        }
    }

    /// Stops the set for good: another owner has it.
    public mutating func fence() {
        guard phase != .fenced else { return }
        phase = .fenced
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            conclude(index, .failed)
        }
        cut = .none
    }
}
