// A read asks one active member; when that fails, the next.
//
// Reads of a range and changes of it exclude each other (the range lock), so whichever member is asked
// holds all acknowledged writes and no half-done one: reads are linearizable and never mixed (G2).

import RemoteMemory

extension ResiliencySet {
    @inline(__always)
    mutating func startRead(_ index: Int) -> Bool {
        guard phase == .serving, let member = active.first, table.reserve(2, for: index) else {
            return false
        }
        table.setStage(index, .running)
        ask(index, member)
        return true
    }

    @inline(__always)
    private mutating func ask(_ index: Int, _ member: MemberIndex) {
        table[index].pending = MemberSet(member)
        effects.push(
            .perform(
                RemoteOperation(
                    ticket: table.ticket(index), member: member,
                    action: .read(table[index].range, request: table[index].token))))
    }

    @inline(__always)
    mutating func completeRead(_ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome) {
        guard table[index].pending.contains(member) else { return }
        switch outcome {
        case .done: finish(index, .done)
        case .failed, .different:
            memberFailed(member)
            if let other = active.first {
                ask(index, other)
            } else {
                table.setStage(index, .waiting)
            }
        }
    }
}
