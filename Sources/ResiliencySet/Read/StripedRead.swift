// A read of an erasure set asks the members that hold the bytes; without one of them, any K.
//
//     healthy     gather on each ──▶ reply
//     degraded    fetch the window from K ──▶ decode ──▶ next step, or reply
//
// A late member counts as missing as long as K others are there: so the K fastest answer. What it says
// later is not awaited any more.

import RemoteMemory

extension ResiliencySet {
    mutating func startStripedRead(_ index: Int, _ stripes: StripeGeometry) -> Bool {
        guard phase == .serving, canServe, table.reserve(stripes.memberCount + 2, for: index)
        else { return false }
        let holders = stripes.holders(of: striped[index].range)
        if table[index].progress == .zero, usable.isSuperset(of: holders) {
            table.setStage(index, .running)
            gather(index, from: holders)
            return true
        }
        guard let work = workAreas.take() else {
            table.unreserve(index)
            return false
        }
        table.setStage(index, .running)
        striped[index].work = work
        beginReadStep(index, stripes)
        return true
    }

    private mutating func gather(_ index: Int, from holders: MemberSet) {
        striped[index].path = .whole
        striped[index].sources = holders
        table[index].pending = holders
        table[index].asked = now
        let range = striped[index].range
        let token = table[index].token
        let ticket = table.ticket(index)
        for member in holders {
            effects.push(
                .perform(
                    RemoteOperation(
                        ticket: ticket, member: member, action: .gather(range, request: token))))
        }
    }

    private mutating func beginReadStep(_ index: Int, _ stripes: StripeGeometry) {
        striped[index].path = .degraded
        let step = stripes.readStep(of: rest(of: index))
        striped[index].step = step
        let window = stripes.readWindow(of: step)
        let sources = stripes.enough(of: usable, first: stripes.holders(of: step))
        fetch(index, from: sources) { _ in window }
    }

    mutating func completeStripedRead(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome,
        _ stripes: StripeGeometry
    ) {
        if isHedging, outcome == .done, table[index].pending.contains(member) {
            learnLatency(now &- table[index].asked)
        }
        guard settle(index, member, outcome) else { return }
        guard outcome == .done else {
            goBack(index)
            start(index)
            return
        }
        guard table[index].pending.isEmpty else { return }
        if striped[index].path == .degraded {
            let step = striped[index].step
            effects.push(
                .decode(
                    DecodeStep(
                        work: striped[index].work, request: table[index].token, range: step,
                        sources: striped[index].sources)))
            table[index].progress = table[index].progress + step.count
            guard rest(of: index).isEmpty else { return beginReadStep(index, stripes) }
        }
        if isOwnershipCertain { return finish(index, .done) }
        releaseWork(index)
        table.setStage(index, .confirming)
        probeMembers()
    }

    /// Reads around members that are late, if K others are there.
    mutating func readAround(_ index: Int) {
        let late = table[index].pending
        guard reachable.subtracting(suspects).subtracting(late).count >= membersNeeded else {
            return
        }
        suspects = suspects.union(late)
        goBack(index)
        start(index)
    }
}
