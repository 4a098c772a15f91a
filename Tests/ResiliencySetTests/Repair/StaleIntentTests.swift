// An intent may outlive its multi-write by far: slots are marked only when idle. Whatever happened to the
// set meanwhile, a stale intent must not bring back what it once changed.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct StaleIntentTests {
    /// Leaves the intent of a complete change of block 40 in slot 1, then overwrites that block, with an
    /// intent that is soon gone from slot 0.
    private func setWithStaleIntent(of kind: RequestKind) -> ModelSet {
        let set = ModelSet(copies: 2)
        set.submit(.write, 0..<1)
        set.submit(kind, 40..<42)
        set.run()
        set.submit(.write, 40..<41)
        set.run()
        for _ in 0..<3 {
            set.submit(.write, 0..<1)
            set.run()
        }
        return set
    }

    @Test(arguments: OrderingTests.changes)
    func `it has nothing to say on its own`(kind: RequestKind) {
        let set = setWithStaleIntent(of: kind)
        set.restart()
        set.run()
        set.adopt()
        #expect(set.violations == [])
    }

    @Test(arguments: OrderingTests.changes, [false, true])
    func `nor when a member joined since, which never saw it`(kind: RequestKind, busy: Bool) {
        let set = setWithStaleIntent(of: kind)
        set.add(2)
        while set.active.count < 3 {
            set.advance()
            set.run(recording: true)
        }
        if busy { set.submit(.write, 0..<1) }
        set.restart()
        set.run()
        set.adopt()
        #expect(set.violations == [])
    }

    @Test(arguments: OrderingTests.changes, [0, 1])
    func `nor when members left since`(kind: RequestKind, lost: Int) {
        let set = setWithStaleIntent(of: kind)
        set.add(2)
        while set.active.count < 3 {
            set.advance()
            set.run(recording: true)
        }
        set.lose(MemberIndex(lost))
        set.run(recording: true)
        set.restart()
        set.run()
        set.adopt()
        #expect(set.violations == [])
    }
}
