// Erasure sets against a model with real bytes: healthy, with every loss they are to survive, one loss more,
// and cut off at every operation.

import RemoteMemory
import ResiliencySet
import Testing

/// A code, and how many bytes a chunk has.
struct Code: Sendable, CustomTestStringConvertible {
    var data: Int
    var parity: Int
    var chunk: UInt64
    var testDescription: String { "\(data)+\(parity) in chunks of \(chunk)" }

    static let all = [
        Code(data: 2, parity: 1, chunk: 4096), Code(data: 2, parity: 2, chunk: 2048),
        Code(data: 4, parity: 2, chunk: 1024), Code(data: 8, parity: 2, chunk: 512),
    ]

    /// All sets of up to M members.
    var losses: [MemberSet] {
        (0..<1 << (data + parity)).filter { $0.nonzeroBitCount <= parity }.map { bits in
            MemberSet((0..<data + parity).filter { bits & 1 << $0 != 0 }.map { MemberIndex($0) })
        }
    }
}

extension StripedModel {
    /// Writes here and there: within a chunk, across chunks and stripes, whole stripes, zeroes.
    func exercise(_ generator: inout SplitMix64, writes: Int) {
        for _ in 0..<writes {
            let stripe = Int(stripes.stripeSize.bytes)
            let most = generator.oneIn(3) ? 2 * stripe : Int(stripes.chunk.bytes)
            let count = 1 + generator.below(min(most, expected.count))
            var start = generator.below(expected.count - count + 1)
            if generator.oneIn(3) { start = start / stripe * stripe }
            let isZero = generator.oneIn(5)
            let bytes = (0..<count).map { _ in
                isZero ? 0 : UInt8(truncatingIfNeeded: generator.next())
            }
            write(start, bytes, as: isZero ? (generator.oneIn(2) ? .zero : .discard) : .write)
        }
    }

    var text: String { "\(engine.phase), \(Array(active)) of \(stripes.memberCount)" }
    var isSettled: Bool { engine.isSettled }
    var leak: String? { engine.leak }
}

@Suite struct StripedTests {
    @Test(arguments: Code.all, Ordering.allCases)
    func `a healthy set holds what was written, and its parity`(code: Code, ordering: Ordering)
        throws
    {
        let set = try StripedModel(code.data, code.parity, chunk: code.chunk, ordering: ordering)
        var generator = SplitMix64(seed: 1)
        set.exercise(&generator, writes: 60)
        #expect(set.isWhole)
        #expect(set.isConsistent)
        #expect(set.isSettled)
        #expect(set.leak == nil)
        for _ in 0..<100 {
            let count = 1 + generator.below(set.expected.count / 2)
            let start = generator.below(set.expected.count - count)
            #expect(set.read(start, count) == Array(set.expected[start..<start + count]))
        }
    }

    @Test(arguments: Code.all)
    func `every loss of up to M members is read around, written around, and rebuilt`(code: Code)
        throws
    {
        for (number, losses) in code.losses.enumerated() {
            let set = try StripedModel(code.data, code.parity, chunk: code.chunk)
            var generator = SplitMix64(seed: UInt64(number))
            set.exercise(&generator, writes: 8)
            set.lose(losses)
            #expect(set.isWhole, "\(code.testDescription) without \(Array(losses))")
            set.exercise(&generator, writes: 12)
            #expect(set.isWhole, "\(code.testDescription) without \(Array(losses)), written")
            #expect(set.isConsistent)
            set.replaceMissing()
            #expect(set.active == set.stripes.members, "\(set.text)")
            #expect(set.isWhole)
            #expect(set.isConsistent)
            #expect(set.leak == nil)
        }
    }

    @Test(arguments: Code.all)
    func `one loss more than M fails every request after the wait, and none is answered wrong`(
        code: Code
    ) throws {
        let set = try StripedModel(code.data, code.parity, chunk: code.chunk)
        var generator = SplitMix64(seed: 3)
        set.exercise(&generator, writes: 8)
        set.lose(MemberSet((0...code.parity).map { MemberIndex($0) }))
        let read = set.submit(.read, 0, Array(repeating: 0, count: 512))
        let write = set.submit(.write, 512, Array(repeating: 1, count: 512))
        #expect(set.outcomes[read] == nil)
        set.engine.tick(StripedModel.patience - 1)
        set.drain()
        #expect(set.outcomes[read] == nil)
        set.engine.tick(StripedModel.patience)
        set.drain()
        #expect(set.outcomes[read] == .failed)
        #expect(set.outcomes[write] == .failed)
    }

    @Test(arguments: Code.all.prefix(3), Ordering.allCases)
    func `a write that is cut off anywhere is old or new, whoever is lost with its writer`(
        code: Code, ordering: Ordering
    ) throws {
        let chunk = Int(code.chunk)
        // Within a chunk, over a boundary of stripes, and a run.
        let stripe = chunk * code.data
        for (start, count) in [(0, 512), (stripe - 512, 1024), (stripe, 2 * stripe)] {
            for losses in code.losses {
                try cutOff(code, ordering, start, count, losses)
            }
        }
    }

    private func cutOff(
        _ code: Code, _ ordering: Ordering, _ start: Int, _ count: Int, _ losses: MemberSet
    ) throws {
        var limit = 1
        var isOver = false
        while !isOver {
            let set = try StripedModel(
                code.data, code.parity, chunk: code.chunk, stripeCount: 3, ordering: ordering)
            let old = (0..<set.expected.count).map { UInt8(truncatingIfNeeded: $0 &* 7 | 1) }
            #expect(set.write(0, old) == .done)
            set.limit = set.count + limit
            let token = set.submit(.write, start, Array(repeating: 0, count: count))
            isOver = !set.isCut
            let isAnswered = set.outcomes[token] == .done
            set.takeOver(without: losses)
            guard let found = set.read(0, old.count) else {
                Issue.record("nothing can be read at operation \(limit): \(set.text)")
                return
            }
            #expect(set.isConsistent)
            var place = 0
            while place < found.count {
                let block = place..<min(place + 4096, found.count)
                var new = old
                for index in start..<start + count { new[index] = 0 }
                let isOld = found[block] == old[block]
                let isNew = found[block] == new[block]
                #expect(
                    isNew || (isOld && !isAnswered),
                    "block \(place / 4096) at operation \(limit) without \(Array(losses))")
                place += 4096
            }
            limit += 1
        }
    }

    @Test func `a small write reads its old bytes and the old parity, and no more`() throws {
        let set = try StripedModel(4, 2, chunk: 4096)
        set.write(0, Array(repeating: 1, count: 1024))
        #expect(set.fetches == 3)
        // Three chunks of four: the fourth is all that the parity needs besides.
        set.write(0, Array(repeating: 2, count: 3 * 4096))
        #expect(set.fetches == 4)
        // A whole stripe needs nothing.
        set.write(0, Array(repeating: 3, count: 4 * 4096))
        #expect(set.fetches == 4)
        #expect(set.isConsistent)
    }

    @Test func `a write waits until the registry knows who failed, and its record names them`()
        throws
    {
        let set = try StripedModel(2, 2, chunk: 2048)
        let old = [UInt8](repeating: 7, count: set.expected.count)
        #expect(set.write(0, old) == .done)
        set.isRecording = false
        set.lose(MemberSet(MemberIndex(0)))
        let token = set.submit(.write, 0, Array(repeating: 8, count: 512))
        #expect(set.outcomes[token] == nil)
        let records = set.active.compactMap { set.regions[$0]?.intents[0] }
        #expect(records.contains { !$0.landed && $0.intent.members.contains(MemberIndex(0)) })
        // The next owner reaches all: that member is active for it, and has no record.
        set.isRecording = true
        set.takeOver(without: MemberSet())
        #expect(set.isConsistent)
        #expect(set.read(0, old.count) == old)
    }

    @Test func `every record marks what a member away misses, whoever did so before`() throws {
        // (The first to mark an extent may still be fetching when a later one is acknowledged.)
        let set = try StripedModel(4, 2)
        // (One that fails may come back; only of such a one it is known what it misses.)
        set.lost.insert(MemberIndex(0))
        #expect(set.write(0, Array(repeating: 7, count: 512)) == .done)
        set.marks = []
        for value in [1, 2] as [UInt8] {
            #expect(set.write(0, Array(repeating: value, count: 512)) == .done)
        }
        #expect(set.marks == Array(repeating: MemberSet(MemberIndex(0)), count: 4))
    }

    @Test func `a member that took no part is not told of completion`() throws {
        // (An older record of its own in the same slot would lose the mark that it counts for nothing.)
        let set = try StripedModel(4, 2, chunk: 4096)
        set.write(0, Array(repeating: 1, count: 1024))
        set.engine.markCompleted()
        set.drain()
        #expect(set.marked == MemberSet([0, 4, 5].map { MemberIndex($0) }))
    }

    @Test func `an owner uses no sequence of another's, also when no record tells it`() throws {
        let set = try StripedModel(2, 1, chunk: 4096)
        set.write(0, Array(repeating: 1, count: 512))
        let before = try #require(set.regions[MemberIndex(0)]?.intents[0]).intent.sequence
        // Overwritten in part: nothing whole is found.
        for member in set.stripes.members { set.regions[member]?.intents = [:] }
        set.takeOver(without: MemberSet())
        set.write(0, Array(repeating: 2, count: 512))
        let after = try #require(set.regions[MemberIndex(0)]?.intents[0]).intent.sequence
        #expect(after > before)
    }

    @Test func `what was under way when the last members went is not told to be complete`() throws {
        let set = try StripedModel(2, 1, chunk: 4096)
        #expect(set.write(0, Array(repeating: 1, count: 8192)) == .done)
        set.engine.markCompleted()
        set.drain()
        set.lose(MemberSet(MemberIndex(0)))
        set.lost.insert(MemberIndex(1))
        let write = set.submit(.write, 0, Array(repeating: 2, count: 8192))
        set.engine.tick(StripedModel.patience)
        set.drain()
        #expect(set.outcomes[write] == .failed)
        set.marked = MemberSet()
        set.engine.markCompleted()
        set.drain()
        #expect(set.marked.isEmpty)
        set.takeOver(without: MemberSet())
        #expect(set.isConsistent)
    }

    @Test func `no region of an erasure set is a snapshot`() throws {
        let set = try StripedModel(2, 1, chunk: 4096)
        #expect(!set.beginsCut)
    }
}

extension StripedModel {
    var beginsCut: Bool { engine.beginCut(of: MemberIndex(0)) }
}
