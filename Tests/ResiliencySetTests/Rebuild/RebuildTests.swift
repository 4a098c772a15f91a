// Redundancy comes back beside the running I/O.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct RebuildTests {
    static let extent = 64  // Blocks.

    /// A set of 1 MiB, that is 4 extents, full of data, with one empty member.
    private func started(copies: Int = 2) -> ModelSet {
        let set = ModelSet(copies: copies)
        for start in stride(from: 0, to: 256, by: 16) { set.submit(.write, start..<start + 16) }
        set.run()
        set.add(copies)
        return set
    }

    /// Runs everything to the end.
    private func finish(_ set: ModelSet) {
        var turns = 0
        while set.advance() || !set.inFlight.isEmpty || !set.decisions.isEmpty, turns < 1000 {
            set.run(recording: true)
            turns += 1
        }
        #expect(turns < 1000)
    }

    @Test(arguments: [1, 2, 3])
    func `extent by extent, then recorded, then read`(copies: Int) {
        let set = started(copies: copies)
        let member = MemberIndex(copies)
        for extent in 0..<4 {
            #expect(
                set.rebuildStanding(of: copies)?.missing == .kibibytes(256 * UInt64(4 - extent)))
            #expect(set.advance())
            #expect(set.inFlight.map(\.range) == [ModelSet.range(extent * 64..<extent * 64 + 64)])
            #expect(!set.advance(), "one at a time")
            set.step()
        }
        #expect(set.rebuildStanding(of: copies)?.missing == .zero)
        #expect(set.decisions == [.promote(member)])
        #expect(!set.active.contains(member), "the registry hears of it first")
        set.record()
        #expect(set.active.contains(member) && set.rebuilding.isEmpty)
        #expect(set.rebuildStanding(of: copies) == nil)
        for old in 0..<copies { set.lose(MemberIndex(old)) }
        let read = set.submit(.read, 0..<256)
        set.run(recording: true)
        #expect(set.outcome(read) == .done)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test(arguments: OrderingTests.changes, Ordering.allCases)
    func `changes go to the member as far as it holds any of their extents`(
        kind: RequestKind, ordering: Ordering
    ) {
        let set = ModelSet(copies: 2, ordering: ordering)
        set.add(2)
        set.advance()
        set.run()  // It holds extent 0.
        let cases: [(Range<Int>, Bool)] = [
            (0..<1, true), (63..<64, true), (64..<65, false), (63..<65, true), (60..<200, true),
            (100..<256, false),
        ]
        for (blocks, goes) in cases {
            let token = set.submit(kind, blocks)
            var members = MemberSet()
            while let operation = set.inFlight.first {
                members.insert(operation.member)
                set.step()
            }
            #expect(members.contains(MemberIndex(2)) == goes, "\(blocks)")
            #expect(set.outcome(token) == .done)
        }
        finish(set)
        #expect(set.active.count == 3)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test(arguments: OrderingTests.changes)
    func `a copy and a change of the same extent exclude each other, reads go on`(kind: RequestKind)
    {
        let set = started()
        let before = set.submit(kind, 10..<11)
        #expect(set.advance())
        #expect(set.inFlight.count == 2, "the copy waits for the change")
        let read = set.submit(.read, 20..<21)
        #expect(set.inFlight.count == 3)
        set.run()
        #expect(set.outcome(before) == .done && set.outcome(read) == .done)
        #expect(set.advance())
        let after = set.submit(kind, 70..<71)
        let across = set.submit(kind, 120..<140)
        let elsewhere = set.submit(kind, 200..<201)
        #expect(set.inFlight.first?.range == ModelSet.range(64..<128))
        #expect(set.inFlight.dropFirst().allSatisfy { $0.range == ModelSet.range(200..<201) })
        set.step()
        set.run()
        #expect([after, across, elsewhere].allSatisfy { set.outcome($0) == .done })
        finish(set)
        set.checkAtRest()
        #expect(set.active.count == 3)
        #expect(set.violations == [])
    }

    @Test(arguments: [0, 1, 2], [0, 1, 3])
    func `whoever fails during a copy, no data are wrong`(failing: Int, extent: Int) {
        let set = started()
        for _ in 0..<extent {
            set.advance()
            set.run()
        }
        set.advance()
        set.submit(.write, 0..<200)
        set.lose(MemberIndex(failing))
        while let operation = set.inFlight.first {
            let involved = operation.readsFrom.union(MemberSet(operation.member))
            set.step(fails: involved.contains(MemberIndex(failing)), landed: 5)
        }
        finish(set)
        let read = set.submit(.read, 0..<256)
        set.run(recording: true)
        #expect(set.outcome(read) == .done)
        set.checkAtRest()
        #expect(set.active.contains(MemberIndex(2)) == (failing != 2), "a target is not its source")
        #expect(set.violations == [])
    }

    @Test func `a target that is lost does not hold up anybody`() {
        let set = started()
        let write = set.submit(.write, 0..<1)
        set.advance()
        let other = set.submit(.write, 200..<201)
        set.lose(MemberIndex(2))
        set.run()
        #expect(set.outcome(write) == nil && set.outcome(other) == nil)
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(2)))])
        set.record()
        #expect(set.outcome(write) == .done && set.outcome(other) == .done)
        #expect(set.isQuiet)
        #expect(set.violations == [])
    }

    @Test func `a failed change of the member is recorded before it is acknowledged`() {
        let set = started()
        set.advance()
        set.run()
        let token = set.submit(.write, 0..<1)
        while let operation = set.inFlight.first { set.step(fails: operation.member.number == 2) }
        #expect(set.outcome(token) == nil)
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(2)))])
        set.record()
        #expect(set.outcome(token) == .done)
        #expect(!set.rebuilding.contains(MemberIndex(2)))
        #expect(set.violations == [])
    }

    @Test func `a member that fails while its promotion is recorded is not promoted`() {
        let set = started()
        while set.decisions.isEmpty {
            set.advance()
            set.run()
        }
        set.lose(MemberIndex(2))
        let token = set.submit(.write, 0..<1)
        set.run()
        #expect(set.outcome(token) == nil)
        set.record()
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(2)))])
        #expect(!set.active.contains(MemberIndex(2)))
        set.record()
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test func `writes between the last copy and the record of the promotion reach the member`() {
        let set = started()
        while set.decisions.isEmpty {
            set.advance()
            set.run()
        }
        let early = set.submit(.write, 0..<256)
        set.step()
        set.record()
        set.run()
        #expect(set.outcome(early) == .done)
        set.checkAtRest()
        #expect(set.active.count == 3)
        #expect(set.violations == [])
    }

    @Test func `two members are rebuilt one after the other`() {
        let set = started()
        set.add(3)
        finish(set)
        #expect(set.active.count == 4)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a copy for a lost member is not taken for one of another`() {
        let set = started()
        set.add(3)
        let write = set.submit(.write, 0..<1)
        set.advance()  // Extent 0 for member 2 waits for the write.
        set.lose(MemberIndex(2))
        set.record()
        set.advance()  // An extent for member 3.
        while !set.inFlight.isEmpty {
            set.step()
            set.advance()
        }
        #expect(set.outcome(write) == .done)
        finish(set)
        #expect(set.active.contains(MemberIndex(3)))
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a late copy of an earlier life is not taken for one of the next`() {
        let set = started()
        set.advance()
        let late = set.inFlight
        set.inFlight = []
        set.lose(MemberIndex(2))
        set.run(recording: true)
        set.add(2)
        set.advance()
        let now = set.inFlight
        set.inFlight = []
        for operation in late {
            set.engine.complete(operation.ticket, on: operation.member, .done)
            set.take()
        }
        #expect(
            set.rebuildStanding(of: 2)?.missing == set.size,
            "nothing was copied to this memory")
        set.inFlight = now + set.inFlight
        finish(set)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a rebuild waits while there is nobody to copy from`() {
        let set = started(copies: 1)
        set.lose(MemberIndex(0))
        set.run(recording: true)
        #expect(!set.advance())
        #expect(set.inFlight.isEmpty && set.decisions.isEmpty)
        #expect(set.active.isEmpty, "an unfinished member is never made whole by decree")
    }

    @Test func `every write is answered after a lost target, wherever its copy stood in line`() {
        let set = ModelSet(copies: 3)
        set.add(3)
        let first = set.submit(.write, 0..<1)
        set.advance()
        let second = set.submit(.write, 200..<201)
        set.lose(MemberIndex(3))
        set.run(recording: true)
        #expect(set.outcome(first) == .done)
        #expect(set.outcome(second) == .done)
        #expect(set.isQuiet)
    }
}
