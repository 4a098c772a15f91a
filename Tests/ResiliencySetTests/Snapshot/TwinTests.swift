// Twins of an erasure set: what they hold, what becomes of them, and that a set never suffers from them.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct TwinTests {
    private static func set(_ code: Code, _ ordering: Ordering = .parallel) throws -> StripedModel {
        try StripedModel(code.data, code.parity, chunk: code.chunk, ordering: ordering)
    }

    @Test(arguments: Code.all, Ordering.allCases)
    func `a twin takes its member's place while the set is written`(code: Code, ordering: Ordering)
        throws
    {
        for place in try Self.set(code).stripes.members {
            let set = try Self.set(code, ordering)
            var generator = SplitMix64(seed: UInt64(place.number))
            set.exercise(&generator, writes: 10)
            #expect(set.addTwins(MemberSet(place)))
            while set.wholeTwins.isEmpty {
                set.work(steps: 1)
                set.exercise(&generator, writes: 2)
            }
            set.exercise(&generator, writes: 10)
            #expect(set.replace(place))
            #expect(set.twins.isEmpty && set.activeMembers == set.stripes.members)
            set.exercise(&generator, writes: 10)
            #expect(set.isWhole)
            #expect(set.isConsistent)
            #expect(set.isSettled)
            #expect(set.leak == nil)
            // It is a member like any other: others can be done without.
            set.lose(MemberSet(set.stripes.members.filter { $0 != place }.prefix(code.parity)))
            #expect(set.isWhole)
            set.takeOver(without: MemberSet())
            #expect(set.isWhole)
        }
    }

    @Test(arguments: Code.all, Ordering.allCases)
    func `a generation shows the moment of its cut, whichever K of its regions are left`(
        code: Code, ordering: Ordering
    ) throws {
        let set = try Self.set(code, ordering)
        var generator = SplitMix64(seed: 7)
        set.exercise(&generator, writes: 10)
        #expect(set.addTwins(set.stripes.members))
        while set.wholeTwins.count < set.stripes.memberCount {
            set.work(steps: 1)
            set.exercise(&generator, writes: 2)
        }
        set.isRecording = false
        #expect(set.cutGeneration())
        let moment = set.expected
        // Writes wait for the registry; reads do not.
        #expect(set.read(0, moment.count) == moment)
        let write = set.submit(.write, 0, Array(repeating: 9, count: 700))
        #expect(set.outcomes[write] == nil)
        set.recordWaiting()
        #expect(set.outcomes[write] == .done)
        set.expected.replaceSubrange(0..<700, with: Array(repeating: 9, count: 700))
        set.exercise(&generator, writes: 20)
        for losses in code.losses { #expect(set.contents(without: losses) == moment) }
        #expect(set.isWhole && set.isConsistent && set.isSettled)
        #expect(set.leak == nil)
        #expect(set.twins.isEmpty)
    }

    @Test(arguments: Code.all)
    func `members that fail meanwhile are decoded, and the generation is whole`(code: Code) throws {
        for losses in code.losses where !losses.isEmpty {
            let set = try Self.set(code)
            var generator = SplitMix64(seed: 8)
            set.exercise(&generator, writes: 8)
            #expect(set.addTwins(set.stripes.members))
            set.work(steps: 2)
            set.lose(losses)
            set.exercise(&generator, writes: 6)
            set.work()
            #expect(set.cutGeneration())
            let moment = set.expected
            set.replaceMissing()
            set.exercise(&generator, writes: 6)
            #expect(set.contents(without: losses) == moment)
            #expect(set.contents(without: MemberSet()) == moment)
            #expect(set.isWhole && set.isConsistent)
            #expect(set.active == set.stripes.members && set.leak == nil)
        }
    }

    @Test func `a member that fails while its twin is filled is replaced by it all the same`()
        throws
    {
        let set = try StripedModel(2, 2, chunk: 2048)
        var generator = SplitMix64(seed: 9)
        let place = MemberIndex(1)
        set.exercise(&generator, writes: 8)
        #expect(set.addTwins(MemberSet(place)))
        set.work(steps: 1)
        set.lose(MemberSet(place))
        set.exercise(&generator, writes: 8)
        set.work()
        #expect(set.replace(place))
        #expect(set.active == set.stripes.members)
        #expect(set.isWhole && set.isConsistent && set.leak == nil)
    }

    @Test(arguments: [false, true])
    func `a twin that fails is dropped, and no write waits for the registry`(isWhole: Bool) throws {
        let set = try StripedModel(2, 1, chunk: 4096)
        var generator = SplitMix64(seed: 10)
        set.exercise(&generator, writes: 8)
        let place = MemberIndex(2)
        #expect(set.addTwins(MemberSet(place)))
        set.work(steps: isWhole ? .max : 1)
        set.isRecording = false
        set.lost.insert(place.twin)
        #expect(set.write(0, Array(repeating: 3, count: set.expected.count)) == .done)
        #expect(set.dropped == MemberSet(place.twin))
        #expect(set.twins.isEmpty && set.waiting.isEmpty)
        #expect(!set.replace(place))
        #expect(set.isWhole && set.isConsistent && set.leak == nil)
    }

    @Test func `a twin that fails while writes are held for it lets them go on`() throws {
        let set = try StripedModel(2, 1, chunk: 4096)
        #expect(set.addTwins(set.stripes.members))
        set.work()
        // A member fails, which is to be recorded before anything is cut.
        set.isRecording = false
        set.lose(MemberSet(MemberIndex(0)))
        #expect(set.cutGeneration())
        let write = set.submit(.write, 0, Array(repeating: 4, count: 4096))
        #expect(set.outcomes[write] == nil)
        set.lose(MemberSet(MemberIndex(1).twin))
        #expect(!set.isCutting)
        set.recordWaiting()
        #expect(set.outcomes[write] == .done)
        #expect(set.snapshot == nil)
    }

    @Test func `the registry refuses: the set goes on as it was, and may try again`() throws {
        let set = try StripedModel(2, 1, chunk: 4096)
        #expect(set.write(0, Array(repeating: 5, count: 8192)) == .done)
        #expect(set.addTwins(MemberSet(MemberIndex(0))))
        set.work()
        set.isRecording = false
        #expect(set.replace(MemberIndex(0)))
        #expect(set.waiting == [.replace(MemberIndex(0))])
        let write = set.submit(.write, 0, Array(repeating: 6, count: 4096))
        set.engine.cutRefused()
        set.drain()
        #expect(set.outcomes[write] == .done)
        set.waiting = []
        set.isRecording = true
        set.expected.replaceSubrange(0..<4096, with: Array(repeating: 6, count: 4096))
        #expect(set.replace(MemberIndex(0)))
        #expect(set.isWhole && set.isConsistent && set.twins.isEmpty)
    }

    @Test(arguments: [MemberIndex(0), MemberIndex(0).twin])
    func `whoever fails while the registry is told, the set is what the registry says`(
        victim: MemberIndex
    ) throws {
        let set = try StripedModel(2, 2, chunk: 4096)
        #expect(set.write(0, Array(repeating: 5, count: 8192)) == .done)
        #expect(set.addTwins(MemberSet(MemberIndex(0))))
        set.work()
        set.isRecording = false
        #expect(set.replace(MemberIndex(0)))
        set.lose(MemberSet(victim))
        set.recordWaiting()
        // The former is nobody's loss; the twin is the member, and has failed as one.
        #expect(set.active.contains(MemberIndex(0)) == !victim.isTwin)
        #expect(set.active == set.activeMembers)
        #expect(set.isWhole && set.isConsistent)
        set.replaceMissing()
        #expect(set.active == set.stripes.members && set.leak == nil)
    }

    @Test func `a set that stands still has no twins any more`() throws {
        let set = try StripedModel(2, 1, chunk: 4096)
        #expect(set.addTwins(set.stripes.members))
        set.work()
        set.lost = MemberSet([0, 1].map { MemberIndex($0) })
        set.submit(.read, 0, Array(repeating: 0, count: 16384))
        #expect(set.isStandingStill)
        #expect(set.twins.isEmpty)
        #expect(set.dropped == set.stripes.members.withTwins.twins)
        #expect(!set.addTwins(MemberSet(MemberIndex(0))))
    }

    @Test(arguments: Code.all.prefix(2), Ordering.allCases)
    func `the owner dies anywhere in a move: its successor has the former or the new member`(
        code: Code, ordering: Ordering
    ) throws {
        var limit = 1
        var isOver = false
        while !isOver {
            let set = try StripedModel(
                code.data, code.parity, chunk: code.chunk, stripeCount: 3, ordering: ordering)
            let old = (0..<set.expected.count).map { UInt8(truncatingIfNeeded: $0 &* 7 | 1) }
            #expect(set.write(0, old) == .done)
            let place = MemberIndex(0)
            set.limit = set.count + limit
            set.addTwins(MemberSet(place))
            set.work(steps: 2)
            let token = set.submit(.write, 512, Array(repeating: 0, count: old.count - 512))
            if !set.isCut { set.work() }
            if !set.isCut { _ = set.replace(place) }
            isOver = !set.isCut
            let isAnswered = set.outcomes[token] == .done
            // Nobody knows of a twin that is one still.
            set.regions[place.twin] = nil
            set.takeOver(without: MemberSet(MemberIndex(1)))
            let found = try #require(set.read(0, old.count))
            #expect(set.isConsistent)
            for start in stride(from: 0, to: old.count, by: 4096) {
                let block = start..<min(start + 4096, old.count)
                var new = old
                for index in 512..<old.count { new[index] = 0 }
                #expect(
                    found[block] == new[block] || (found[block] == old[block] && !isAnswered),
                    "block \(start / 4096) at operation \(limit)")
            }
            limit += 1
        }
    }

    @Test func `mirrors have no twins, and members one each`() throws {
        let mirror = ModelSet(copies: 3)
        let hasTwin = mirror.engine.addTwin(of: MemberIndex(0))
        #expect(!hasTwin)
        let set = try StripedModel(2, 1, chunk: 4096)
        #expect(set.addTwins(MemberSet(MemberIndex(0))))
        #expect(!set.addTwins(MemberSet(MemberIndex(0))))
        #expect(!set.addTwins(MemberSet(MemberIndex(3))))
        #expect(!set.cutGeneration())
    }
}
