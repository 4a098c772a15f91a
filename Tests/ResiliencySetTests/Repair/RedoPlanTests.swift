// Which records are carried out, and which are dropped: the table of RedoPlan, line by line.

import RemoteMemory
import ResiliencySet
import Testing

private func members(_ numbers: Int...) -> MemberSet { MemberSet(numbers.map { MemberIndex($0) }) }

private func record(
    on member: Int, of members: MemberSet, sequence: UInt64 = 7, slot: UInt8 = 0,
    landed: Bool = false, completed: Bool = false
) -> FoundIntent {
    let intent = Intent(
        epoch: Epoch(3), sequence: sequence,
        range: ByteRange(start: ByteOffset(0), count: ByteCount(4096)), kind: .write,
        members: members)
    return FoundIntent(
        member: MemberIndex(member), slot: slot,
        content: IntentSlot(intent: intent, landed: landed, completed: completed))
}

private func plan(_ found: [FoundIntent], _ active: MemberSet) -> [Int: Bool] {
    RedoPlan.steps(for: found, active: active).reduce(into: [:]) {
        $0[$1.member.number] = $1.isForward
    }
}

@Suite struct RedoPlanTests {
    let all = members(0, 1, 2, 3)

    @Test func `a record that all have is carried out by all`() {
        let found = [0, 2, 3].map { record(on: $0, of: members(0, 2, 3)) }
        #expect(plan(found, all) == [0: true, 2: true, 3: true])
    }

    @Test func `a record that one never saw is dropped by all`() {
        let found = [0, 2].map { record(on: $0, of: members(0, 2, 3)) }
        #expect(plan(found, all) == [0: false, 2: false])
    }

    @Test func `who is not here is not asked`() {
        let found = [0, 2].map { record(on: $0, of: members(0, 2, 3)) }
        #expect(plan(found, members(0, 1, 2)) == [0: true, 2: true])
    }

    @Test func `what has landed on one is carried out by the others, and not again there`() {
        let found = [
            record(on: 0, of: members(0, 2, 3), landed: true), record(on: 2, of: members(0, 2, 3)),
        ]
        #expect(plan(found, all) == [2: true])
    }

    @Test func `what is complete is left alone`() {
        let found = [
            record(on: 0, of: members(0, 2, 3), landed: true, completed: true),
            record(on: 2, of: members(0, 2, 3)),
        ]
        #expect(plan(found, all) == [:])
    }

    @Test func `what a member that is not active holds counts for nothing`() {
        let found = [
            record(on: 0, of: members(0, 3)), record(on: 3, of: members(0, 3), landed: true),
        ]
        #expect(plan(found, members(0, 1, 2)) == [0: true])
        #expect(plan([found[1]], members(0, 1, 2)) == [:])
    }

    @Test func `every record is judged by itself`() {
        let found = [
            record(on: 0, of: members(0, 1), sequence: 7, slot: 0),
            record(on: 1, of: members(0, 1), sequence: 7, slot: 0),
            record(on: 2, of: members(2, 3), sequence: 8, slot: 1),
        ]
        #expect(plan(found, all) == [0: true, 1: true, 2: false])
    }
}
