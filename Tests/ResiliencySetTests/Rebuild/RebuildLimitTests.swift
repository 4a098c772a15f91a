// How fast redundancy comes back, and whose first.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct RebuildLimitTests {
    static let millisecond: UInt64 = 1_000_000

    /// A set of 16 extents with an empty member, and a limit of four extents a second.
    private func limited() -> ModelSet {
        let set = ModelSet(
            copies: 1, size: .mebibytes(4),
            tuning: ModelSet.tuning { $0.rebuildRate = .mebibytes(1) })
        set.add(1)
        return set
    }

    /// How many extents are copied without time going on.
    private func copies(_ set: ModelSet) -> Int {
        var count = 0
        while set.advance() {
            count += 1
            set.run()
        }
        return count
    }

    @Test func `as much is copied as the time allows`() {
        let set = limited()
        #expect(copies(set) == 0)
        set.tick(249 * Self.millisecond)
        #expect(copies(set) == 0)
        set.tick(250 * Self.millisecond)
        #expect(copies(set) == 1)
        for turn in 1...8 as ClosedRange<UInt64> {
            set.tick((250 + 50 * turn) * Self.millisecond)
            let done = copies(set)
            #expect(done == (turn == 5 ? 1 : 0))
        }
    }

    @Test func `time in which nothing was copied allows no more than a second's worth`() {
        let set = limited()
        set.tick(60_000 * Self.millisecond)
        #expect(copies(set) == 4)
        #expect(set.rebuildStanding(of: 1)?.missing == .mebibytes(3))
    }

    @Test func `the limit can be lifted and set again`() {
        let set = limited()
        set.tick(60_000 * Self.millisecond)
        set.engine.limitRebuilds(to: .mebibytes(2))
        #expect(copies(set) == 0, "what was saved up is gone")
        set.tick(60_250 * Self.millisecond)
        #expect(copies(set) == 2)
        set.engine.limitRebuilds(to: nil)
        #expect(copies(set) == 14)
        #expect(set.decisions == [.promote(MemberIndex(1))])
    }

    @Test func `an extent larger than a second's worth is copied all the same`() {
        let set = limited()
        set.engine.limitRebuilds(to: .kibibytes(64))
        set.tick(3999 * Self.millisecond)
        #expect(copies(set) == 0)
        set.tick(4000 * Self.millisecond)
        #expect(copies(set) == 1)
    }

    @Test func `a limit does not hold up a scrub`() {
        let set = limited()
        set.engine.beginScrub()
        var turns = 0
        while set.isScrubbing, turns < 100 {
            set.advance()
            set.run()
            turns += 1
        }
        #expect(set.scrubStanding.compared == set.size)
    }

    @Test func `the member that misses least is whole first`() {
        let set = ModelSet(copies: 3)
        set.failAndRecord(2, writing: 0..<65)
        set.lose(MemberIndex(1))
        set.run(recording: true)
        set.add(1)
        set.comeBack(2)
        var targets: [Int] = []
        while set.advance() {
            for operation in set.inFlight {
                if case .copy = operation.action { targets.append(operation.member.number) }
            }
            set.run(recording: true)
        }
        #expect(targets == [2, 2, 1, 1, 1, 1])
        #expect(set.active.count == 3)
        set.checkAtRest()
        #expect(set.violations == [])
    }
}
