// Carrying out the plan, one step at a time, before the first request is served.
//
// A step that gives its target the write leaves the same trail as the write: intent, data, landed. One that
// gives it what was there before takes the intent back. So a repair that dies half-way is repaired by the
// next owner by the same rules, whichever members that one has. When a member fails on the way, the plan is
// made anew without it.

public import RemoteMemory

extension ResiliencySet {
    /// Takes one slot of one fenced member's observer area.
    public mutating func foundIntent(_ content: IntentSlot, slot: UInt8, on member: MemberIndex) {
        precondition(phase == .repairing, "intents are gathered before the set serves")
        found.append(FoundIntent(member: member, slot: slot, content: content))
    }

    /// All slots of all active members were given: repair what they tell, then serve.
    ///
    /// Returns how many bytes will be settled: bounded by what was in flight, whatever the volume's size.
    @discardableResult
    public mutating func repair() -> ByteCount {
        precondition(phase == .repairing, "a set is repaired once, after a takeover")
        for item in found { slots.resume(after: item.content.intent.sequence) }
        return plan()
    }

    @discardableResult
    private mutating func plan() -> ByteCount {
        isPlanStale = false
        isClosingRepair = false
        for member in dirty.members.members { markFound(asMissingOn: member) }
        if stripes != nil { return planRedo() }
        let steps = RepairPlan.steps(for: found, active: active)
        repairSteps = steps.reversed()
        let bytes = steps.reduce(UInt64(0)) { $0 + $1.range.count.bytes }
        continueRepair()
        return ByteCount(bytes)
    }

    /// A half-done write may have reached a member that is not active, and is settled only on others.
    mutating func markFound(asMissingOn member: MemberIndex) {
        for item in found where !item.content.completed {
            dirty.mark(item.content.intent.range, of: member)
        }
    }

    /// The plan is made anew, with the members that there are now.
    mutating func replan() {
        isPlanStale = true
        if !table.isRepairing { plan() }
    }

    private mutating func continueRepair() {
        guard absent.isEmpty else { return }
        guard let step = repairSteps.last else { return beginClosingRepair() }
        start(table.appendFirst(.repair, step.range, at: now))
    }

    mutating func beginClosingRepair() {
        found = []
        isClosingRepair = true
        for member in dirty.members.members { storeMap(of: member, on: keepers) }
        closeRepair()
    }

    /// Serves, once all steps are done, every active member has the dirty maps, and the registry knows who
    /// was lost on the way.
    ///
    /// (Writes would use the slots of repaired intents again; a successor that still takes a lost member
    /// for an active one would then find it different, and no intent that tells.)
    mutating func closeRepair() {
        guard isClosingRepair, phase == .repairing, mapStores == 0, absent.isEmpty,
            unrecorded.isEmpty, !isPromotingSpoiled, active.count >= membersNeeded
        else { return }
        isClosingRepair = false
        phase = .serving
        recordNext()
        startWaiting()
    }

    /// A promotion is being recorded of a member that is not whole any more: it fails when it is.
    private var isPromotingSpoiled: Bool {
        guard case .under(.promote(let member)) = recording else { return false }
        return rebuilding.contains(member) && !dirty.whole.contains(member)
    }

    /// One target at a time: so a member that is lost meanwhile leaves at most one of the others torn.
    mutating func startRepairStep(_ index: Int) -> Bool {
        guard let step = repairSteps.last,
            let target = step.targets.intersection(step.torn).first ?? step.targets.first,
            table.reserve(1, for: index)
        else { return false }
        table.setStage(index, .running)
        table[index].pending = MemberSet(target)
        table[index].asked = now
        table[index].done = step.source.map { MemberSet($0) } ?? MemberSet()
        let action: RemoteOperation.Action =
            if let source = step.source {
                step.isNew
                    ? .restore(
                        slot: step.slot, step.intent, range: step.range, source: source,
                        last: step.isLast)
                    : .withdraw(
                        slot: step.slot, step.intent, range: step.range, source: source,
                        last: step.isLast)
            } else {
                .zero(
                    slot: step.slot, step.intent, step: step.range, keepAllocated: false,
                    first: true, last: step.isLast, marks: MemberSet())
            }
        effects.push(
            .perform(
                RemoteOperation(ticket: table.ticket(index), member: target, action: action)))
        return true
    }

    mutating func completeRepairStep(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome
    ) {
        guard table[index].pending.contains(member), let step = repairSteps.last else { return }
        let source = table[index].done.first
        table.remove(index)
        switch outcome {
        case .done: settled(step, on: member)
        case .sourceFailed: if let source { memberFailed(source) }
        case .failed, .different, .fenced: memberFailed(member)
        }
        guard !isPlanStale else {
            plan()
            return
        }
        repairSteps[repairSteps.count - 1].targets.remove(member)
        if repairSteps[repairSteps.count - 1].targets.isEmpty { repairSteps.removeLast() }
        continueRepair()
    }

    /// A target has what the step gave it: a plan that is made anew builds on that.
    private mutating func settled(_ step: RepairStep, on member: MemberIndex) {
        guard step.isLast else { return }
        found.removeAll { $0.member == member && $0.slot == step.slot }
        guard step.isNew else { return }
        found.append(
            FoundIntent(
                member: member, slot: step.slot,
                content: IntentSlot(intent: step.intent, landed: true, completed: false)))
    }
}
