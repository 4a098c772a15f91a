// A read asks one active member; when that fails, the next; when it is slow, another beside it.
//
// Reads of a range and changes of it exclude each other (the range lock), so whichever member is asked
// holds all acknowledged writes and no half-done one: reads are linearizable and never mixed (G2).
//
//     waiting ──▶ running ──data──▶ reply              (the set is certainly still this owner's)
//                    │  └─late──▶ another is asked too (the first answer counts)
//                    └─data──▶ confirming ──▶ reply    (a member's word is awaited: Liveness)

import RemoteMemory

extension ResiliencySet {
    /// Active members that can be reached.
    var reachable: MemberSet { active.subtracting(absent) }

    /// The member to read from: the first that answers in time.
    @inline(__always)
    var readCandidate: MemberIndex? {
        reachable.subtracting(suspects).first ?? reachable.first
    }

    @inline(__always)
    mutating func startRead(_ index: Int) -> Bool {
        guard phase == .serving, let member = readCandidate, table.reserve(3, for: index) else {
            return false
        }
        table.setStage(index, .running)
        table[index].pending = MemberSet()
        table[index].done = MemberSet()
        ask(index, member)
        return true
    }

    @inline(__always)
    mutating func ask(_ index: Int, _ member: MemberIndex) {
        table[index].pending.insert(member)
        table[index].asked = now
        effects.push(
            .perform(
                RemoteOperation(
                    ticket: table.ticket(index), member: member,
                    action: .read(table[index].range, request: table[index].token))))
    }

    @inline(__always)
    mutating func completeRead(_ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome) {
        guard table[index].pending.contains(member), table[index].stage == .running else { return }
        switch outcome {
        case .done:
            if isHedging { learnLatency(now &- table[index].asked) }
            if isOwnershipCertain { return finish(index, .done) }
            table[index].pending = MemberSet()
            table.setStage(index, .confirming)
            probeMembers()
        case .failed, .different, .sourceFailed, .fenced:
            table[index].pending.remove(member)
            memberFailed(member)
            guard table[index].pending.isEmpty else { return }
            if let other = readCandidate {
                ask(index, other)
            } else {
                table.setStage(index, .waiting)
            }
        }
    }
}
