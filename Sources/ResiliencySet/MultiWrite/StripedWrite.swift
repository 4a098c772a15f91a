// A change of an erasure set: new values go to redo slots first, and in place when they are safe.
//
//     step    fetch ─▶ encode ─▶ redo on all that take part ─▶ reply ─▶ in place on all ─▶ next step
//             (old bytes)        A: payload record                      A: bytes landed
//                                P: payload record                      P: bytes landed
//
// In-place writes alone would leave a hole: with some shards old and some new, and a member lost, neither can
// be read, nor can the neighbours that share the parity. A redo slot holds new values, never differences, so
// carrying it out twice does no harm.
//
//     something in place  ⇒  every member that it concerns, and is active in the registry, has the record
//     acknowledged        ⇒  the same
//     record              ⇒  it names all of them, also those that failed here and not yet in the registry;
//                            but no twin, which no successor knows of
//     slot used again     ⇒  landed on all that took part; who failed meanwhile is failed in the registry
//
// The stripes stay locked until the step has landed: what is read then is what was acknowledged, and no two
// records that are still to be carried out are of one stripe.

import RemoteMemory

extension ResiliencySet {
    mutating func startStripedChange(_ index: Int, _ stripes: StripeGeometry) -> Bool {
        guard phase == .serving, cut == .none, canServe,
            table.reserve(stripes.memberCount + twins.count + 2, for: index)
        else { return false }
        guard let (slot, sequence) = slots.take() else {
            table.unreserve(index)
            return false
        }
        changesInFlight += 1
        if changeMaps.isMarking { changeMaps.mark(striped[index].range) }
        table.setStage(index, .running)
        table[index].slot = slot
        striped[index].work = slot
        beginStep(index, sequence: sequence, stripes)
        return true
    }

    /// Members that are read from: those that answer in time, if they suffice.
    var usable: MemberSet {
        let prompt = reachable.subtracting(suspects)
        return prompt.count >= membersNeeded ? prompt : reachable
    }

    private mutating func beginStep(_ index: Int, sequence: UInt64, _ stripes: StripeGeometry) {
        let isZero = table[index].kind != .write
        let limit =
            isZero ? max(1, tuning.zeroStep.bytes / stripes.stripeSize.bytes) : stripes.runLimit
        let step = stripes.step(of: rest(of: index), runLimit: limit)
        let locked = stripes.wholeStripes(step)
        let touched = stripes.touched(by: step)
        let holders = rebuilding.isEmpty ? rebuilding : dirty.holders(of: locked)
        let takers = touched.withTwins.intersection(active.union(holders))
        let isRun = stripes.isRun(step)
        table[index].marks = MemberSet()
        if !dirty.away.isEmpty {
            // (Not only where that is news: who marked the extent first may still be fetching, and stores the
            // mark on other members than these.)
            dirty.markAway(locked, among: touched)
            table[index].marks = dirty.away.intersection(touched)
        }
        table[index].intent = Intent(
            epoch: epoch, sequence: sequence, range: step, kind: isRun && isZero ? .zero : .write,
            members: takers.members.union(touched.intersection(unrecorded)))
        striped[index].takers = takers
        recordHolders[Int(table[index].slot)] = takers
        striped[index].step = step
        table[index].done = MemberSet()
        table[index].next = MemberSet()
        var choice = StripeChoice.nothing
        if !isRun {
            let parity = stripes.parityMembers(of: step.start.bytes / stripes.stripeSize.bytes)
            choice = StripeChoice(
                step, parity: parity.intersection(takers.places), usable: usable, stripes)
        }
        striped[index].path = choice.path
        guard !choice.sources.isEmpty else { return logStep(index, stripes) }
        fetch(index, from: choice.sources) { member in
            choice.path == .modify
                ? stripes.span(of: step, on: member) : stripes.window(of: step)
        }
    }

    /// Has the parity worked out, and everybody store what is new.
    private mutating func logStep(_ index: Int, _ stripes: StripeGeometry) {
        let step = striped[index].step
        let takers = striped[index].takers
        if table[index].intent.kind == .write {
            let parity =
                stripes.isRun(step)
                ? takers.places
                : stripes.parityMembers(of: step.start.bytes / stripes.stripeSize.bytes)
                    .intersection(takers.places)
            if !parity.isEmpty {
                effects.push(
                    .encode(
                        EncodeStep(
                            work: table[index].slot, request: table[index].token, range: step,
                            path: striped[index].path, sources: striped[index].sources,
                            parity: parity)))
            }
        }
        striped[index].part = .logging
        issue(index, to: takers)
    }

    /// Asks `members` for the present part of the step: all at once, or one by one.
    private mutating func issue(_ index: Int, to members: MemberSet) {
        let takers = members.intersection(active.union(rebuilding))
        table[index].done = MemberSet()
        switch ordering {
        case .parallel:
            table[index].pending = takers
            table[index].next = MemberSet()
            for member in takers { issue(index, on: member) }
        case .sequential:
            table[index].pending = MemberSet()
            table[index].next = takers
            issueNext(index)
        }
    }

    private mutating func issueNext(_ index: Int) {
        table[index].next = table[index].next.intersection(active.union(rebuilding))
        guard let member = table[index].next.popFirst() else { return }
        table[index].pending.insert(member)
        issue(index, on: member)
    }

    private mutating func issue(_ index: Int, on member: MemberIndex) {
        let entry = table[index]
        table[index].asked = now
        let action: RemoteOperation.Action =
            striped[index].part == .logging
            ? .redo(slot: entry.slot, entry.intent, request: entry.token, marks: entry.marks)
            : .apply(
                slot: entry.slot, entry.intent, keepAllocated: striped[index].keepsAllocated)
        effects.push(
            .perform(
                RemoteOperation(ticket: table.ticket(index), member: member, action: action)))
    }

    mutating func completeStripedChange(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome,
        _ stripes: StripeGeometry
    ) {
        guard settle(index, member, outcome) else { return }
        if outcome != .done, striped[index].part == .fetching {
            goBack(index)
            start(index)
            return
        }
        if table[index].pending.isEmpty { issueNext(index) }
        guard table[index].pending.isEmpty else { return }
        switch striped[index].part {
        case .fetching: logStep(index, stripes)
        case .logging, .applying:
            // (Whoever missed the record must not count as one that might have it.)
            guard unrecorded.isEmpty else { return table.setStage(index, .recording) }
            proceed(index, stripes)
            if table[index].stage == .free { afterwards() }
        case .folding, .verifying, .locating:
            preconditionFailure("a change is not a comparison")
        }
    }

    /// All that take part did theirs, and the registry knows who did not.
    mutating func proceed(_ index: Int, _ stripes: StripeGeometry) {
        table.setStage(index, .running)
        guard striped[index].part == .applying else {
            striped[index].part = .applying
            issue(index, to: table[index].done)
            guard striped[index].step.end == striped[index].range.end else { return }
            let token = table[index].token
            table[index].kind = .applying
            return effects.push(.reply(request: token, .done))
        }
        table[index].progress = table[index].progress + striped[index].step.count
        guard table[index].kind != .applying else { return conclude(index, .done) }
        let sequence = slots.renew(table[index].slot)
        beginStep(index, sequence: sequence, stripes)
    }

    /// An entry has left the table: others may have its range.
    private mutating func afterwards() {
        if cut != .none { continueCut() }
        if table.waiting > 0 { startWaiting() }
    }
}

extension StripeChoice {
    /// Nothing is needed.
    static let nothing = StripeChoice(path: .whole, sources: MemberSet())

    private init(path: StripePath, sources: MemberSet) {
        self.path = path
        self.sources = sources
    }
}
