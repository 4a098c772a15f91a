// Members that are late are read around; members that are silent are cut off, then failed.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct LivenessTests {
    static let millisecond: UInt64 = 1_000_000

    /// A set whose members are given up after a second, and probed just now.
    private func watched(copies: Int = 3, hedgeFloor: UInt64 = 100_000) -> ModelSet {
        let set = ModelSet(
            copies: copies,
            tuning: ModelSet.tuning {
                $0.patience = 30_000 * Self.millisecond
                $0.evictAfter = 1000 * Self.millisecond
                $0.hedgeFloor = hedgeFloor
            })
        set.submit(.write, 0..<8)
        set.run()
        set.tick(1)
        set.run()
        return set
    }

    private func position(of member: Int, in set: ModelSet) throws -> Int {
        try #require(set.inFlight.firstIndex { $0.member.number == member })
    }

    // MARK: Late

    @Test func `a late read is asked of another member, and the first answer counts`() throws {
        let set = watched()
        let read = set.submit(.read, 0..<4)
        set.tick(1 + 999_999)
        #expect(set.inFlight.map(\.member.number) == [0])
        set.tick(1 + 1_000_000)
        #expect(set.inFlight.map(\.member.number) == [0, 1])
        #expect(set.suspects == MemberSet(MemberIndex(0)))
        set.step(1)
        #expect(set.outcome(read) == .done)
        // Who is suspect is not asked first, until it answers anything at all.
        let second = set.submit(.read, 0..<4)
        #expect(set.inFlight.map(\.member.number) == [0, 1])
        set.step(0)
        #expect(set.outcome(second) == nil)
        #expect(set.suspects.isEmpty)
        set.submit(.read, 0..<4)
        #expect(set.inFlight.map(\.member.number) == [1, 0])
        set.run()
        #expect(set.replied.count == 4, "each once, with the write")
        #expect(set.active.count == 3 && set.decisions == [])
        #expect(set.violations == [])
    }

    @Test func `the late member's own answer counts when it comes first`() throws {
        let set = watched()
        let read = set.submit(.read, 0..<4)
        set.tick(2 * Self.millisecond)
        set.step(try position(of: 0, in: set))
        #expect(set.outcome(read) == .done)
        #expect(set.suspects.isEmpty)
        set.run()
        #expect(set.replied.count == 2)
        #expect(set.violations == [])
    }

    @Test(arguments: [0, 1])
    func `a read asked of two goes on with one when the other fails`(failing: Int) throws {
        let set = watched()
        let read = set.submit(.read, 0..<4)
        set.tick(2 * Self.millisecond)
        set.failNext(on: failing)
        #expect(set.outcome(read) == nil)
        let reads = set.inFlight.filter { !$0.isMapStore }
        #expect(reads.map(\.member.number) == [1 - failing], "nobody else is asked")
        set.run()
        #expect(set.outcome(read) == .done)
        #expect(set.violations == [])
    }

    @Test func `two are asked at most, and nobody when all others are late too`() {
        let set = watched()
        set.submit(.read, 0..<4)
        for time in 1...20 as ClosedRange<UInt64> { set.tick(time * 10 * Self.millisecond) }
        #expect(set.inFlight.map(\.member.number) == [0, 1])
        let alone = watched(copies: 1)
        alone.submit(.read, 0..<4)
        alone.tick(10 * Self.millisecond)
        #expect(alone.inFlight.count == 1)
    }

    @Test func `without a floor nothing is asked twice`() {
        let set = watched(hedgeFloor: 0)
        set.submit(.read, 0..<4)
        set.tick(200 * Self.millisecond)
        #expect(set.inFlight.map(\.member.number) == [0])
    }

    // MARK: Silent

    @Test func `every member is probed four times in the time after which it is given up`() {
        let set = watched()
        var probes = [0, 0, 0]
        for time in 1...100 as ClosedRange<UInt64> {
            set.tick(1 + time * 10 * Self.millisecond)
            for operation in set.inFlight { probes[operation.member.number] += 1 }
            set.run()
        }
        #expect(probes == [4, 4, 4])
    }

    @Test func `a probe on its way is not sent again`() {
        let set = watched()
        for time in 26...80 as ClosedRange<UInt64> { set.tick(time * 10 * Self.millisecond) }
        #expect(set.inFlight.map(\.member.number) == [0, 1, 2])
    }

    /// A set in which member 2 owes an answer to a probe and a write, and 0 and 1 have answered.
    private func silent(copies: Int = 3) -> (set: ModelSet, write: UInt32) {
        let set = watched(copies: copies)
        set.tick(260 * Self.millisecond)
        let write = set.submit(.write, 0..<4)
        while let position = set.nextPositions.first(where: {
            set.inFlight[$0].member.number != copies - 1
        }) {
            set.step(position)
        }
        return (set, write)
    }

    @Test func `a silent member is cut off, and what waited for it ends`() {
        let (set, write) = silent()
        set.tick(1009 * Self.millisecond)
        #expect(set.disconnected.isEmpty && set.active.count == 3)
        set.tick(1010 * Self.millisecond)
        #expect(set.disconnected == MemberSet(MemberIndex(2)))
        #expect(set.active == MemberSet([MemberIndex(0), MemberIndex(1)]))
        #expect(set.outcome(write) == nil)
        set.run()
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(2)))])
        #expect(set.outcome(write) == nil)
        set.record()
        #expect(set.outcome(write) == .done)
        #expect(set.isQuiet)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `the channel is cut before anything builds on the failure`() {
        let (set, _) = silent()
        set.engine.tick(1010 * Self.millisecond)
        var effects: [String] = []
        while let effect = set.engine.nextEffect() {
            switch effect {
            case .disconnect(let member): effects.append("disconnect \(member)")
            case .perform(let operation) where operation.isMapStore:
                effects.append("map on \(operation.member)")
            case .perform, .reply, .record, .encode, .decode, .dropTwin: continue
            }
        }
        #expect(effects == ["disconnect 2", "map on 0", "map on 1"])
    }

    @Test func `an answer to the probe is enough to stay`() throws {
        let (set, write) = silent()
        // (The probe was sent before the write: on an ordered channel its answer comes first.)
        set.step(try position(of: 2, in: set))
        for time in 101...150 as ClosedRange<UInt64> {
            set.tick(time * 10 * Self.millisecond)
            while let index = set.inFlight.firstIndex(where: { $0.isProbe }), set.isNext(index) {
                set.step(index)
            }
        }
        #expect(set.disconnected.isEmpty)
        set.run()
        #expect(set.outcome(write) == .done)
    }

    @Test func `who answers slowly what was asked before the probe is not silent`() throws {
        let set = watched()
        let writes = (0..<6).map { set.submit(.write, $0 * 4..<$0 * 4 + 4) }
        set.tick(260 * Self.millisecond)
        // (The probe stands behind all of them, longer than a silent member is borne.)
        for round in 1...6 as ClosedRange<UInt64> {
            while let position = set.nextPositions.first(where: {
                set.inFlight[$0].member.number != 2
            }) {
                set.step(position)
            }
            set.step(try position(of: 2, in: set))
            set.tick((260 + round * 400) * Self.millisecond)
            #expect(set.disconnected.isEmpty, "after \(round) answers")
        }
        set.run()
        #expect(writes.allSatisfy { set.outcome($0) == .done })
        #expect(set.disconnected.isEmpty && set.active.count == 3)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `the last member is cut off, but waited for`() {
        let (set, write) = silent(copies: 1)
        set.tick(1010 * Self.millisecond)
        #expect(set.disconnected == MemberSet(MemberIndex(0)))
        #expect(set.absent == set.active && set.active.count == 1)
        #expect(set.decisions == [] && set.inFlight.isEmpty)
        set.tick(5000 * Self.millisecond)
        #expect(set.inFlight.isEmpty, "nobody is probed who is away")
        set.comeBackAsLast(0)
        set.run()
        #expect(set.outcome(write) == .done)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a copy from a silent member starts over from another, and its target stays`() {
        let set = watched(copies: 2)
        set.add(2)
        set.tick(260 * Self.millisecond)
        while let index = set.inFlight.firstIndex(where: { $0.member.number != 0 }) {
            set.step(index)
        }
        set.advance()
        set.tick(1010 * Self.millisecond)
        #expect(set.disconnected == MemberSet(MemberIndex(0)))
        #expect(set.rebuilding == MemberSet(MemberIndex(2)))
        // What the transport still does for the old copy is of no interest.
        set.inFlight.removeAll { $0.sourceMember == MemberIndex(0) }
        set.run(recording: true)
        set.finishBackground()
        #expect(set.active == MemberSet([MemberIndex(1), MemberIndex(2)]))
        set.checkAtRest()
        #expect(set.violations == [])
    }
}
