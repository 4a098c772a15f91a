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
// A set travels:      Repair/ (after a takeover)  →  serving, with Rebuild/, Snapshot/ and Scrub/
//                     beside the running I/O, and Membership/ whenever a member fails.
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
    public let size: ByteCount
    public let ordering: Ordering
    /// How long a request waits for a member to come back before it fails, in nanoseconds.
    public let patience: UInt64

    // Membership (Membership/)
    /// Members that hold every acknowledged write.
    public internal(set) var active: MemberSet
    /// Members that receive writes to what they hold already.
    public internal(set) var rebuilding = MemberSet()
    /// Failed here, but not yet in the registry: no write is acknowledged until this is empty.
    public internal(set) var unrecorded = MemberSet()
    var recording = Recording.idle
    /// The last copy, when its appliance died.
    var forsaken = MemberSet()

    // Requests (Requests/)
    var table = RequestTable()
    var effects = EffectQueue()
    var now: UInt64 = 0

    // Multi-writes (MultiWrite/)
    var slots = IntentSlots()
    var changesInFlight = 0

    // Beside the I/O
    var cut = Cut.none
    var rebuilds = Rebuilds()
    var scrubbing = Scrubbing()
    var found: [FoundIntent] = []
    var repairSteps: [RepairStep] = []
    /// A member was lost since the steps were worked out.
    var isPlanStale = false

    /// A set that still has to be repaired.
    ///
    /// `size` is a multiple of `RegionLayout.volumeGranularity`; `patience` is how long requests wait
    /// below the minimum of members, in nanoseconds.
    public init(
        size: ByteCount, ordering: Ordering, epoch: Epoch, active: MemberSet,
        patience: UInt64 = 30_000_000_000
    ) {
        self.size = size
        self.ordering = ordering
        self.epoch = epoch
        self.active = active
        self.patience = patience
    }
}

extension ResiliencySet {
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

    /// Takes the outcome of an operation; outcomes of operations given up long ago are dropped.
    public mutating func complete(
        _ ticket: OperationTicket, on member: MemberIndex, _ outcome: OperationOutcome
    ) {
        guard let index = table.find(ticket) else { return }
        switch table[index].kind {
        case .write, .zero, .discard: completeChange(index, member, outcome)
        case .read: completeRead(index, member, outcome)
        case .rebuildCopy: completeRebuildCopy(index, member, outcome)
        case .repair: completeRepairStep(index, member, outcome)
        case .compare: completeComparison(index, member, outcome)
        }
    }

    /// Tells the time, in nanoseconds of a clock that only grows; requests that waited too long fail.
    public mutating func tick(_ time: UInt64) {
        now = time
        guard active.isEmpty, phase == .serving else { return }
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            if table[index].stage == .waiting, table[index].isRequest,
                time >= table[index].submitted &+ patience
            {
                conclude(index, .failed)
            }
        }
        startWaiting()
    }

    /// Stops the set for good: another owner has it.
    public mutating func fence() {
        phase = .fenced
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            conclude(index, .failed)
        }
        cut = .none
    }
}
