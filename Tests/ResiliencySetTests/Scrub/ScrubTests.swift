// A scrub finds what differs, says where, and disturbs nobody.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct ScrubTests {
    private func filled(copies: Int) -> ModelSet {
        let set = ModelSet(copies: copies)
        for start in stride(from: 0, to: 256, by: 16) { set.submit(.write, start..<start + 16) }
        set.run()
        return set
    }

    private func scrub(_ set: ModelSet) {
        set.engine.beginScrub()
        finish(set)
    }

    private func finish(_ set: ModelSet) {
        var turns = 0
        while set.isScrubbing, turns < 1000 {
            set.advance()
            set.run(recording: true)
            turns += 1
        }
        #expect(turns < 1000)
    }

    @Test(arguments: 1...4)
    func `members that agree are told so`(copies: Int) {
        let set = filled(copies: copies)
        scrub(set)
        #expect(set.scrubStanding.compared == set.size)
        #expect(set.scrubStanding.total == set.size)
        #expect(set.scrubStanding.differentExtents == 0)
        #expect(set.scrubStanding.firstDifference == nil)
        #expect(set.violations == [])
    }

    @Test(arguments: [1, 2], [0, 127, 128, 300, 511])
    func `one flipped cell of one member is found`(member: Int, cell: Int) {
        let set = filled(copies: 3)
        set.memories[MemberIndex(member)]?.cells[cell] ^= 1
        scrub(set)
        let standing = set.scrubStanding
        #expect(standing.differentExtents == 1)
        #expect(standing.firstDifference == ByteOffset(UInt64(cell / 128) << 18))
        #expect(standing.compared == set.size)
        #expect(set.active.count == 3, "who is wrong is not for a comparison to say")
    }

    @Test func `a flipped cell of the first member differs from all others`() {
        let set = filled(copies: 3)
        set.memories[MemberIndex(0)]?.cells[200] ^= 1
        scrub(set)
        #expect(set.scrubStanding.differentExtents == 2)
        #expect(set.scrubStanding.firstDifference == ByteOffset(1 << 18))
    }

    @Test(arguments: OrderingTests.changes)
    func `a change under way is no difference`(kind: RequestKind) {
        let set = filled(copies: 2)
        let token = set.submit(kind, 0..<8)
        set.step()
        set.engine.beginScrub()
        set.advance()
        #expect(set.inFlight.count == 1, "the comparison waits")
        finish(set)
        #expect(set.outcome(token) == .done)
        #expect(set.scrubStanding.differentExtents == 0)
        #expect(set.violations == [])
    }

    @Test(arguments: [0, 1, 2], 0..<4)
    func `a member that is lost on the way is left out, and all is compared once`(
        lost: Int, after: Int
    ) {
        let set = filled(copies: 3)
        set.engine.beginScrub()
        set.advance()
        for _ in 0..<after {
            set.step()
            set.advance()
        }
        set.lose(MemberIndex(lost))
        while let operation = set.inFlight.first {
            let involved = operation.readsFrom.union(MemberSet(operation.member))
            set.step(fails: involved.contains(MemberIndex(lost)))
        }
        finish(set)
        #expect(set.scrubStanding.compared == set.size)
        #expect(set.scrubStanding.differentExtents == 0)
    }

    @Test func `whose reference was lost is not to blame`() {
        let set = filled(copies: 2)
        set.engine.beginScrub()
        set.advance()
        set.lose(MemberIndex(0))
        set.step(fails: true)
        #expect(set.active == MemberSet(MemberIndex(1)), "the last whole member")
    }

    @Test func `a pass that starts over counts from the start`() {
        let set = filled(copies: 3)
        set.engine.beginScrub()
        set.advance()
        set.engine.beginScrub()
        #expect(set.scrubStanding.compared == .zero)
        finish(set)
        #expect(set.scrubStanding.compared == set.size)
    }

    @Test func `rebuilding members are not compared`() {
        let set = filled(copies: 2)
        set.add(2)
        scrub(set)
        #expect(set.scrubStanding.differentExtents == 0)
        #expect(set.violations == [])
    }
}
