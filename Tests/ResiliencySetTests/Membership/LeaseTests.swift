// Where an old owner may live on, a read is answered when every member has just confirmed this one.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct LeaseTests {
    static let millisecond: UInt64 = 1_000_000

    private func leased(patience: UInt64 = 30_000) -> ModelSet {
        let set = ModelSet(
            copies: 3,
            tuning: ModelSet.tuning {
                $0.patience = patience * Self.millisecond
                $0.evictAfter = 1000 * Self.millisecond
                $0.lease = 500 * Self.millisecond
            })
        set.submit(.write, 0..<8)
        set.run()
        set.tick(1)
        set.run()
        return set
    }

    /// A read whose data is there, 600 ms after the members answered last; member 0 has answered again.
    private func held(patience: UInt64 = 30_000) throws -> (set: ModelSet, read: UInt32) {
        let set = leased(patience: patience)
        set.tick(600 * Self.millisecond)
        let read = set.submit(.read, 0..<4)
        set.step(try position(of: 0, in: set))
        set.step(try position(of: 0, in: set))
        #expect(set.requests[read]?.data.isEmpty == false)
        return (set, read)
    }

    private func position(of member: Int, in set: ModelSet) throws -> Int {
        try #require(set.inFlight.firstIndex { $0.member.number == member })
    }

    @Test func `within the lease a read is answered at once`() {
        let set = leased()
        set.engine.setTime(1 + 500 * Self.millisecond)
        let read = set.submit(.read, 0..<4)
        set.step()
        #expect(set.outcome(read) == .done)
        #expect(set.violations == [])
    }

    @Test(arguments: [[1, 2], [2, 1]])
    func `after it a read is held until all members confirm`(order: [Int]) throws {
        let (set, read) = try held()
        for member in order {
            #expect(set.outcome(read) == nil)
            set.step(try position(of: member, in: set))
        }
        #expect(set.outcome(read) == .done)
        set.run()
        #expect(set.isQuiet)
        #expect(set.violations == [])
    }

    @Test func `an answer that took longer than the lease confirms nothing`() throws {
        let (set, read) = try held()
        // Members 1 and 2 answer what they were asked at 600 ms, but only now.
        set.tick(1101 * Self.millisecond)
        set.run()
        #expect(set.outcome(read) == nil)
        set.tick(1352 * Self.millisecond)
        #expect(set.outcome(read) == nil)
        set.run()
        #expect(set.outcome(read) == .done)
        #expect(set.violations == [])
    }

    @Test func `an owner that one member refuses answers nothing any more`() throws {
        let (set, read) = try held()
        set.mayFail = true
        let probe = set.inFlight.remove(at: try position(of: 2, in: set))
        set.engine.complete(probe.ticket, on: probe.member, .fenced)
        set.take()
        #expect(set.outcome(read) == .failed)
        #expect(set.phase == .fenced)
        let later = set.submit(.read, 0..<1)
        #expect(set.outcome(later) == .failed)
        #expect(set.violations == [])
    }

    @Test func `a member that does not confirm is failed, then the read is answered`() throws {
        let (set, read) = try held()
        while let index = set.inFlight.firstIndex(where: { $0.member.number != 2 }) {
            set.step(index)
        }
        set.tick(1350 * Self.millisecond)
        #expect(set.disconnected == MemberSet(MemberIndex(2)))
        set.run()
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(2)))])
        #expect(set.outcome(read) == nil, "another owner may have recorded something else")
        set.record()
        set.run()
        #expect(set.outcome(read) == .done)
        #expect(set.violations == [])
    }

    @Test func `a read that is not confirmed in time fails`() throws {
        let (set, read) = try held(patience: 200)
        set.tick(799 * Self.millisecond)
        #expect(set.outcome(read) == nil)
        set.mayFail = true
        set.tick(800 * Self.millisecond)
        #expect(set.outcome(read) == .failed)
        #expect(set.violations == [])
    }

    @Test(arguments: OrderingTests.changes)
    func `a change needs no other confirmation than its own`(kind: RequestKind) {
        let set = leased()
        set.engine.setTime(600 * Self.millisecond)
        let token = set.submit(kind, 0..<4)
        set.run()
        #expect(set.outcome(token) == .done)
        let read = set.submit(.read, 0..<4)
        set.step()
        #expect(set.outcome(read) == .done, "all members have just answered")
        #expect(set.violations == [])
    }
}
