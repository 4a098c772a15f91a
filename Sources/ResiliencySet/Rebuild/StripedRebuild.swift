// Rebuilding members of an erasure set: K survivors are read once for all members that miss an extent. Twins
// are filled in the same way, from their members where these are there.
//
//     extent    rows ──▶ fetch from K ──▶ each target works out its own, and stores ──▶ next rows
//
// The extent is locked throughout, so no record of its stripes is open.

import RemoteMemory

extension ResiliencySet {
    /// Adds the copy of an extent to all members that miss it.
    mutating func appendStripedCopy(
        _ member: MemberIndex, _ extent: ByteRange, _ stripes: StripeGeometry
    ) {
        let index = table.append(
            .rebuildCopy, stripes.wholeStripes(extent), token: dirty.latestLife, at: now)
        striped[index] = StripedEntry(range: extent)
        start(index)
    }

    mutating func startStripedCopy(_ index: Int, _ stripes: StripeGeometry) -> Bool {
        // (Those that were added while it waited are not for this turn: their maps are younger.)
        let targets = dirty.missing(striped[index].range, before: table[index].token)
        guard !targets.isEmpty, canServe else {
            rebuild.copying = nil
            table.remove(index)
            return false
        }
        guard table.reserve(stripes.memberCount + twins.count + 1, for: index) else {
            return false
        }
        guard let work = workAreas.take() else {
            table.unreserve(index)
            return false
        }
        table.setStage(index, .running)
        striped[index].work = work
        table[index].next = table[index].next.intersection(targets)
        if table[index].next.isEmpty {
            // (A copy that went back begins anew: who was left out of some rows misses the extent.)
            table[index].progress = .zero
            table[index].next = targets
        }
        beginCopyStep(index, stripes)
        return true
    }

    private mutating func beginCopyStep(_ index: Int, _ stripes: StripeGeometry) {
        let step = stripes.readStep(of: rest(of: index))
        striped[index].step = step
        let window = stripes.rows(of: step)
        // (What twins are to hold is there, with their members: it need not be worked out.)
        let places = table[index].next.places
        let isThere = usable.isSuperset(of: places) && places.count <= stripes.dataShards
        fetch(index, from: isThere ? places : stripes.enough(of: usable, first: places)) { _ in
            window
        }
    }

    mutating func completeStripedCopy(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome,
        _ stripes: StripeGeometry
    ) {
        guard settle(index, member, outcome) else { return }
        let isFetching = striped[index].part == .fetching
        if outcome != .done, isFetching {
            goBack(index)
            start(index)
            return
        }
        if outcome != .done { table[index].next.remove(member) }
        guard table[index].pending.isEmpty else { return }
        table[index].next = table[index].next.intersection(
            dirty.missing(striped[index].range, before: table[index].token))
        guard !table[index].next.isEmpty else { return endCopy(index) }
        guard !isFetching else { return store(index, stripes) }
        table[index].progress = table[index].progress + striped[index].step.count
        guard rest(of: index).isEmpty else { return beginCopyStep(index, stripes) }
        for target in table[index].next { held(striped[index].range, on: target) }
        endCopy(index)
    }

    private mutating func store(_ index: Int, _ stripes: StripeGeometry) {
        striped[index].part = .applying
        table[index].pending = table[index].next
        table[index].asked = now
        let ticket = table.ticket(index)
        for target in table[index].next {
            effects.push(
                .perform(
                    RemoteOperation(
                        ticket: ticket, member: target,
                        action: .rebuild(
                            window: stripes.rows(of: striped[index].step),
                            work: striped[index].work, sources: striped[index].sources))))
        }
    }

    private mutating func endCopy(_ index: Int) {
        rebuild.copying = nil
        finish(index, .done)
    }
}
