// Members come and go; the registry hears of it before any client can tell.
//
//                add                       copied, recorded
//     (none) ─────────▶ rebuilding ───────────────────────────▶ active
//                           │                                    │  │
//                    failed │            failed ◀────────────────┘  │ cut (Snapshot/)
//                           ▼               ▼                       ▼
//                        dropped here at once, recorded next     removed: its region is a snapshot
//
// (Of an erasure set K members are the last; what is said of one is said of them: Absence.)
//
// The last active member never fails for being out of reach: it is absent, and requests wait for it.
// Only the loss of its memory ends it.
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
        if isFrozen {
            // (Memory that is mapped outlives its appliance.)
            if !isAccessible { frozenMemberFailed(member) }
            return
        }
        if member.isTwin {
            dropTwin(member)
            return startWaiting()
        }
        if isAccessible, isNeeded(member) {
            forsaken.insert(member)
            return
        }
        dropMember(member, mayReturn: false)
        startWaiting()
    }

    /// The last member is there again, and nothing that was sent to it before may land any more.
    ///
    /// It is repaired like after a takeover, by the `intents` in its observer area: what it did not finish
    /// may have been answered as failed, and stays old or new for good.
    public mutating func memberReturned(
        _ member: MemberIndex, intents: [(slot: UInt8, content: IntentSlot)]
    ) {
        guard absent.contains(member), phase != .fenced else { return }
        absent.remove(member)
        heard(from: member, askedAt: now)
        phase = .repairing
        found.removeAll { $0.member == member }
        for (slot, content) in intents {
            found.append(FoundIntent(member: member, slot: slot, content: content))
        }
        replan()
    }

    /// Whether this member is the last copy, and lives only as long as this process.
    public func isForsaken(_ member: MemberIndex) -> Bool { forsaken.contains(member) }

    /// A member that was rebuilt is active from now on.
    private mutating func activate(_ member: MemberIndex) {
        let spoiled = mapContent(of: member)
        dirty.forget(member)
        active.insert(member)
        // (What it holds of the records counts as well when a set goes on that stands still.)
        if stripes != nil, !absent.isEmpty { absent.insert(member) }
        dropForsaken()
        // The last member went away while this one's promotion was being recorded. It is not the last any
        // more; and what failed on it, but not here, it misses.
        for other in absent where stripes == nil {
            dropMember(other, mayReturn: true)
            dirty.merge(spoiled, into: other)
        }
    }

    /// Drops the last copies of dead appliances, now that there is another.
    private mutating func dropForsaken() {
        for member in forsaken where active.contains(member) && !isNeeded(member) {
            dropMember(member, mayReturn: false)
        }
    }

    /// Adds a member that is to be rebuilt; the registry has it already, as of `epoch`.
    ///
    /// With `keepsData` its region is the one it had when it failed, and only what it misses is copied,
    /// if that is known: the extents of its dirty map and of `intents`, those found in its own observer
    /// area (a write may have reached nobody else).
    public mutating func add(
        _ member: MemberIndex, epoch: Epoch, keepsData: Bool = false,
        intents: [(slot: UInt8, content: IntentSlot)] = []
    ) {
        precondition(!active.union(rebuilding).contains(member), "a member is added once")
        self.epoch = max(self.epoch, epoch)
        dirty.join(member, keepsData: keepsData)
        for (slot, content) in intents {
            let sequence = content.intent.sequence
            dirty.mark(content.intent.range, of: member)
            // A sequence used twice would make the marks of its first use count for the second.
            slots.resume(after: sequence)
            // A later takeover must not finish what was settled without this member.
            effects.push(
                .perform(
                    RemoteOperation(
                        ticket: .none, member: member,
                        action: .complete(slot: slot, sequence: sequence))))
        }
        heard(from: member, askedAt: now)
        storeMap(of: member, on: keepers.subtracting(MemberSet(member)))
        if dirty.whole.contains(member) { makeKeeper(member) }
    }

    /// Whether what a failed member misses is known, so that it need not be copied whole.
    public func knowsDirtyMap(of member: MemberIndex) -> Bool { dirty.away.contains(member) }

    /// The registry holds the change that was asked for, as of `epoch`.
    public mutating func recorded(_ decision: MembershipDecision, epoch: Epoch) {
        precondition(recording == .under(decision), "changes are recorded one at a time")
        self.epoch = max(self.epoch, epoch)
        recording = .idle
        switch decision {
        case .fail(let members):
            unrecorded = unrecorded.subtracting(members)
        case .promote(let member):
            if dirty.whole.contains(member) || !absent.isEmpty {
                if rebuilding.contains(member) { activate(member) }
            } else {
                // A change that failed on all others reached it meanwhile; they are back, without it.
                dropMember(member, mayReturn: true)
            }
        case .cut(let member):
            active.remove(member)
            // (It may have failed meanwhile: the registry has no such member any more.)
            unrecorded.remove(member)
            absent.remove(member)
            dirty.forget(member)
            cut = .none
            changeMaps.cut(at: epoch)
            if active.isEmpty { readoptLast() }
        case .replace(let member): takePlace(of: member)
        case .cutGeneration:
            releaseGeneration()
            changeMaps.cut(at: epoch)
        case .grow(let size): grow(to: size)
        }
        endVainCut()
        closeRepair()
        resumeRedo()
        recordNext()
        releaseRecorded()
        confirmReads()
        startWaiting()
    }

    /// The registry will not hold the cut that was asked for; writes go on with the set as it is.
    ///
    /// (A failure or promotion is tried again by the driver until the registry holds it.)
    public mutating func cutRefused() {
        switch recording {
        case .under(.cut), .under(.replace), .under(.cutGeneration), .under(.grow): break
        case .idle, .under(.fail), .under(.promote): return
        }
        recording = .idle
        cut = .none
        dropLostTwins()
        recordNext()
        releaseRecorded()
        startWaiting()
    }

    /// Whether nothing could be read without this member.
    private func isNeeded(_ member: MemberIndex) -> Bool {
        active.contains(member) && active.count <= membersNeeded
    }

    /// An operation on a member failed: the member is dropped, unless it is the last.
    mutating func memberFailed(_ member: MemberIndex) {
        if member.isTwin { return dropTwin(member) }
        if isFrozen { return frozenMemberFailed(member) }
        // (Of a set that stands still: it is opened anew before anything else is asked of it.)
        if stripes != nil, absent.contains(member) { return }
        if isNeeded(member) {
            guard !absent.contains(member) else { return }
            absent.insert(member)
            if phase == .repairing { isPlanStale = true }
            continueCut()
            endVainCut()
            if stripes != nil { standStill() }
            return
        }
        dropMember(member, mayReturn: true)
    }

    /// From now on a member is used for nothing; what it misses is written down on the others.
    private mutating func dropMember(_ member: MemberIndex, mayReturn: Bool) {
        guard active.contains(member) || rebuilding.contains(member) else { return }
        active.remove(member)
        absent.remove(member)
        suspects.remove(member)
        forsaken.remove(member)
        unrecorded.insert(member)
        if mayReturn {
            dirty.leave(member)
            markInFlight(asMissingOn: member)
            storeMap(of: member, on: keepers)
        } else {
            dirty.forget(member)
        }
        if phase == .repairing { isPlanStale = true }
        if scrubbing.isRunning { scrubbing.forget(member) }
        recordNext()
        if stripes != nil, active.count < membersNeeded { standStill() }
    }

    /// What was in flight when a member failed is what it may miss besides later writes.
    private mutating func markInFlight(asMissingOn member: MemberIndex) {
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            if table[index].kind.isChange, table[index].stage != .waiting {
                dirty.mark(table[index].range, of: member)
            }
        }
        markFound(asMissingOn: member)
    }

    /// All members but the one that was cut off failed meanwhile: one of them becomes the last, absent.
    ///
    /// They hold what the cut member holds, since writes were held for the cut; those whose memory is gone
    /// do not count.
    private mutating func readoptLast() {
        let companions = unrecorded.intersection(cutCompanions).intersection(dirty.away)
        guard let member = companions.first else { return }
        unrecorded.remove(member)
        dirty.forget(member)
        active.insert(member)
        absent.insert(member)
    }

    /// Asks for the next change to be recorded, unless one is under way.
    mutating func recordNext() {
        guard recording == .idle, phase != .fenced else { return }
        // (A failure that is recorded before the survivors' maps are whole would make stale ones count. When the
        // set is lost they count for nothing.)
        guard mapStores == 0, absent.isEmpty || active.count < membersNeeded else { return }
        let decision: MembershipDecision
        if !unrecorded.isEmpty {
            decision = .fail(unrecorded)
        } else if case .ready(let subject) = cut {
            decision = subject.decision
        } else if let member = dirty.whole.members.first {
            decision = .promote(member)
        } else {
            return
        }
        recording = .under(decision)
        if case .cut(let member) = decision {
            cutCompanions = active.subtracting(MemberSet(member))
        }
        effects.push(.record(decision))
    }

    /// Answers the writes that waited for the registry to know who missed them.
    private mutating func releaseRecorded() {
        guard unrecorded.isEmpty else { return }
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            guard table[index].stage == .recording else { continue }
            if let stripes { proceed(index, stripes) } else { conclude(index, .done) }
        }
        continueCut()
    }
}
