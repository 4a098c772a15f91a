// Who comes back is given what it missed: no less, and not much more.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct DirtyMapsTests {
    private func filled(copies: Int = 3) -> ModelSet {
        let set = ModelSet(copies: copies)
        for start in stride(from: 0, to: 256, by: 16) { set.submit(.write, start..<start + 16) }
        set.run()
        set.markCompleted()
        set.run()
        return set
    }

    /// Forgets whatever the last writes left in the members' slots.
    private func rest(_ set: ModelSet) {
        set.markCompleted()
        set.run()
    }

    /// The extents that are copied until nothing is missing.
    private func copied(_ set: ModelSet) -> [ByteRange] {
        var ranges: [ByteRange] = []
        for _ in 0..<100 {
            guard set.advance() else { break }
            for operation in set.inFlight {
                if case .copy(let range, _) = operation.action { ranges.append(range) }
            }
            set.run(recording: true)
        }
        return ranges
    }

    @Test(arguments: OrderingTests.changes)
    func `a member that was away is given what was changed meanwhile`(kind: RequestKind) {
        let set = filled()
        set.failAndRecord(2, writing: 0..<1)
        rest(set)
        #expect(set.knowsDirtyMap(of: 2))
        set.submit(kind, 130..<140)
        set.run()
        let memory = set.memories[MemberIndex(2)]
        // Member 2's own slots name what it was last told to write: nothing that is not complete.
        set.memories[MemberIndex(2)] = ModelMemory(size: set.size)
        set.memories[MemberIndex(2)]?.cells = memory?.cells ?? []
        set.comeBack(2)
        #expect(set.rebuildStanding(of: 2)?.missing == .kibibytes(512))
        #expect(copied(set) == [ModelSet.range(0..<64), ModelSet.range(128..<192)])
        #expect(set.active.count == 3)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `what its own intents name is given too`() {
        let set = filled()
        // A write that reaches nobody but member 2, before the client device dies.
        set.submit(.write, 200..<201)
        set.store(set.inFlight[2])
        set.restart(without: MemberSet(MemberIndex(2)))
        set.run(recording: true)
        set.adopt()
        set.comeBack(2)
        set.finishBackground()
        #expect(set.active.count == 3)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a member lost at a takeover misses what was in flight`() {
        let set = filled()
        set.submit(.write, 200..<201)
        set.store(set.inFlight[0])
        set.restart(without: MemberSet(MemberIndex(2)))
        set.run(recording: true)
        set.adopt()
        #expect(set.storedMap(of: 2, on: 0)?.first.map { $0 & 0b1000 } == 0b1000)
        set.comeBack(2)
        set.finishBackground()
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `an empty member is copied whole, whatever was known of its place`() {
        let set = filled()
        set.failAndRecord(2, writing: 0..<1)
        set.add(2)
        #expect(set.rebuildStanding(of: 2)?.missing == set.size)
        set.finishBackground()
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a member of whose misses nothing is known is copied whole`() {
        let set = filled()
        set.failAndRecord(2, writing: 0..<1)
        // An owner that finds no map.
        for member in 0..<2 { set.memories[MemberIndex(member)]?.maps = [:] }
        set.restart()
        set.run(recording: true)
        #expect(!set.knowsDirtyMap(of: 2))
        set.comeBack(2)
        #expect(set.rebuildStanding(of: 2)?.missing == set.size)
    }

    @Test func `nor does a last copy of a dead appliance, once there is another`() {
        let set = filled(copies: 1)
        set.lose(MemberIndex(0), isAccessible: true)
        set.add(1)
        set.finishBackground()
        #expect(set.active == MemberSet(MemberIndex(1)))
        let isKnown = set.engine.knowsDirtyMap(of: MemberIndex(0))
        #expect(!isKnown)
        #expect(set.violations == [])
    }

    @Test func `a member whose memory is gone leaves no map`() {
        let set = filled()
        set.lose(MemberIndex(2))
        set.run(recording: true)
        #expect(!set.knowsDirtyMap(of: 2))
        #expect(set.storedMap(of: 2, on: 0) == nil)
        set.submit(.write, 0..<1)
        #expect(set.inFlight.allSatisfy { $0.marks.isEmpty })
    }

    @Test func `what any region says is missing is missing`() {
        let set = ModelSet(copies: 2, repaired: false)
        set.memories[MemberIndex(2)] = ModelMemory(size: set.size)
        for word in [0b0001, 0b0100] as [UInt64] {
            set.engine.foundMap(
                DirtyMapContent(extentSize: .kibibytes(256), words: [word]), of: MemberIndex(2))
        }
        set.engine.repair()
        set.take()
        for member in 0..<2 { #expect(set.storedMap(of: 2, on: member) == [0b0101]) }
        set.comeBack(2)
        #expect(copied(set) == [ModelSet.range(0..<64), ModelSet.range(128..<192)])
        #expect(set.active.count == 3)
    }

    @Test func `two members that are away both miss every change`() {
        let set = filled(copies: 4)
        set.failAndRecord(2, writing: 0..<1)
        set.failAndRecord(3, writing: 70..<71)
        set.submit(.write, 200..<201)
        #expect(
            set.inFlight.allSatisfy { $0.marks == MemberSet([MemberIndex(2), MemberIndex(3)]) })
        set.run()
        for member in 0..<2 {
            #expect(set.storedMap(of: 2, on: member) == [0b1011])
            #expect(set.storedMap(of: 3, on: member) == [0b1010])
        }
        set.comeBack(3)
        set.comeBack(2)
        set.finishBackground()
        #expect(set.active.count == 4)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test(arguments: 0..<3)
    func `a member that fails again while it is rebuilt keeps what it still missed`(copied: Int) {
        let set = filled()
        set.failAndRecord(2, writing: 0..<256)
        set.comeBack(2)
        for _ in 0..<copied + 1 {
            set.advance()
            set.run()
        }
        set.failAndRecord(2, writing: 10..<11)
        let left = UInt64(0b1111) << UInt64(copied + 1) & 0b1111 | 0b1
        #expect(set.storedMap(of: 2, on: 0) == [left])
        set.comeBack(2)
        set.finishBackground()
        #expect(set.active.count == 3)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a change that only a rebuilding member took is missing there again`() throws {
        let set = filled(copies: 1)
        set.add(1)
        set.advance()
        set.run()
        #expect(set.rebuildStanding(of: 1)?.missing == .kibibytes(768))
        let token = set.submit(.write, 0..<1)
        set.step(try #require(set.inFlight.firstIndex { $0.member.number == 1 }))
        set.failNext(on: 0)
        #expect(set.rebuildStanding(of: 1)?.missing == set.size)
        set.mayFail = true
        set.tick(ModelSet.patience)
        #expect(set.outcome(token) == .failed)
        set.comeBackAsLast(0)
        set.run()
        set.adopt()
        set.finishBackground()
        #expect(set.active.count == 2)
        set.checkAtRest()
        #expect(set.violations == [])
    }
}
