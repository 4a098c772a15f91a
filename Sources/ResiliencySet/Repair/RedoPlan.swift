// After a takeover, or an absence: which records of an erasure set are carried out, and which are dropped.
//
// A step goes in place only when all that take part have its record. So, of those that take part and are
// here:
//
//     completed anywhere                  nothing to do
//     landed on one, or recorded on all   forward: carried out on whoever has not
//     one never saw it                    discard: nobody has begun, and it was never acknowledged
//
// Each member has its own new bytes, so nothing is copied between members; and a repair that dies half-way is
// decided in the same way by the next owner.

package import RemoteMemory

/// One record of one member that is to be carried out, or dropped.
package struct RedoStep: Hashable, Sendable {
    package var member: MemberIndex
    package var slot: UInt8
    package var intent: Intent
    package var isForward: Bool
}

/// Decides on the records that were found.
package enum RedoPlan {
    /// The steps after which no record of an active member is open.
    package static func steps(for found: [FoundIntent], active: MemberSet) -> [RedoStep] {
        var writes: [Name: Found] = [:]
        for item in found where active.contains(item.member) {
            let name = Name(
                epoch: item.content.intent.epoch, sequence: item.content.intent.sequence)
            var write = writes[name] ?? Found(intent: item.content.intent)
            write.holders.insert(item.member)
            if item.content.landed { write.landed.insert(item.member) }
            if item.content.completed { write.isComplete = true }
            writes[name] = write
        }
        return found.compactMap { item in
            let intent = item.content.intent
            let name = Name(epoch: intent.epoch, sequence: intent.sequence)
            guard active.contains(item.member), !item.content.landed, let write = writes[name],
                !write.isComplete
            else { return nil }
            let reach = intent.members.intersection(active)
            return RedoStep(
                member: item.member, slot: item.slot, intent: intent,
                isForward: !write.landed.isEmpty || write.holders.isSuperset(of: reach))
        }
    }

    private struct Name: Hashable {
        let epoch: Epoch
        let sequence: UInt64
    }

    private struct Found {
        let intent: Intent
        var holders = MemberSet()
        var landed = MemberSet()
        var isComplete = false
    }
}

extension ResiliencySet {
    mutating func planRedo() -> ByteCount {
        redoSteps = RedoPlan.steps(for: found, active: active).reversed()
        hasRedoPlan = true
        let bytes = redoSteps.reduce(UInt64(0)) { $0 + $1.intent.range.count.bytes }
        continueRedo()
        return ByteCount(bytes)
    }

    /// The registry knows of a failure that the plan waited for.
    mutating func resumeRedo() {
        guard hasRedoPlan, phase == .repairing, !isClosingRepair, !table.isRepairing else { return }
        replan()
    }

    /// Carries out the next step; none before the registry knows who failed.
    ///
    /// (A record that only a failed member lacks may go forward. What is in place then, no later owner may
    /// find with that member among the active ones.)
    mutating func continueRedo() {
        guard absent.isEmpty, unrecorded.isEmpty, active.count >= membersNeeded else { return }
        guard let step = redoSteps.last else { return beginClosingRepair() }
        start(table.appendFirst(.repair, lock(of: step.intent.range), at: now))
    }

    private func lock(of range: ByteRange) -> ByteRange {
        stripes?.wholeStripes(range) ?? range
    }

    mutating func startRedoStep(_ index: Int) -> Bool {
        guard let step = redoSteps.last, table.reserve(1, for: index) else { return false }
        table.setStage(index, .running)
        table[index].pending = MemberSet(step.member)
        table[index].asked = now
        effects.push(
            .perform(
                RemoteOperation(
                    ticket: table.ticket(index), member: step.member,
                    action: step.isForward
                        ? .apply(slot: step.slot, step.intent, keepAllocated: false)
                        : .discard(slot: step.slot))))
        return true
    }

    mutating func completeRedoStep(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome
    ) {
        guard table[index].pending.contains(member), let step = redoSteps.last else { return }
        table.remove(index)
        if outcome == .done {
            settled(step)
        } else {
            memberFailed(member)
        }
        guard !isPlanStale else { return replan() }
        redoSteps.removeLast()
        continueRedo()
    }

    /// A plan that is made anew builds on what was done.
    private mutating func settled(_ step: RedoStep) {
        guard
            let place = found.firstIndex(where: {
                $0.member == step.member && $0.slot == step.slot
                    && $0.content.intent == step.intent
            })
        else { return }
        if step.isForward {
            found[place].content.landed = true
        } else {
            found.remove(at: place)
        }
    }
}
