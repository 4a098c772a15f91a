// The set as a whole: below its minimum of members, and after another owner has it.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct ResiliencySetTests {
    @Test(arguments: RangeLockTests.kinds)
    func `without members a request waits, and fails after the bounded wait`(kind: RequestKind) {
        let set = ModelSet(copies: 1)
        set.tick(500)
        set.lose(MemberIndex(0))
        set.record()
        let token = set.submit(kind, 0..<1)
        #expect(set.inFlight.isEmpty)
        set.tick(500 + ModelSet.patience - 1)
        #expect(set.outcome(token) == nil)
        set.mayFail = true
        set.tick(500 + ModelSet.patience)
        #expect(set.outcome(token) == .failed)
        #expect(set.isQuiet)
        #expect(set.violations == [])
    }

    @Test func `with a member nothing fails however long it takes`() {
        let set = ModelSet(copies: 2)
        let token = set.submit(.write, 0..<1)
        let waiting = set.submit(.read, 0..<1)
        set.tick(.max / 2)
        #expect(set.outcome(token) == nil)
        set.run()
        #expect(set.outcome(waiting) == .done)
        #expect(set.violations == [])
    }

    @Test func `requests that wait behind one another all fail in the same tick`() {
        let set = ModelSet(copies: 1)
        set.add(1)
        set.submit(.write, 0..<1)
        // A copy that waits for the write is between them when they fail.
        set.advance()
        for _ in 0..<20 { set.submit(.write, 0..<1) }
        set.step(fails: true)
        set.mayFail = true
        set.tick(ModelSet.patience)
        #expect(set.replied == Array(0..<21))
        #expect(set.violations == [])
    }

    @Test func `requests wait for the repair`() {
        let set = ModelSet(copies: 3)
        set.submit(.write, 0..<4)
        set.step()
        set.restart()
        let read = set.submit(.read, 0..<4)
        let write = set.submit(.write, 100..<101)
        #expect(set.phase == .repairing)
        #expect(set.inFlight.allSatisfy { $0.isChange && $0.range == ModelSet.range(0..<4) })
        set.requests[read]?.expected = set.content(of: MemberIndex(0), ModelSet.range(0..<4))
        set.run()
        #expect(set.outcome(read) == .done && set.outcome(write) == .done)
        #expect(set.phase == .serving)
        #expect(set.violations == [])
    }

    @Test(arguments: RangeLockTests.kinds)
    func `a fenced set fails everything and touches nothing`(kind: RequestKind) {
        let set = ModelSet(copies: 3)
        let running = set.submit(kind, 0..<4)
        let waiting = set.submit(.write, 2..<6)
        let late = set.inFlight
        set.fence()
        #expect(set.outcome(running) == .failed)
        #expect(set.outcome(waiting) == .failed)
        for operation in late {
            set.engine.complete(operation.ticket, on: operation.member, .done)
            set.take()
        }
        #expect(set.replied.count == 2, "late completions are dropped")
        set.lose(MemberIndex(0))
        set.advance()
        set.markCompleted()
        set.tick(10)
        #expect(set.inFlight.count == late.count)
        #expect(!set.beginCut(1))
        #expect(set.violations == [])
    }

    @Test func `a fenced set fails what is submitted to it later`() {
        let set = ModelSet(copies: 2)
        set.fence()
        let token = set.submit(.read, 0..<1)
        set.tick(.max / 2)
        #expect(set.outcome(token) == .failed)
        #expect(set.hasRoom)
    }

    @Test func `a fence stops a rebuild that waits for a write`() {
        let set = ModelSet(copies: 2)
        set.add(2)
        set.submit(.write, 0..<1)
        set.advance()
        set.fence()
        #expect(set.replied == [0])
        #expect(set.violations == [])
    }

    @Test func `a fence stops a scrub that waits for a write`() {
        let set = ModelSet(copies: 2)
        set.engine.beginScrub()
        set.submit(.write, 0..<1)
        set.advance()
        set.fence()
        #expect(set.replied == [0])
        #expect(set.violations == [])
    }

    @Test func `a fence answers everybody once, also after the target of a copy was lost`() {
        let set = ModelSet(copies: 2)
        set.add(2)
        set.submit(.write, 0..<1)
        set.advance()
        set.lose(MemberIndex(2))
        for _ in 0..<10 { set.submit(.write, 0..<1) }
        set.fence()
        #expect(set.replied == Array(0..<11))
        #expect(set.violations == [])
    }

    @Test func `a fence during a cut asks for nothing to be recorded`() {
        let set = ModelSet(copies: 2)
        set.submit(.write, 0..<1)
        #expect(set.beginCut(1))
        set.fence()
        #expect(set.decisions == [])
    }
}
