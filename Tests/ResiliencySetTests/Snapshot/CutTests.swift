// A cut holds writes, drains, is recorded, and lets go: the removed region is a moment of the device.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct CutTests {
    @Test(arguments: Ordering.allCases)
    func `it holds every acknowledged write and none that came later`(ordering: Ordering) {
        let set = ModelSet(copies: 3, ordering: ordering)
        let early = set.submit(.write, 0..<2)
        let running = set.submit(.write, 10..<12)
        set.step()
        #expect(set.beginCut(1))
        let held = set.submit(.write, 20..<21)
        let overlapping = set.submit(.write, 1..<3)
        #expect(set.isCutting(1))
        #expect(set.decisions.isEmpty, "it drains first")
        set.run()
        #expect(set.outcome(early) == .done && set.outcome(running) == .done)
        #expect(set.outcome(held) == nil && set.outcome(overlapping) == nil)
        #expect(set.decisions == [.cut(MemberIndex(1))])
        let moment = set.settled
        let read = set.submit(.read, 10..<12)
        set.run()
        #expect(set.outcome(read) == .done, "reads go on")
        set.record()
        set.run()
        #expect(set.outcome(held) == .done && set.outcome(overlapping) == .done)
        #expect(set.content(of: MemberIndex(1), set.whole) == moment)
        #expect(set.active == MemberSet([MemberIndex(0), MemberIndex(2)]))
        #expect(!set.isCutting(1))
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test(arguments: OrderingTests.changes)
    func `an idle set is cut at once, and holds every kind of change`(kind: RequestKind) {
        let set = ModelSet(copies: 2)
        #expect(set.beginCut(0))
        #expect(set.decisions == [.cut(MemberIndex(0))])
        let token = set.submit(kind, 0..<1)
        #expect(set.inFlight.isEmpty)
        set.record()
        set.run()
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test func `what cannot be cut is refused`() {
        let set = ModelSet(copies: 2)
        #expect(!set.beginCut(5))
        set.add(2)
        #expect(!set.beginCut(2), "a rebuilding member is not whole")
        #expect(set.beginCut(0))
        #expect(!set.beginCut(0))
        #expect(!set.beginCut(1), "one at a time")
        set.record()
        #expect(!set.beginCut(0), "it is gone")
        #expect(!set.beginCut(1), "the last one is not cut")
        let unrepaired = ModelSet(copies: 3, repaired: false)
        #expect(!unrepaired.beginCut(1))
        #expect(set.violations == [] && set.decisions == [])
    }

    @Test func `a refused cut changes nothing and lets go`() {
        let set = ModelSet(copies: 2)
        #expect(set.beginCut(1))
        let token = set.submit(.write, 0..<1)
        set.decisions = []
        set.engine.cutRefused()
        set.take()
        set.run()
        #expect(set.outcome(token) == .done)
        #expect(set.active.count == 2)
        #expect(set.beginCut(1), "it can be asked for again")
        #expect(set.violations == [])
    }

    @Test(arguments: [0, 1], Ordering.allCases)
    func `a failure during the drain comes first`(failing: Int, ordering: Ordering) {
        let set = ModelSet(copies: 3, ordering: ordering)
        let token = set.submit(.write, 0..<1)
        #expect(set.beginCut(1))
        let held = set.submit(.write, 5..<6)
        while let operation = set.inFlight.first {
            set.step(fails: operation.member.number == failing)
        }
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(failing)))])
        #expect(set.outcome(token) == nil)
        set.record()
        #expect(set.outcome(token) == .done)
        if failing == 1 {
            #expect(!set.isCutting(1), "a member that missed writes is no snapshot")
        } else {
            #expect(set.decisions == [.cut(MemberIndex(1))])
        }
        set.run(recording: true)
        #expect(set.outcome(held) == .done)
        #expect(set.registry.cut.contains(MemberIndex(1)) == (failing == 0))
        #expect(set.violations == [])
    }

    @Test func `a failure that leaves only the member to cut ends the cut`() {
        let set = ModelSet(copies: 2)
        let token = set.submit(.write, 0..<1)
        #expect(set.beginCut(1))
        let held = set.submit(.write, 5..<6)
        set.step(fails: true)
        set.run(recording: true)
        #expect(set.outcome(token) == .done && set.outcome(held) == .done)
        #expect(set.active == MemberSet(MemberIndex(1)))
        #expect(set.registry.cut.isEmpty)
        #expect(set.violations == [])
    }

    /// A set whose promotion of member 2 is being recorded while a cut of member 0 is ready.
    private func readyBehindAPromotion() -> ModelSet {
        let set = ModelSet(copies: 2)
        set.add(2)
        while set.decisions.isEmpty {
            set.advance()
            set.run()
        }
        #expect(set.decisions == [.promote(MemberIndex(2))])
        #expect(set.beginCut(0))
        #expect(set.decisions.count == 1, "one at a time")
        return set
    }

    @Test func `a cut that waits for another record comes next`() {
        let set = readyBehindAPromotion()
        set.record()
        #expect(set.decisions == [.cut(MemberIndex(0))])
        set.record()
        #expect(set.active == MemberSet([MemberIndex(1), MemberIndex(2)]))
        #expect(set.violations == [])
    }

    @Test func `a member that fails while its cut waits for another record is not cut`() {
        let set = readyBehindAPromotion()
        let held = set.submit(.write, 0..<1)
        set.lose(MemberIndex(0))
        set.run(recording: true)
        #expect(set.registry.cut.isEmpty)
        #expect(set.outcome(held) == .done)
        #expect(set.violations == [])
    }

    @Test func `the last member is not cut when the others fail while the cut waits`() {
        let set = readyBehindAPromotion()
        set.lose(MemberIndex(1))
        set.lose(MemberIndex(2))
        set.run(recording: true)
        #expect(set.active == MemberSet(MemberIndex(0)))
        #expect(set.registry.cut.isEmpty)
        #expect(set.violations == [])
    }
}
