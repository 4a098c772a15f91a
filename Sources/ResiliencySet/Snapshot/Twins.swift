// Twins: second regions with the bytes of members of an erasure set, made beside the running I/O.
//
//     addTwin ──▶ filled extent by extent (Rebuild/), and written together with its member ──▶ whole
//                     │                                                                         │
//              failed │ given up │ the set stands still                          replace: it is the member
//                     ▼                                                   cutGeneration: all are a snapshot
//                  dropped: nobody but this owner has heard of it
//
// A twin takes part in a change as a rebuilding member does: redo slot first, in place together with the rest.
// But no record names it, no dirty map is kept of it, and no write waits for the registry because of it: what
// a successor goes by is the registry, where there are no twins. So one that fails, whenever that is, costs
// the copying and nothing else.
//
// Once whole, a twin keeps the dirty maps of others as members do: it may be one the next moment.

public import RemoteMemory

extension ResiliencySet {
    /// The twins there are.
    public var twins: MemberSet { rebuilding.twins }

    /// Those that have every acknowledged write.
    public var wholeTwins: MemberSet { dirty.whole.twins }

    /// Starts to fill a twin of `member`, whose region holds zeroes; false when that cannot be now: the set is a
    /// mirror, does not serve, is being cut, or has that twin.
    public mutating func addTwin(of member: MemberIndex) -> Bool {
        let twin = member.twin
        guard let stripes, stripes.members.contains(member), phase == .serving, canServe,
            cut == .none, !rebuilding.contains(twin)
        else { return false }
        dirty.join(twin, keepsData: false)
        heard(from: twin, askedAt: now)
        liveness.answered[twin.number] = now
        // (Whatever is under way may come to a step that concerns it.)
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            if table[index].stage == .running || table[index].stage == .recording {
                table.reserveMore(for: index)
            }
        }
        return true
    }

    /// Gives twins up; those that a change of the registry is about stay until it is known.
    public mutating func dropTwins(_ twins: MemberSet) {
        for twin in twins.intersection(rebuilding.twins) { dropTwin(twin) }
        startWaiting()
    }

    /// A twin failed, or is not wanted any more.
    mutating func dropTwin(_ twin: MemberIndex) {
        guard rebuilding.contains(twin) else { return }
        guard !isBeingRecorded(twin) else { return lostTwins.insert(twin) }
        forgetTwin(twin)
        effects.push(.dropTwin(twin))
        continueCut()
        let former = cut
        endVainCut()
        if cut != former { startWaiting() }
    }

    /// Whether the registry may hold already that this region is more than a twin.
    private func isBeingRecorded(_ twin: MemberIndex) -> Bool {
        recording == .under(.replace(twin.place)) || recording == .under(.cutGeneration)
    }

    private mutating func forgetTwin(_ twin: MemberIndex) {
        dirty.forget(twin)
        suspects.remove(twin)
        lostTwins.remove(twin)
        // (In a variable: changed in place, Swift 6.3 cannot compile it with ThreadSanitizer.)
        for slot in 0..<RegionLayout.intentSlotCount {
            var holders = recordHolders[slot]
            holders.remove(twin)
            recordHolders[slot] = holders
        }
    }

    /// The registry refused: twins that failed meanwhile are dropped.
    mutating func dropLostTwins() {
        let lost = lostTwins
        lostTwins = MemberSet()
        for twin in lost { dropTwin(twin) }
    }

    /// The registry has the twins' regions as a snapshot: they are none of this set's any more.
    mutating func releaseGeneration() {
        for twin in rebuilding.twins {
            settleOperations(on: twin)
            forgetTwin(twin)
        }
        cut = .none
    }

    /// The registry has a twin in the place of its member: whatever the latter was, it is gone.
    mutating func takePlace(of member: MemberIndex) {
        let twin = member.twin
        let isLost = lostTwins.contains(twin)
        let stoodStill = !absent.isEmpty || active.count < membersNeeded
        // (It may have failed meanwhile: the registry has no such member any more. Writes are held until all is
        // in its place.)
        active.remove(member)
        dirty.forget(member)
        unrecorded.remove(member)
        suspects.remove(member)
        forsaken.remove(member)
        settleOperations(on: member)
        for slot in 0..<RegionLayout.intentSlotCount {
            var holders = recordHolders[slot]
            holders.remove(member)
            if holders.contains(twin) { holders.insert(member) }
            recordHolders[slot] = holders
        }
        liveness.confirmed[member.number] = liveness.confirmed[twin.number]
        liveness.answered[member.number] = liveness.answered[twin.number]
        rename(twin, to: member)
        forgetTwin(twin)
        active.insert(member)
        cut = .none
        // (All are opened anew before a set goes on that stands still; this one is, too.)
        if stoodStill {
            absent = active.count >= membersNeeded ? active : MemberSet()
        } else if isLost {
            memberFailed(member)
        }
    }

    /// What was asked of the twin is answered as the member's from now on.
    private mutating func rename(_ twin: MemberIndex, to member: MemberIndex) {
        if liveness.probed.contains(twin) {
            liveness.probed.remove(twin)
            liveness.probed.insert(member)
        }
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            guard table[index].pending.contains(twin) else { continue }
            table[index].pending.remove(twin)
            table[index].pending.insert(member)
        }
    }

    /// Ends what waits for a region that is let go of: its answers are not taken any more.
    ///
    /// No change is under way. Whatever reads starts over, with whom there is then.
    private mutating func settleOperations(on member: MemberIndex) {
        var cursor = table.oldest
        while let index = cursor {
            cursor = table.newer(than: index)
            guard table[index].stage == .running, table[index].pending.contains(member) else {
                continue
            }
            switch table[index].kind {
            case .read, .compare: goBack(index)
            case .rebuildCopy where striped[index].part == .fetching: goBack(index)
            case .rebuildCopy:
                // (It is no target any more; the copy goes on for the others.)
                if let stripes { completeStripedCopy(index, member, .done, stripes) }
            case .mapStore:
                table[index].pending.remove(member)
                guard table[index].pending.isEmpty else { continue }
                table.remove(index)
                mapStores -= 1
            case .probe:
                table.remove(index)
                liveness.probed.remove(member)
            case .write, .zero, .discard, .applying, .repair:
                preconditionFailure("changes have drained before a region is let go of")
            }
        }
    }
}
