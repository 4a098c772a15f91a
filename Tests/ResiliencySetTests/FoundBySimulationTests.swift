// What the simulator found, told again without chance.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct FoundBySimulationTests {
    /// A member failed while its own cut was being recorded: the registry was asked to fail a member that
    /// it no longer had, for ever, and writes waited for that.
    @Test func `a member that fails while it is cut off is failed no more`() throws {
        let set = ModelSet(copies: 3)
        set.submit(.write, 0..<4)
        set.run()
        #expect(set.beginCut(2))
        let held = set.submit(.write, 0..<1)
        #expect(set.decisions == [.cut(MemberIndex(2))])
        // (Member 1 fails, so member 2 is given its map, and fails at that.)
        set.submit(.read, 20..<21)
        set.lose(MemberIndex(0))
        set.failNext(on: 1)
        set.disconnect(MemberIndex(2))
        set.engine.memberLost(MemberIndex(2), isAccessible: false)
        set.take()
        set.record()
        #expect(!set.engine.unrecorded.contains(MemberIndex(2)))
        #expect(
            !set.decisions.contains {
                if case .fail(let lost) = $0 { lost.contains(MemberIndex(2)) } else { false }
            })
        #expect(set.outcome(held) == nil || set.outcome(held) == .done)
    }

    /// A member was lost in a repair, and writes used the repaired intents' slots before the registry knew:
    /// a successor that still counted on that member found nothing of the half-done write.
    @Test func `after a repair that lost a member nothing is written before that is recorded`() {
        let set = ModelSet(copies: 3)
        set.submit(.write, 8..<12)
        // It reached member 0 in part, and nobody else.
        set.store(set.inFlight[0], atMost: 8)
        set.restart()
        set.failNext(on: 0)
        set.run()
        let token = set.submit(.write, 0..<1)
        set.run()
        #expect(set.phase == .repairing)
        #expect(set.inFlight.isEmpty)
        #expect(set.outcome(token) == nil)
        set.run(recording: true)
        #expect(set.phase == .serving)
        #expect(set.outcome(token) == .done)
    }

    /// A half-done zeroing stayed in the observer area of a member that was away; after its return the next
    /// takeover finished it, over what had been written since.
    @Test(arguments: [RequestKind.zero, .discard])
    func `a half-done zeroing is not finished after the member came back`(kind: RequestKind) {
        let set = ModelSet(copies: 2)
        set.submit(.write, 0..<8)
        set.run()
        set.submit(kind, 0..<8)
        // Member 1 zeroed a part of it, and failed.
        set.failNext(on: 1, landed: 9)
        set.run(recording: true)
        set.submit(.write, 0..<8)
        set.run()
        set.comeBack(1)
        set.finishBackground()
        #expect(set.active.count == 2)
        // (The other member's slots would tell that it is over.)
        set.restart(without: MemberSet(MemberIndex(0)))
        set.run()
        set.adopt()
        #expect(set.violations == [])
        set.checkAtRest()
        #expect(set.violations == [])
    }

    /// An erasure set stood still while a member that was being rebuilt held a record.
    ///
    /// The others settled it without that member, which was rebuilt, and promoted: a successor carried the old
    /// record out on it.
    @Test
    func `a record that a rebuilding member kept while the set stood still counts for nothing`()
        throws
    {
        let set = try StripedModel(2, 2, chunk: 2048, ordering: .sequential)
        let old = [UInt8](repeating: 1, count: set.expected.count)
        #expect(set.write(0, old) == .done)
        set.lose(MemberSet([0, 3].map { MemberIndex($0) }))
        set.addEmpty([0, 3].map { MemberIndex($0) })
        set.work(steps: 1)
        // In place on member 0, which is being rebuilt; member 1 is one of the last two, and cannot be reached.
        set.failsInPlace = MemberIndex(1)
        #expect(set.write(0, Array(repeating: 2, count: 4096)) == .done)
        #expect(set.isStandingStill)
        set.failsInPlace = nil
        set.comeBack()
        // (Through the same slot, on the active members alone.)
        #expect(set.write(2048, Array(repeating: 3, count: 512)) == .done)
        set.work()
        #expect(set.active == set.stripes.members)
        #expect(set.isConsistent)
        set.takeOver(without: MemberSet())
        #expect(set.isConsistent)
        #expect(set.isWhole)
    }
}
