// An erasure set without K members stands still, and goes on like after a takeover.
//
// With K members left, one that cannot be reached is absent: it is not failed, as without it nothing can be
// read. Everything under way goes back: a change that was not answered waits, and starts over; one that was
// stands in the redo slots of all that take part. When K members are reached again, the records that are
// found decide, as they do for a new owner.

public import RemoteMemory

extension ResiliencySet {
    /// K members can be reached.
    @inline(__always)
    var canServe: Bool { reachable.count >= membersNeeded }

    /// A twin may have taken a member's place already: which of the two is the member, the registry will tell.
    public var isPlaceOpen: Bool {
        if case .under(.replace) = recording { true } else { false }
    }

    /// Too few members are left: nothing goes on until they are back, and all were opened anew.
    mutating func standStill() {
        if active.count >= membersNeeded { absent = active }
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            switch table[index].kind {
            case .applying: conclude(index, .done)
            case .read where table[index].stage == .running: goBack(index)
            case .write, .zero, .discard:
                if table[index].stage != .waiting { goBack(index) }
            case .rebuildCopy:
                rebuild.copying = nil
                conclude(index, .failed)
            case .compare:
                scrubbing.compared(table[index].range, .proved)
                conclude(index, .failed)
            // (Whoever is back is asked anew.)
            case .repair, .mapStore, .probe: conclude(index, .failed)
            case .read: continue
            }
        }
        mapStores = 0
        liveness.probed = MemberSet()
        redoSteps = []
        dropTwins(twins)
    }

    /// Goes on with the active members but for `missing`: they were opened anew.
    ///
    /// Nothing that was sent to them before may land any more. With K of them the set is repaired, by all
    /// `intents` that they hold, and serves.
    public mutating func membersReturned(
        missing: MemberSet, intents: [(member: MemberIndex, slot: UInt8, content: IntentSlot)]
    ) {
        let back = active.subtracting(missing)
        guard stripes != nil, !absent.isEmpty, phase != .fenced, back.count >= membersNeeded,
            !isPlaceOpen, !isFrozen
        else { return }
        standStill()
        absent = MemberSet()
        phase = .repairing
        isClosingRepair = false
        for member in back { heard(from: member, askedAt: now) }
        dropRecords(on: rebuilding.members)
        found = intents.map { FoundIntent(member: $0.member, slot: $0.slot, content: $0.content) }
        for member in missing.intersection(active) { memberFailed(member) }
        // (What was on its way to them is not: failures are recorded when all have the maps.)
        for member in dirty.members.members { storeMap(of: member, on: keepers) }
        recordNext()
        replan()
    }

    /// Has members that are being rebuilt forget the records they hold: the others settle without them, and what
    /// they miss of it is copied.
    ///
    /// (Kept, a record would be carried out by a successor that finds this member among the active ones.)
    private mutating func dropRecords(on members: MemberSet) {
        for slot in 0..<RegionLayout.intentSlotCount {
            for member in members.intersection(recordHolders[slot]) {
                effects.push(
                    .perform(
                        RemoteOperation(
                            ticket: .none, member: member, action: .discard(slot: UInt8(slot)))))
            }
        }
    }
}
