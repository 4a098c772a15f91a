// The last member that cannot be reached is waited for. It is repaired like after a takeover when it is
// back: what it did not finish may have been answered as failed meanwhile.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct AbsenceTests {
    private func filled(copies: Int) -> ModelSet {
        let set = ModelSet(copies: copies)
        set.submit(.write, 0..<8)
        set.run()
        return set
    }

    @Test(arguments: RangeLockTests.kinds)
    func `requests wait for the last member, and are served at its return`(kind: RequestKind) {
        let set = filled(copies: 1)
        let token = set.submit(kind, 2..<5)
        set.step(fails: true)
        #expect(set.absent == set.active && set.active.count == 1)
        #expect(set.decisions == [], "it has not failed")
        let later = set.submit(kind, 6..<7)
        set.tick(ModelSet.patience - 1)
        #expect(set.inFlight.isEmpty)
        #expect(set.outcome(token) == nil && set.outcome(later) == nil)
        set.comeBackAsLast(0)
        set.run()
        #expect(set.outcome(token) == .done && set.outcome(later) == .done)
        #expect(set.phase == .serving && set.absent.isEmpty)
        #expect(set.decisions == [])
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test(arguments: RangeLockTests.kinds)
    func `requests that waited too long fail, later ones are served`(kind: RequestKind) {
        let set = filled(copies: 1)
        let token = set.submit(kind, 2..<5)
        set.step(fails: true)
        set.mayFail = true
        set.tick(ModelSet.patience)
        #expect(set.outcome(token) == .failed)
        #expect(set.active.count == 1)
        set.comeBackAsLast(0)
        set.run()
        set.adopt()
        set.mayFail = false
        let later = set.submit(kind, 2..<5)
        set.run()
        #expect(set.outcome(later) == .done)
        #expect(set.isQuiet)
        #expect(set.violations == [])
    }

    @Test(arguments: [RequestKind.zero, .discard], Array(0...13))
    func `a zeroing that was half done is finished at the return, though it was answered as failed`(
        kind: RequestKind, landed: Int
    ) {
        let set = filled(copies: 1)
        let before = set.content(of: MemberIndex(0), ModelSet.range(2..<5))
        let token = set.submit(kind, 2..<5)
        set.step(fails: true, landed: landed)
        set.mayFail = true
        set.tick(ModelSet.patience)
        #expect(set.outcome(token) == .failed)
        set.comeBackAsLast(0)
        set.run()
        #expect(set.phase == .serving)
        // The record is whole with its sixth word; without it nothing was zeroed.
        let content = set.content(of: MemberIndex(0), ModelSet.range(2..<5))
        #expect(content == (landed < 6 ? before : Array(repeating: 0, count: 6)))
    }

    @Test(arguments: OrderingTests.changes, [0, 3, 6, 8, 100])
    func `who failed before is recorded when the last one is back`(kind: RequestKind, landed: Int) {
        let set = filled(copies: 2)
        let token = set.submit(kind, 2..<5)
        set.failNext(on: 0, landed: landed)
        set.failNext(on: 1, landed: landed)
        #expect(set.absent == MemberSet(MemberIndex(1)))
        #expect(set.decisions == [], "nobody would have the map of what member 0 misses")
        set.comeBackAsLast(1)
        set.run()
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(0)))])
        #expect(set.phase == .repairing)
        #expect(set.outcome(token) == nil)
        set.record()
        set.run()
        #expect(set.phase == .serving)
        #expect(set.outcome(token) == .done)
        set.comeBack(0)
        set.finishBackground()
        #expect(set.active.count == 2)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a last member that is away again during its repair is waited for again`() {
        let set = filled(copies: 1)
        let token = set.submit(.zero, 2..<5)
        set.step(fails: true, landed: 7)
        for _ in 0..<3 {
            set.comeBackAsLast(0)
            #expect(set.phase == .repairing)
            set.step(fails: true, landed: 9)
            #expect(set.absent.count == 1)
        }
        set.comeBackAsLast(0)
        set.run()
        #expect(set.outcome(token) == .done)
        #expect(set.phase == .serving)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a last member whose memory is lost has failed`() {
        let set = filled(copies: 1)
        set.submit(.read, 0..<1)
        set.step(fails: true)
        set.lose(MemberIndex(0))
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(0)))])
        #expect(set.active.isEmpty && set.absent.isEmpty)
        #expect(set.violations == [])
    }

    @Test func `nothing is done beside the requests while the last member is absent`() {
        let set = filled(copies: 1)
        set.add(1)
        set.engine.beginScrub()
        set.submit(.write, 0..<1)
        set.step(fails: true)
        #expect(!set.advance())
        set.markCompleted()
        #expect(set.inFlight.isEmpty && set.decisions == [])
        set.comeBackAsLast(0)
        set.run()
        set.finishBackground()
        #expect(set.active.count == 2)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `the only source fails while a promotion is recorded, and both end up equal`() throws
    {
        for landed in [0, 3, 6, 8, 100] {
            let set = filled(copies: 1)
            set.add(1)
            while set.decisions.isEmpty {
                set.advance()
                set.run()
            }
            let token = set.submit(.write, 0..<2)
            set.step(try #require(set.inFlight.firstIndex { $0.member.number == 1 }))
            set.failNext(on: 0, landed: landed)
            set.record()
            // (Member 0 is asked as well, and fails once more.)
            while let operation = set.inFlight.first {
                set.step(fails: set.dead.contains(operation.member))
            }
            set.run(recording: true)
            #expect(set.outcome(token) == .done)
            #expect(set.phase == .serving)
            set.checkAtRest()
            #expect(set.violations == [], "after \(landed) stores")
        }
    }

    @Test func `a change that failed does not stay on one of two members`() throws {
        let set = filled(copies: 1)
        set.add(1)
        while set.decisions.isEmpty {
            set.advance()
            set.run()
        }
        let token = set.submit(.write, 20..<22)
        set.step(try #require(set.inFlight.firstIndex { $0.member.number == 1 }))
        set.failNext(on: 0)
        set.mayFail = true
        set.tick(ModelSet.patience)
        #expect(set.outcome(token) == .failed)
        set.record()
        set.comeBackAsLast(0)
        set.run(recording: true)
        #expect(set.phase == .serving)
        // Member 1 holds all there is to hold: it goes on alone, and member 0 misses the change.
        #expect(set.active == MemberSet(MemberIndex(1)))
        #expect(set.registry.active == MemberSet(MemberIndex(1)))
        #expect(set.engine.mapContent(of: MemberIndex(0)).words.contains { $0 != 0 })
    }

    @Test func `nor when the last member is back before the promotion is recorded`() throws {
        let set = filled(copies: 1)
        set.add(1)
        while set.decisions.isEmpty {
            set.advance()
            set.run()
        }
        let token = set.submit(.write, 20..<22)
        set.step(try #require(set.inFlight.firstIndex { $0.member.number == 1 }))
        set.failNext(on: 0)
        set.mayFail = true
        set.tick(ModelSet.patience)
        #expect(set.outcome(token) == .failed)
        set.comeBackAsLast(0)
        let next = set.submit(.write, 0..<1)
        set.run()
        // Nothing is written while the registry may call member 1 active.
        #expect(set.outcome(next) == nil)
        set.run(recording: true)
        #expect(set.outcome(next) == .done)
        #expect(set.active == MemberSet(MemberIndex(0)))
        #expect(set.registry.active == MemberSet(MemberIndex(0)))
    }

    // MARK: Cuts

    @Test func `those left by a cut all failed meanwhile: one of them is the last, and absent`() {
        let set = filled(copies: 2)
        #expect(set.beginCut(1))
        let moment = set.settled
        let held = set.submit(.write, 20..<21)
        let read = set.submit(.read, 0..<8)
        set.failNext(on: 0)
        set.run()
        #expect(set.outcome(read) == .done)
        set.record()
        #expect(set.active == MemberSet(MemberIndex(0)) && set.absent == set.active)
        set.comeBackAsLast(0)
        set.run(recording: true)
        #expect(set.outcome(held) == .done)
        #expect(set.content(of: MemberIndex(1), set.whole) == moment)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `of those left by a cut, one whose memory is there becomes the last`() {
        let set = filled(copies: 3)
        #expect(set.beginCut(2))
        set.lose(MemberIndex(0))
        set.submit(.read, 0..<8)
        set.failNext(on: 1)
        set.run()
        set.record()
        #expect(set.absent == MemberSet(MemberIndex(1)))
    }
}
