// One logical change carried out on every member of the set.
//
//   parallel     A: intent data landed        sequential   A: intent data landed
//                B: intent data landed                      then B: intent data landed
//                C: intent data landed                           then C: …
//                └ wait for all                             └ wait for all
//
//   (Parallel, where a transport may place a write's bytes in any order: one member waits for another.)
//
// The intent tells each member's observer that the write is upcoming, on the same ordered channel just
// before the data, so it costs no round trip. A member that fails on the way is dropped from the set;
// the write is answered when every other member has it and the registry knows of the failure (G1, G5).

import RemoteMemory

extension ResiliencySet {
    @inline(__always)
    mutating func startChange(_ index: Int) -> Bool {
        guard phase == .serving, cut == .none, !reachable.isEmpty else { return false }
        let targets = active.union(
            rebuilding.isEmpty ? rebuilding : dirty.holders(of: table[index].range))
        guard table.reserve(targets.count + 1, for: index) else { return false }
        guard let (slot, sequence) = slots.take() else {
            table.unreserve(index)
            return false
        }
        changesInFlight += 1
        if changeMaps.isMarking { changeMaps.mark(table[index].range) }
        table.setStage(index, .running)
        table[index].slot = slot
        table[index].intent = Intent(
            epoch: epoch, sequence: sequence, range: table[index].range,
            kind: table[index].kind == .write ? .write : .zero)
        table[index].progress = .zero
        table[index].done = MemberSet()
        if !dirty.away.isEmpty { table[index].marks = dirty.markAway(table[index].range) }
        issue(index, to: targets)
        return true
    }

    /// Asks `targets` for the entry's operation: all of them, or the first with the rest to follow.
    @inline(__always)
    private mutating func issue(_ index: Int, to targets: MemberSet) {
        switch ordering {
        case .parallel:
            let first = tuning.tearsWrites ? targets.subtracting(heldBack(index)) : targets
            table[index].pending = first
            table[index].next = targets.subtracting(first)
            for member in first { issue(index, on: member) }
        case .sequential:
            guard let member = targets.first else { return }
            table[index].pending = MemberSet(member)
            table[index].next = targets.subtracting(MemberSet(member))
            issue(index, on: member)
        }
    }

    /// The member that a write reaches only when another has it whole.
    ///
    /// Where a transport places the bytes of a write in any order, a client device that dies would
    /// otherwise leave a block half old and half new on all members at once.
    private func heldBack(_ index: Int) -> MemberSet {
        guard table[index].kind == .write, active.count > 1, let last = active.last else {
            return MemberSet()
        }
        return MemberSet(last)
    }

    @inline(__always)
    private mutating func issue(_ index: Int, on member: MemberIndex) {
        let entry = table[index]
        table[index].asked = now
        let action: RemoteOperation.Action
        if entry.kind == .write {
            action = .write(
                slot: entry.slot, entry.intent, request: entry.token,
                isGuarded: active == MemberSet(member), marks: entry.marks)
        } else {
            let rest = ByteCount(entry.range.count.bytes - entry.progress.bytes)
            let step = ByteRange(
                start: entry.range.start + entry.progress, count: min(rest, tuning.zeroStep))
            action = .zero(
                slot: entry.slot, entry.intent, step: step, keepAllocated: entry.kind == .zero,
                first: entry.progress == .zero, last: step.end == entry.range.end,
                marks: entry.marks)
        }
        effects.push(
            .perform(
                RemoteOperation(ticket: table.ticket(index), member: member, action: action)))
    }

    @inline(__always)
    mutating func completeChange(_ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome) {
        guard table[index].pending.contains(member) else { return }
        table[index].pending.remove(member)
        switch outcome {
        case .done: table[index].done.insert(member)
        case .failed, .different, .sourceFailed, .fenced:
            table[index].done.remove(member)
            memberFailed(member)
        }
        table[index].next = table[index].next.intersection(active.union(rebuilding))
        let isNextDue =
            ordering == .sequential || table[index].pending.isEmpty
            || !table[index].done.intersection(active).isEmpty
        if isNextDue, let next = table[index].next.popFirst() {
            table[index].pending.insert(next)
            issue(index, on: next)
        }
        if table[index].pending.isEmpty { stepDone(index) }
    }

    @inline(__always)
    private mutating func stepDone(_ index: Int) {
        let holders = table[index].done.intersection(active.union(rebuilding))
        guard table[index].kind != .write, !holders.isEmpty else {
            return changeDone(index)
        }
        let rest = table[index].range.count.bytes - table[index].progress.bytes
        guard rest > tuning.zeroStep.bytes else { return changeDone(index) }
        table[index].progress = table[index].progress + tuning.zeroStep
        issue(index, to: holders)
    }

    @inline(__always)
    private mutating func changeDone(_ index: Int) {
        guard !table[index].done.intersection(active).isEmpty else {
            // Nobody holds it: it starts over when a member is back, or fails after the bounded wait.
            spoil(table[index].range)
            slots.release(table[index].slot)
            changesInFlight -= 1
            table.setStage(index, .waiting)
            if cut != .none { continueCut() }
            return
        }
        guard unrecorded.isEmpty else { return table.setStage(index, .recording) }
        finish(index, .done)
    }

    /// Tells the observers of all members which multi-writes are complete, as far as there is room.
    ///
    /// To be called when nothing is in flight: the marks only spare a later takeover some work.
    public mutating func markCompleted() {
        // (What was under way when the last members went is not complete: repair decides.)
        guard table.isEmpty, phase == .serving, absent.isEmpty else { return }
        let members = active.union(rebuilding)
        while slots.hasUnmarked, effects.room > members.count + EffectQueue.spare {
            guard let (slot, sequence) = slots.nextToMark() else { return }
            // (What is older in a slot must not take the mark of what is newer on others.)
            let holders = stripes == nil ? members : recordHolders[Int(slot)]
            for member in members.intersection(holders) {
                effects.push(
                    .perform(
                        RemoteOperation(
                            ticket: .none, member: member,
                            action: .complete(slot: slot, sequence: sequence))))
            }
        }
    }
}
