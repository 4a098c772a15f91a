// Carrying out the plan, one step at a time, before the first request is served.
//
// A step leaves the same trail on its target as the write it repairs: intent, data, landed. So a repair
// that dies half-way is repaired by the next owner, from the same source by the same rules. When a
// member fails on the way, the plan is made anew without it.

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
        let steps = RepairPlan.steps(for: found, active: active)
        repairSteps = steps.reversed()
        let bytes = steps.reduce(UInt64(0)) { $0 + $1.range.count.bytes }
        continueRepair()
        return ByteCount(bytes)
    }

    private mutating func continueRepair() {
        guard let step = repairSteps.last else {
            found = []
            phase = .serving
            startWaiting()
            return
        }
        start(table.appendFirst(.repair, step.range, at: now))
    }

    mutating func startRepairStep(_ index: Int) -> Bool {
        guard let step = repairSteps.last, table.reserve(step.targets.count, for: index) else {
            return false
        }
        table.setStage(index, .running)
        table[index].pending = step.targets
        table[index].done = step.source.map { MemberSet($0) } ?? MemberSet()
        for member in step.targets {
            let action: RemoteOperation.Action =
                if let source = step.source {
                    .restore(
                        slot: step.slot, step.intent, range: step.range, source: source,
                        last: step.isLast)
                } else {
                    .zero(
                        slot: step.slot, step.intent, step: step.range, keepAllocated: false,
                        first: true, last: step.isLast)
                }
            effects.push(
                .perform(
                    RemoteOperation(ticket: table.ticket(index), member: member, action: action)))
        }
        return true
    }

    mutating func completeRepairStep(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome
    ) {
        guard table[index].pending.contains(member) else { return }
        table[index].pending.remove(member)
        if outcome != .done, active.isSuperset(of: table[index].done) { memberFailed(member) }
        guard table[index].pending.isEmpty else { return }
        table.remove(index)
        if !isPlanStale {
            repairSteps.removeLast()
            continueRepair()
        } else {
            plan()
        }
    }
}
