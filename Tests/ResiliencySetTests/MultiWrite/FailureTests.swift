// The 1st, 2nd, … nth operation of every change fails, with nothing, half or all of it landed.

import RemoteMemory
import ResiliencySet
import Testing

/// One way for a change to go wrong.
struct FailingChange: CustomTestStringConvertible, Sendable {
    var copies: Int
    var ordering: Ordering
    var kind: RequestKind
    /// Which members' operations fail.
    var failing: [Int]
    /// How many stores of a failing operation land before it fails.
    var landed: Int

    var testDescription: String {
        "mirror:\(copies) \(ordering) \(kind) failing \(failing) after \(landed)"
    }

    static let all: [FailingChange] = (1...3).flatMap { copies in
        Ordering.allCases.flatMap { ordering in
            OrderingTests.changes.flatMap { kind in
                (1..<1 << copies).flatMap { (subset: Int) in
                    [0, 3, 6, 8, 100].map { landed in
                        FailingChange(
                            copies: copies, ordering: ordering, kind: kind,
                            failing: (0..<copies).filter { subset & 1 << $0 != 0 }, landed: landed)
                    }
                }
            }
        }
    }

    /// Runs the change on a set whose blocks were written before.
    func run() -> (set: ModelSet, token: UInt32) {
        let set = ModelSet(copies: copies, ordering: ordering)
        set.submit(.write, 0..<8)
        set.run()
        let token = set.submit(kind, 2..<5)
        while let operation = set.inFlight.first {
            set.step(fails: failing.contains(operation.member.number), landed: landed)
        }
        return (set, token)
    }
}

@Suite struct FailureTests {
    @Test(arguments: FailingChange.all.filter { $0.failing.count < $0.copies })
    func `a failure is recorded before the change is acknowledged`(change: FailingChange) {
        let (set, token) = change.run()
        #expect(set.active.count == change.copies - change.failing.count)
        var recorded = MemberSet()
        while case .fail(let members) = set.decisions.first {
            #expect(set.outcome(token) == nil, "nobody is told before the registry")
            recorded = recorded.union(members)
            set.record()
        }
        #expect(recorded == MemberSet(change.failing.map { MemberIndex($0) }))
        #expect(set.outcome(token) == .done)
        let read = set.submit(.read, 0..<8)
        set.run()
        #expect(set.outcome(read) == .done)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test(arguments: FailingChange.all.filter { $0.failing.count == $0.copies })
    func `when nobody holds it a change waits, then fails`(change: FailingChange) {
        let (set, token) = change.run()
        while !set.decisions.isEmpty { set.record() }
        #expect(set.active.count == 1 && set.absent == set.active, "the last one is never failed")
        #expect(set.inFlight.isEmpty)
        #expect(set.outcome(token) == nil)
        set.tick(ModelSet.patience - 1)
        #expect(set.outcome(token) == nil)
        set.mayFail = true
        set.tick(ModelSet.patience)
        #expect(set.outcome(token) == .failed)
        #expect(set.violations == [])
        #expect(set.isQuiet)
    }

    @Test(arguments: FailingChange.all.filter { $0.failing.count < $0.copies })
    func `a takeover in place of the record finds old or new`(change: FailingChange) {
        let (set, _) = change.run()
        set.restart()
        set.run(recording: true)
        set.adopt()
        #expect(set.violations == [])
    }

    @Test(arguments: Ordering.allCases, [false, true])
    func `changes elsewhere wait for the record too, reads do not`(
        ordering: Ordering, inFlightBefore: Bool
    ) {
        let set = ModelSet(copies: 3, ordering: ordering)
        let before = inFlightBefore ? set.submit(.write, 8..<9) : nil
        set.lose(MemberIndex(1))
        let after = set.submit(.write, 16..<17)
        let read = set.submit(.read, 20..<21)
        while let operation = set.inFlight.first {
            set.step(fails: operation.member == MemberIndex(1))
        }
        #expect(set.outcome(read) == .done)
        #expect(set.outcome(after) == nil)
        set.run(recording: true)
        #expect(set.outcome(after) == .done)
        if let before { #expect(set.outcome(before) == .done) }
        #expect(set.violations == [])
    }

    @Test func `in sequence a member that was lost meanwhile is not asked`() {
        let set = ModelSet(copies: 3, ordering: .sequential)
        let token = set.submit(.write, 0..<1)
        set.lose(MemberIndex(1))
        set.run(recording: true)
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test(arguments: [RequestKind.zero, .discard], Array(0..<9))
    func `a zeroing of several steps goes on without whoever fails on the way`(
        kind: RequestKind, place: Int
    ) {
        let (failing, step) = (place % 3, place / 3)
        let set = ModelSet(copies: 3, size: .mebibytes(192))
        let token = set.submit(kind, 0..<40 << 10)
        var count = 0
        while let operation = set.inFlight.first {
            let fails = operation.member.number == failing && count == step
            if operation.member.number == failing { count += 1 }
            set.step(fails: fails)
        }
        #expect(count == step + 1, "a failed member gets no further step")
        #expect(set.outcome(token) == nil)
        set.record()
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test(arguments: 0..<3)
    func `a read that fails asks the next member`(failures: Int) {
        let set = ModelSet(copies: 3)
        set.submit(.write, 0..<2)
        set.run()
        let read = set.submit(.read, 0..<2)
        for _ in 0..<failures { set.step(fails: true) }
        #expect(set.outcome(read) == nil)
        set.step()
        #expect(set.outcome(read) == .done, "a read waits for no record")
        #expect(set.decisions.count == min(failures, 1))
        #expect(set.active.count == 3 - failures)
        #expect(set.violations == [])
    }

    @Test func `a member that fails while another is recorded is recorded next`() {
        let set = ModelSet(copies: 3, ordering: .sequential)
        let token = set.submit(.write, 0..<1)
        set.step(fails: true)
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(0)))])
        set.step(fails: true)
        set.step()
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(0)))])
        set.record()
        #expect(set.outcome(token) == nil)
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(1)))])
        set.record()
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }
}
