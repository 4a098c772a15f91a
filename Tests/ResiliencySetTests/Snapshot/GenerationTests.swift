// A generation that was removed, read as the set that it is: from any K, by whoever can be reached.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct GenerationTests {
    private static func frozen(_ present: [Int]) throws -> StripedModel {
        let set = try StripedModel(2, 2, chunk: 2048)
        var generator = SplitMix64(seed: 11)
        set.exercise(&generator, writes: 12)
        var tuning = Tuning()
        tuning.patience = StripedModel.patience
        set.engine = ResiliencySet(
            reading: set.stripes, present: MemberSet(present.map { MemberIndex($0) }),
            tuning: tuning)
        return set
    }

    @Test(arguments: [[0, 1, 2, 3], [0, 1, 2], [1, 3], [2, 3]])
    func `any K regions tell all`(present: [Int]) throws {
        let set = try Self.frozen(present)
        #expect(set.isWhole)
        let before = set.regions.mapValues(\.bytes)
        set.engine.markCompleted()
        set.work()
        set.drain()
        #expect(set.regions.mapValues(\.bytes) == before)
        #expect(set.isSettled && set.leak == nil)
    }

    @Test func `who fails is done without, is recorded nowhere, and is back as it was`() throws {
        let set = try Self.frozen([0, 1, 2, 3])
        set.isRecording = false
        set.lost = MemberSet([0, 2].map { MemberIndex($0) })
        #expect(set.isWhole)
        #expect(set.waiting.isEmpty)
        set.lost.insert(MemberIndex(1))
        let read = set.submit(.read, 0, Array(repeating: 0, count: set.expected.count))
        #expect(set.outcomes[read] == nil)
        set.lost = MemberSet()
        set.engine.memberIsBack(MemberIndex(0))
        set.drain()
        #expect(set.outcomes[read] == .done)
        #expect(set.payloads[read]?.bytes == set.expected)
    }

    @Test func `with fewer than K a read fails after the wait`() throws {
        let set = try Self.frozen([3])
        let read = set.submit(.read, 0, Array(repeating: 0, count: 512))
        set.engine.tick(StripedModel.patience - 1)
        set.drain()
        #expect(set.outcomes[read] == nil)
        set.engine.tick(StripedModel.patience)
        set.drain()
        #expect(set.outcomes[read] == .failed)
    }
}
