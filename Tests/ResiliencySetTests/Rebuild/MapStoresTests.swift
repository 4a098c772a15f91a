// What a member misses stands in the regions of the survivors: before the registry hears of the failure,
// and from then on before the data that makes it true.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct MapStoresTests {
    /// A set full of data whose dirty maps are stored only when a test says so.
    private func filled(copies: Int = 3, ordering: Ordering = .parallel) -> ModelSet {
        let set = ModelSet(copies: copies, ordering: ordering)
        for start in stride(from: 0, to: 256, by: 16) { set.submit(.write, start..<start + 16) }
        set.run()
        // The slots name extent 0 from now on: what a member's own slots name it is given when it is back.
        for block in 0..<16 { set.submit(.write, block..<block + 1) }
        set.run()
        set.storesMaps = false
        return set
    }

    @Test(arguments: [[0, 1], [1, 0]])
    func `every survivor has the map before the failure is recorded`(order: [Int]) throws {
        let set = filled()
        let token = set.submit(.write, 70..<71)
        set.failNext(on: 2)
        set.step()
        set.step()
        #expect(set.inFlight.allSatisfy { $0.isMapStore })
        for number in order {
            #expect(set.decisions == [])
            set.step(try #require(set.inFlight.firstIndex { $0.member.number == number }))
        }
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(2)))])
        for survivor in 0..<2 { #expect(set.storedMap(of: 2, on: survivor) == [0b10]) }
        #expect(set.outcome(token) == nil)
        set.record()
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test(arguments: [0, 1])
    func `a survivor that fails while it stores a map is recorded together with the first`(
        second: Int
    ) {
        let set = filled()
        let token = set.submit(.write, 70..<71)
        set.failNext(on: 2)
        set.step()
        set.step()
        set.failNext(on: second)
        set.run()
        #expect(set.decisions == [.fail(MemberSet([MemberIndex(second), MemberIndex(2)]))])
        #expect(
            set.storedMap(of: second, on: 1 - second) == [0b10], "it may miss what was in flight")
        #expect(set.outcome(token) == nil)
        set.record()
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test(arguments: OrderingTests.changes)
    func `the first change of an extent marks it on the way, later ones do not`(kind: RequestKind) {
        let set = filled()
        set.failAndRecord(2, writing: 70..<71)
        let cases: [(Range<Int>, Bool)] = [
            (70..<72, false), (0..<1, true), (1..<2, false), (60..<66, false), (120..<130, true),
            (130..<131, false), (0..<192, false), (0..<193, true), (0..<256, false),
        ]
        for (blocks, marks) in cases {
            set.submit(kind, blocks)
            #expect(set.inFlight.count == 2)
            for operation in set.inFlight {
                #expect(
                    operation.marks == (marks ? MemberSet(MemberIndex(2)) : MemberSet()),
                    "\(blocks)")
            }
            set.run()
        }
        for survivor in 0..<2 { #expect(set.storedMap(of: 2, on: survivor) == [0b1111]) }
        #expect(set.violations == [])
    }

    @Test(arguments: OrderingTests.changes, [nil, 0, 1])
    func `a client device that dies anywhere in a first change leaves maps that say enough`(
        kind: RequestKind, lost: Int?
    ) {
        var stores = 0
        var goesOn = true
        while goesOn {
            let set = filled()
            set.storesMaps = true
            set.failAndRecord(2, writing: 0..<1)
            set.submit(kind, 100..<102)
            goesOn = set.run(stores: stores)
            set.restart(without: lost.map { MemberSet(MemberIndex($0)) } ?? MemberSet())
            set.run(recording: true)
            set.adopt(mayTear: lost != nil)
            for member in [2, lost].compactMap({ $0 }) { set.comeBack(member) }
            let missing = [2, lost].compactMap { $0 }.map { set.rebuildStanding(of: $0)?.missing }
            #expect(missing.allSatisfy { $0.map { $0 < set.size } ?? true }, "only a part")
            set.finishBackground()
            #expect(set.active.count == 3)
            set.checkAtRest()
            #expect(set.violations == [], "after \(stores) stores")
            stores += 1
        }
        #expect(stores > 20)
    }

    // MARK: Rebuilds

    /// A set of four, of which 3 misses extents 0 and 1, and 2 is back and was just given the same.
    private func nearlyWhole() -> ModelSet {
        let set = filled(copies: 4)
        set.failAndRecord(3, writing: 0..<1)
        set.failAndRecord(2, writing: 70..<71)
        set.comeBack(2)
        for _ in 0..<2 {
            set.run()
            set.advance()
            set.step()
        }
        return set
    }

    @Test func `a member is promoted when it has the maps of all others`() {
        let set = nearlyWhole()
        #expect(set.rebuildStanding(of: 2)?.missing == .zero)
        #expect(set.decisions == [], "it would not know what member 3 misses")
        set.run()
        #expect(set.storedMap(of: 3, on: 2) == [0b11])
        #expect(set.decisions == [.promote(MemberIndex(2))])
        set.run(recording: true)
        // The last one that knows: the others are gone.
        set.lose(MemberIndex(0))
        set.lose(MemberIndex(1))
        set.run(recording: true)
        set.storesMaps = true
        set.restart()
        set.run(recording: true)
        set.comeBack(3)
        #expect(set.rebuildStanding(of: 3)?.missing == .kibibytes(512))
        set.finishBackground()
        #expect(set.active == MemberSet([MemberIndex(2), MemberIndex(3)]))
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a member that fails while it is given the maps is not promoted`() {
        let set = nearlyWhole()
        set.failNext(on: 2)
        set.run()
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(2)))])
        #expect(!set.rebuilding.contains(MemberIndex(2)))
        #expect(set.violations == [])
    }

    @Test func `the bit of a copied extent is cleared afterwards`() {
        let set = filled()
        set.failAndRecord(2, writing: 60..<70)
        set.comeBack(2)
        set.run()
        #expect(set.storedMap(of: 2, on: 0) == [0b11])
        set.advance()
        #expect(set.storedMap(of: 2, on: 0) == [0b11])
        set.run()
        #expect(set.storedMap(of: 2, on: 0) == [0b10])
        #expect(set.storedMap(of: 2, on: 1) == [0b10])
    }

    @Test(arguments: 0...4)
    func `after a takeover a rebuild goes on where it stood`(copied: Int) {
        let set = filled(copies: 2)
        set.storesMaps = true
        set.add(2)
        for _ in 0..<copied {
            set.advance()
            set.run()
        }
        set.submit(.write, 0..<1)
        set.run()
        set.restart()
        set.run()
        set.adopt()
        set.comeBack(2)
        // (Extent 0 is copied again: the slots of all members name it as not certainly complete.)
        let missing = ByteCount.kibibytes(256 * UInt64(copied == 0 ? 4 : 5 - copied))
        #expect(set.rebuildStanding(of: 2)?.missing == missing)
        set.finishBackground()
        #expect(set.active.count == 3)
        set.checkAtRest()
        #expect(set.violations == [])
    }
}
