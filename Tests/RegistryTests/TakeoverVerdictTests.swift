// What a new owner makes of what it found, as a table.

import Registry
import RemoteMemory
import Testing

@Suite struct TakeoverVerdictTests {
    /// The members of a set, what came of opening each, and what follows.
    struct Case: CustomTestStringConvertible, Sendable {
        let states: [MemberState]
        let outcomes: [OpeningOutcome?]
        let verdict: TakeoverVerdict
        var testDescription: String {
            zip(states, outcomes).map { "\($0.rawValue) \($1.map { "\($0)" } ?? "unheard of")" }
                .joined(separator: ", ")
        }

        init(_ states: [MemberState], _ outcomes: [OpeningOutcome?], _ verdict: TakeoverVerdict) {
            self.states = states
            self.outcomes = outcomes
            self.verdict = verdict
        }
    }

    static func serve(_ active: [Int], rebuilding: [Int] = [], fail: [Int] = []) -> TakeoverVerdict
    {
        .serve(
            active: active.map { index($0) }, rebuilding: rebuilding.map { index($0) },
            fail: fail.map { index($0) })
    }

    static func lost(_ fail: [Int]) -> TakeoverVerdict { .lost(fail: fail.map { index($0) }) }

    static let table = [
        Case([.active, .active, .active], [.opened, .opened, .opened], serve([0, 1, 2])),
        Case([.active, .active], [.opened, .lost], serve([0], fail: [1])),
        Case([.active, .active], [.unreachable, .opened], serve([1], fail: [0])),
        Case([.active, .active], [.opened, nil], serve([0], fail: [1])),
        Case([.active, .suspect], [.lost, .opened], serve([1], fail: [0])),
        // Its old owner's process can still write it.
        Case([.active, .active], [.opened, .held], .wait),
        Case([.active, .active], [.held, .lost], .wait),
        Case([.active, .rebuilding], [.opened, .held], .wait),
        // Nobody has the data now, somebody may have it later.
        Case([.active, .active], [.unreachable, .unreachable], .wait),
        Case([.active, .active], [.lost, .unreachable], .wait),
        Case([.active, .suspect], [.lost, .unreachable], .wait),
        Case([.active, .rebuilding], [.unreachable, .opened], .wait),
        Case([.active], [nil], .wait),
        // Nobody ever will.
        Case([.active, .active], [.lost, .lost], lost([0, 1])),
        Case([.suspect], [.lost], lost([0])),
        Case([.active, .rebuilding], [.lost, .opened], lost([0, 1])),
        Case([.active, .rebuilding], [.lost, .unreachable], lost([0, 1])),
        Case([.rebuilding], [.unreachable], lost([0])),
        Case([.failed], [nil], lost([])),
        // Rebuilds go on, or are given up.
        Case([.active, .rebuilding], [.opened, .opened], serve([0], rebuilding: [1])),
        Case([.active, .rebuilding], [.opened, .lost], serve([0], fail: [1])),
        Case([.rebuilding, .active], [.unreachable, .opened], serve([1], fail: [0])),
        // Who has failed is not asked.
        Case([.active, .failed], [.opened, .held], serve([0])),
        Case([.failed, .active], [.opened, .lost], lost([1])),
        Case([.failed, .active], [.opened, .unreachable], .wait),
    ]

    @Test(arguments: table)
    func `the verdict follows from the record and the outcomes`(row: Case) throws {
        let record = try volume(row.states)
        var outcomes: [MemberIndex: OpeningOutcome] = [:]
        for (number, outcome) in row.outcomes.enumerated() { outcomes[index(number)] = outcome }
        #expect(record.verdict(on: outcomes) == row.verdict)
    }

    /// Of `erasure:2+2`: two have to be opened, three have to be out of an old owner's reach.
    static let erasure: [Case] = [
        Case(
            [.active, .active, .active, .active], [.opened, .opened, .opened, .opened],
            serve([0, 1, 2, 3])),
        Case(
            [.active, .active, .active, .active], [.opened, .opened, .opened, .unreachable],
            serve([0, 1, 2], fail: [3])),
        Case([.active, .active, .active, .active], [.opened, .opened, .unreachable, nil], .wait),
        Case(
            [.active, .active, .active, .active], [.opened, .opened, .lost, .unreachable],
            serve([0, 1], fail: [2, 3])),
        Case(
            [.active, .active, .active, .failed], [.opened, .opened, .unreachable, nil],
            serve([0, 1], fail: [2])),
        Case([.active, .active, .failed, .failed], [.opened, .unreachable, nil, nil], .wait),
        Case([.active, .active, .failed, .failed], [.opened, .lost, nil, nil], lost([1])),
        Case(
            [.active, .active, .rebuilding, .failed], [.opened, .lost, .opened, nil], lost([1, 2])),
        Case([.active, .active, .active, .active], [.held, .opened, .opened, .opened], .wait),
    ]

    @Test(arguments: erasure)
    func `an erasure set is served by K members, with M+1 out of an old owner's reach`(row: Case)
        throws
    {
        let record = try volume(row.states, layout: .erasure(data: 2, parity: 2))
        var outcomes: [MemberIndex: OpeningOutcome] = [:]
        for (number, outcome) in row.outcomes.enumerated() { outcomes[index(number)] = outcome }
        #expect(record.verdict(on: outcomes) == row.verdict)
    }

    @Test func `an erasure set with fewer than K members is lost`() throws {
        for (states, isLost) in [
            ([.active, .active, .failed, .failed], false),
            ([.active, .suspect, .rebuilding, .failed], false),
            ([.active, .failed, .rebuilding, .rebuilding], true),
        ] as [([MemberState], Bool)] {
            let record = try volume(states, layout: .erasure(data: 2, parity: 2))
            #expect(record.isLost == isLost)
        }
    }

    @Test func `whoever is active, suspect or being rebuilt is opened`() throws {
        let record = try volume([.active, .failed, .suspect, .rebuilding])
        #expect(record.liveMembers.map(\.index) == [index(0), index(2), index(3)])
    }

    @Test(arguments: [
        (6, owner(1), true), (5, owner(1), false), (7, owner(1), false), (4, owner(1), false),
        (6, owner(2), false), (6, nil, false),
    ])
    func `a change whose answer was lost was made when the next record is this owner's`(
        epoch: UInt64, found: OwnerID?, isNext: Bool
    ) throws {
        let known = try volume([.active, .active])
        let record = try volume(
            members: [member(0), member(1, .failed)], epoch: epoch, owner: found)
        #expect(record.isNext(after: known, of: owner(1)) == isNext)
    }

    @Test func `every kind of change leads to a record that is next`() throws {
        let known = try volume([.active, .active, .rebuilding])
        for change in [MembershipChange.fail([index(1)]), .promote(index(2)), .remove([index(2)])] {
            #expect(try known.applying([change]).0.isNext(after: known, of: owner(1)))
        }
        let taken = try known.takenOver(by: owner(2), expecting: known.epoch)
        #expect(!taken.isNext(after: known, of: owner(1)))
        #expect(taken.isNext(after: known, of: owner(2)))
    }
}
