// Scrubbing an erasure set: what the members hold is folded where it is, and the folds have to belong together.
//
//     folding ──▶ verifying ──agree──▶ next extent
//                     └─ differ ──▶ locating ── one member explains it ──▶ mending ──▶ folding (the proof)
//                                       └─ none does, or several ──▶ told, and left alone
//
// The code is linear, so the sums of chunks belong together like the chunks do (see `RemoteMemory/Fold`). Rows
// whose number leaves the same rest by N have the same roles and are added up together. With more than K members
// there is something to prove; with more than K+1, one that is wrong can be told from the others, for without it
// they belong together.

import RemoteMemory

extension ResiliencySet {
    /// Starts the next extent, if one is due.
    mutating func advanceScrub(_ stripes: StripeGeometry) -> Bool {
        // (Two members make one comparison an extent; here all are compared at once.)
        guard scrubbing.isRunning, !scrubbing.isComparing,
            let (_, extent) = scrubbing.next(active: MemberSet(active.prefix(2)))
        else { return false }
        scrubbing.isComparing = true
        let index = table.append(.compare, stripes.wholeStripes(extent), token: 0, at: now)
        striped[index] = StripedEntry(range: extent)
        start(index)
        return true
    }

    mutating func startFold(_ index: Int, _ stripes: StripeGeometry) -> Bool {
        guard canServe, reachable.count > membersNeeded else {
            scrubbing.compared(striped[index].range, .proved)
            table.remove(index)
            return false
        }
        guard table.reserve(stripes.memberCount, for: index) else { return false }
        guard let work = workAreas.take() else {
            table.unreserve(index)
            return false
        }
        table.setStage(index, .running)
        striped[index].work = work
        striped[index].takers = MemberSet()
        fold(index, stripes)
        return true
    }

    private mutating func fold(_ index: Int, _ stripes: StripeGeometry) {
        let window = stripes.rows(of: striped[index].range)
        let work = striped[index].work
        table[index].progress = .zero
        striped[index].sources = reachable
        ask(reachable, index, .folding) { _ in .fold(window: window, work: work) }
    }

    /// Asks each of `members` for an action; the entry's part is what they are at.
    private mutating func ask(
        _ members: MemberSet, _ index: Int, _ part: StripedEntry.Part,
        for action: (MemberIndex) -> RemoteOperation.Action
    ) {
        striped[index].part = part
        table[index].pending = members
        table[index].done = MemberSet()
        table[index].asked = now
        let ticket = table.ticket(index)
        for member in members {
            effects.push(
                .perform(
                    RemoteOperation(ticket: ticket, member: member, action: action(member))))
        }
    }

    mutating func completeFold(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome,
        _ stripes: StripeGeometry
    ) {
        switch striped[index].part {
        case .verifying: verified(index, member, outcome, stripes)
        case .locating: tried(index, member, outcome, stripes)
        case .folding, .fetching, .logging, .applying:
            guard settle(index, member, outcome) else { return }
            guard outcome == .done else {
                // (With one member less: its folds prove nothing, and its rows are another's to mend.)
                goBack(index)
                start(index)
                return
            }
            guard table[index].pending.isEmpty else { return }
            switch striped[index].part {
            case .fetching: storeMended(index, stripes)
            case .applying: mended(index, stripes)
            default: verify(index, labelled: member, stripes)
            }
        }
    }

    // MARK: Who is wrong

    private mutating func verify(
        _ index: Int, labelled member: MemberIndex, _ stripes: StripeGeometry
    ) {
        let window = stripes.rows(of: striped[index].range)
        let (work, members) = (striped[index].work, striped[index].sources)
        ask(MemberSet(member), index, .verifying) { _ in
            .verify(window: window, work: work, members: members)
        }
    }

    private mutating func verified(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome,
        _ stripes: StripeGeometry
    ) {
        guard table[index].pending.contains(member) else { return }
        let wasMended = !striped[index].takers.isEmpty
        switch outcome {
        case .different: break
        case .done: return close(index, wasMended ? .mended : .proved)
        case .failed, .fenced, .sourceFailed:
            // (It was to be worked out on behalf of one that is gone.)
            goBack(index)
            start(index)
            return
        }
        let sources = striped[index].sources
        guard !wasMended, sources.count > membersNeeded + 1 else {
            return close(index, .different)
        }
        let window = stripes.rows(of: striped[index].range)
        let work = striped[index].work
        ask(sources, index, .locating) { suspect in
            .verify(
                window: window, work: work, members: sources.subtracting(MemberSet(suspect)))
        }
    }

    /// It is known whether the others belong together without `suspect`.
    private mutating func tried(
        _ index: Int, _ suspect: MemberIndex, _ outcome: OperationOutcome,
        _ stripes: StripeGeometry
    ) {
        guard table[index].pending.contains(suspect) else { return }
        table[index].pending.remove(suspect)
        if outcome == .done { table[index].done.insert(suspect) }
        guard table[index].pending.isEmpty else { return }
        let culprits = table[index].done
        guard culprits.count == 1, reachable.isSuperset(of: culprits) else {
            return close(index, .different)
        }
        striped[index].takers = culprits
        mend(index, stripes)
    }

    // MARK: Mending

    /// Brings the next rows of K others, from which those of the one that is wrong are worked out.
    private mutating func mend(_ index: Int, _ stripes: StripeGeometry) {
        let others = usable.subtracting(striped[index].takers)
        guard others.count >= membersNeeded else { return close(index, .different) }
        striped[index].step = stripes.readStep(of: rest(of: index))
        let window = stripes.rows(of: striped[index].step)
        table[index].done = MemberSet()
        fetch(index, from: stripes.enough(of: others, first: MemberSet())) { _ in window }
    }

    private mutating func storeMended(_ index: Int, _ stripes: StripeGeometry) {
        guard reachable.isSuperset(of: striped[index].takers) else {
            return close(index, .different)
        }
        let window = stripes.rows(of: striped[index].step)
        let (work, sources) = (striped[index].work, striped[index].sources)
        // (A twin that holds the extent has it from the member that is wrong.)
        let twins = dirty.holders(of: striped[index].range).twins
        let targets = striped[index].takers.withTwins.intersection(
            striped[index].takers.union(twins))
        ask(targets, index, .applying) { _ in
            .rebuild(window: window, work: work, sources: sources)
        }
    }

    private mutating func mended(_ index: Int, _ stripes: StripeGeometry) {
        table[index].progress = table[index].progress + striped[index].step.count
        guard rest(of: index).isEmpty else { return mend(index, stripes) }
        guard reachable.count > membersNeeded else { return close(index, .different) }
        fold(index, stripes)
    }

    private mutating func close(_ index: Int, _ finding: ScrubFinding) {
        scrubbing.compared(striped[index].range, finding)
        finish(index, .done)
    }
}
