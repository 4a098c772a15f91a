// Scrubbing an erasure set: what the members hold is folded where it is, and the folds have to belong together.
//
// The code is linear: adding chunks up byte by byte (XOR) and encoding the sums gives the sums of the parity.
// Rows whose number leaves the same rest by N have the same roles, so they are added up together. With more
// than K members there is something to prove.

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
            scrubbing.compared(striped[index].range, different: false)
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
        striped[index].part = .fetching
        striped[index].sources = reachable
        table[index].pending = reachable
        table[index].asked = now
        let ticket = table.ticket(index)
        let window = stripes.rows(of: striped[index].range)
        for member in reachable {
            effects.push(
                .perform(
                    RemoteOperation(
                        ticket: ticket, member: member,
                        action: .fold(window: window, work: work))))
        }
        return true
    }

    mutating func completeFold(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome,
        _ stripes: StripeGeometry
    ) {
        if striped[index].part == .applying, table[index].pending.contains(member) {
            scrubbing.compared(striped[index].range, different: outcome == .different)
            return finish(index, .done)
        }
        guard settle(index, member, outcome) else { return }
        guard outcome == .done else {
            // (With one member less: its folds prove nothing.)
            goBack(index)
            start(index)
            return
        }
        guard table[index].pending.isEmpty else { return }
        striped[index].part = .applying
        table[index].pending = MemberSet(member)
        effects.push(
            .perform(
                RemoteOperation(
                    ticket: table.ticket(index), member: member,
                    action: .verify(
                        window: stripes.rows(of: striped[index].range),
                        work: striped[index].work, members: striped[index].sources))))
    }
}
