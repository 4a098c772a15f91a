// Members come and go; the registry hears of it before any client can tell.
//
//                add                       copied, recorded
//     (none) ─────────▶ rebuilding ───────────────────────────▶ active
//                           │                                    │  │
//                    failed │            failed ◀────────────────┘  │ cut (Snapshot/)
//                           ▼               ▼                       ▼
//                        dropped here at once, recorded next     removed: its region is a snapshot
//
// One change is recorded at a time. A failed member is used for nothing from the moment it failed; what
// waits for the registry is only the acknowledgement of writes which that member may have missed.

public import RemoteMemory

/// Which change the registry is being told of.
enum Recording: Hashable {
    case idle
    case under(MembershipDecision)
}

extension ResiliencySet {
    /// Takes the news that a member's appliance died.
    ///
    /// With `isAccessible` its memory can be reached all the same, as long as this process lives (shared
    /// memory that is mapped). Such a member is dropped like any other unless it is the last copy: that
    /// one goes on being read, written and copied from until another member is whole.
    public mutating func memberLost(_ member: MemberIndex, isAccessible: Bool) {
        if isAccessible, active == MemberSet(member) {
            forsaken.insert(member)
            return
        }
        memberFailed(member)
        startWaiting()
    }

    /// Whether this member is the last copy, and lives only as long as this process.
    public func isForsaken(_ member: MemberIndex) -> Bool { forsaken.contains(member) }

    /// Drops the last copies of dead appliances, now that there is another.
    private mutating func dropForsaken() {
        for member in forsaken where active.contains(member) && active.count > 1 {
            memberFailed(member)
        }
    }

    /// Adds an empty member that is to be rebuilt; the registry has it already, as of `epoch`.
    public mutating func add(_ member: MemberIndex, epoch: Epoch) {
        precondition(!active.union(rebuilding).contains(member), "a member is added once")
        self.epoch = max(self.epoch, epoch)
        rebuilds.add(member, deviceSize: size)
        rebuilding.insert(member)
    }

    /// The registry holds the change that was asked for, as of `epoch`.
    public mutating func recorded(_ decision: MembershipDecision, epoch: Epoch) {
        precondition(recording == .under(decision), "changes are recorded one at a time")
        self.epoch = max(self.epoch, epoch)
        recording = .idle
        switch decision {
        case .fail(let members):
            unrecorded = unrecorded.subtracting(members)
        case .promote(let member):
            rebuilds.remove(member)
            if rebuilding.contains(member) {
                rebuilding.remove(member)
                active.insert(member)
                dropForsaken()
            }
        case .cut(let member):
            active.remove(member)
            cut = .none
        }
        if case .ready(let member) = cut, !active.contains(member) || active.count == 1 {
            cut = .none
        }
        recordNext()
        releaseRecorded()
        startWaiting()
    }

    /// The registry will not hold the cut that was asked for; writes go on with the set as it is.
    ///
    /// (A failure or promotion is tried again by the driver until the registry holds it.)
    public mutating func cutRefused() {
        guard case .under(.cut) = recording else { return }
        recording = .idle
        cut = .none
        recordNext()
        releaseRecorded()
        startWaiting()
    }

    mutating func memberFailed(_ member: MemberIndex) {
        guard active.contains(member) || rebuilding.contains(member) else { return }
        active.remove(member)
        rebuilding.remove(member)
        forsaken.remove(member)
        rebuilds.remove(member)
        unrecorded.insert(member)
        if phase == .repairing { isPlanStale = true }
        abandonOperations(on: member)
        recordNext()
    }

    /// Asks for the next change to be recorded, unless one is under way.
    mutating func recordNext() {
        guard recording == .idle, phase != .fenced else { return }
        let decision: MembershipDecision
        if !unrecorded.isEmpty {
            decision = .fail(unrecorded)
        } else if case .ready(let member) = cut {
            decision = .cut(member)
        } else if let member = rebuilds.finished.first {
            decision = .promote(member)
        } else {
            return
        }
        recording = .under(decision)
        effects.push(.record(decision))
    }

    /// Answers the writes that waited for the registry to know who missed them.
    private mutating func releaseRecorded() {
        guard unrecorded.isEmpty else { return }
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            if table[index].stage == .recording { conclude(index, .done) }
        }
        continueCut()
    }

    /// Background work that is aimed at a lost member ends here; operations of requests complete as
    /// failed, which the transport promises.
    private mutating func abandonOperations(on member: MemberIndex) {
        if scrubbing.isRunning { scrubbing.forget(member) }
    }
}
