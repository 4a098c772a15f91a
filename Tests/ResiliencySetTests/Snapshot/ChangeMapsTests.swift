// What was changed since a snapshot: marked before anybody is asked for it, on the right side of every cut, and
// never less than what differs.

import RemoteMemory
import ResiliencySet
import Testing

extension ResiliencySet {
    /// The extents of 64 KiB that were changed between two cuts, or from one on.
    fileprivate borrowing func extentsChanged(since cut: Epoch, until end: Epoch?) -> [Int] {
        let unit: UInt64 = 64 << 10
        var extents: [Int] = []
        var start: UInt64 = 0
        let whole = ByteRange(start: ByteOffset(0), count: size)
        for run in changes(in: whole, since: cut, until: end) {
            let next = start + run.count.bytes
            let touched = start / unit..<(next + unit - 1) / unit
            if run.isChanged { extents += touched.map { Int($0) } }
            start = next
        }
        return start == size.bytes ? extents : []
    }
}

extension StripedModel {
    fileprivate func extentsChanged(since cut: Epoch, until end: Epoch? = nil) -> [Int] {
        engine.extentsChanged(since: cut, until: end)
    }
}

extension ModelSet {
    fileprivate func extentsChanged(since cut: Epoch, until end: Epoch? = nil) -> [Int] {
        engine.extentsChanged(since: cut, until: end)
    }

    /// Cuts a member off; returns the epoch of the cut.
    fileprivate func cut(_ number: Int) -> Epoch {
        #expect(beginCut(number))
        run(recording: true)
        return registry.epoch
    }

    /// Writes one block of each of these extents of 64 KiB.
    fileprivate func write(_ extents: Int...) {
        for extent in extents { submit(.write, extent * 16 + 3..<extent * 16 + 4) }
        run()
    }

    fileprivate var allExtents: [Int] { Array(0..<Int(size.bytes >> 16)) }
}

@Suite struct ChangeMapsTests {
    @Test(arguments: OrderingTests.changes, Ordering.allCases)
    func `an extent is marked before anybody is asked to change it`(
        kind: RequestKind, ordering: Ordering
    ) {
        let set = ModelSet(copies: 3, ordering: ordering)
        let cut = set.cut(1)
        #expect(set.extentsChanged(since: cut) == [])
        let token = set.submit(kind, 31..<33)
        #expect(!set.inFlight.isEmpty && set.outcome(token) == nil)
        #expect(set.extentsChanged(since: cut) == [1, 2])
        set.submit(.read, 100..<101)
        set.run()
        #expect(set.extentsChanged(since: cut) == [1, 2], "reads change nothing")
        #expect(set.violations == [])
    }

    @Test(arguments: Ordering.allCases)
    func `what is held for a cut is behind it, and what it waits for is before it`(
        ordering: Ordering
    ) {
        let set = ModelSet(copies: 4, ordering: ordering)
        let first = set.cut(1)
        set.submit(.write, 32..<33)
        set.step()
        #expect(set.beginCut(2))
        let held = set.submit(.write, 48..<49)
        set.run(recording: true)
        let second = set.registry.epoch
        #expect(set.outcome(held) == .done)
        #expect(set.extentsChanged(since: first, until: second) == [2])
        #expect(set.extentsChanged(since: second) == [3])
        #expect(set.extentsChanged(since: first) == [2, 3])
        set.write(2, 9)
        #expect(set.extentsChanged(since: first, until: second) == [2], "for good")
        #expect(set.extentsChanged(since: second) == [2, 3, 9])
        #expect(set.violations == [])
    }

    @Test func `a cut that is refused parts nothing`() {
        let set = ModelSet(copies: 4)
        let first = set.cut(1)
        set.write(1)
        #expect(set.beginCut(2))
        set.decisions = []
        set.engine.cutRefused()
        set.take()
        set.write(2)
        #expect(set.extentsChanged(since: first) == [1, 2])
        #expect(set.engine.savedChanges.count == 1)
    }

    @Test(arguments: 0..<3)
    func `changes behind a snapshot that is deleted count for the one before it`(deleted: Int) {
        let set = ModelSet(copies: 5)
        var cuts: [Epoch] = []
        for number in 0..<3 {
            cuts.append(set.cut(number + 1))
            set.write(number, 10)
        }
        set.engine.forgetSnapshot(cutAt: cuts[deleted])
        let left = cuts.indices.filter { $0 != deleted }
        #expect(set.engine.savedChanges.map(\.cut) == left.map { cuts[$0] })
        for cut in left {
            #expect(set.extentsChanged(since: cuts[cut]) == Array(cut..<3) + [10])
        }
        let (from, until) = (left[0], left[1])
        #expect(
            set.extentsChanged(since: cuts[from], until: cuts[until])
                == Array(from..<until) + [10])
        #expect(set.extentsChanged(since: cuts[deleted]) == set.allExtents, "not known")
    }

    @Test func `without snapshots nothing is kept`() {
        let set = ModelSet(copies: 3)
        set.write(1)
        #expect(set.engine.savedChanges == [])
        let cut = set.cut(1)
        set.write(2)
        set.engine.forgetSnapshot(cutAt: cut)
        #expect(set.engine.savedChanges == [])
        set.write(3)
        #expect(set.extentsChanged(since: cut) == set.allExtents)
    }

    @Test func `what is not known counts as changed`() {
        let set = ModelSet(copies: 4)
        let (old, older) = (Epoch(900_000), Epoch(800_000))
        set.registry.epoch = old
        set.engine.restoreChanges(since: [old, older], saved: [])
        let new = set.cut(1)
        set.write(4)
        for cut in [older, old, Epoch(77)] {
            #expect(set.extentsChanged(since: cut) == set.allExtents)
        }
        #expect(set.extentsChanged(since: older, until: old) == set.allExtents)
        #expect(set.extentsChanged(since: new) == [4])
        #expect(set.extentsChanged(since: new, until: old) == set.allExtents, "backwards")
        #expect(set.extentsChanged(since: new, until: new) == set.allExtents)
        set.engine.forgetSnapshot(cutAt: new)
        #expect(set.extentsChanged(since: old) == set.allExtents)
        let newest = set.cut(2)
        set.write(5)
        #expect(set.extentsChanged(since: newest) == [5])
    }

    @Test func `what is new when a set has grown counts as changed, once`() {
        let set = ModelSet(copies: 5)
        let first = set.cut(1)
        set.write(1)
        let second = set.cut(2)
        set.write(2)
        #expect(set.beginGrowth(to: .mebibytes(2)))
        let held = set.submit(.write, 48..<49)
        set.run(recording: true)
        #expect(set.outcome(held) == .done)
        let new = Array(16..<32)
        #expect(set.extentsChanged(since: second) == [2, 3] + new)
        #expect(set.extentsChanged(since: first) == [1, 2, 3] + new)
        let third = set.cut(3)
        set.write(20)
        #expect(set.extentsChanged(since: third) == [20])
        #expect(set.extentsChanged(since: second, until: third) == [2, 3] + new)
        #expect(set.extentsChanged(since: first) == [1, 2, 3] + new)
        #expect(set.violations == [])

        let next = ModelSet(copies: 2, size: .mebibytes(2))
        next.registry.epoch = third
        next.engine.restoreChanges(
            since: [first, second, third], saved: set.engine.savedChanges)
        #expect(next.extentsChanged(since: third) == [20])
    }

    @Test func `where extents are larger after it, each has what its parts had`() throws {
        let size = ByteCount.gibibytes(64)
        var set = ResiliencySet(
            size: size, ordering: .parallel, epoch: Epoch(9), active: MemberSet(MemberIndex(0)))
        var words = [UInt64](repeating: 0, count: 1 << 14)
        words[0] = 1 << 5 | 1 << 8
        set.restoreChanges(
            since: [Epoch(3)],
            saved: [SnapshotChanges(cut: Epoch(3), extentSize: .kibibytes(64), words: words)])
        set.repair()
        let begun = set.beginGrowth(to: size + .gibibytes(1))
        #expect(begun)
        set.recorded(.grow(to: size + .gibibytes(1)), epoch: Epoch(10))
        let whole = ByteRange(start: ByteOffset(0), count: set.size)
        let runs = set.changes(in: whole, since: Epoch(3), until: nil)
        let unit: UInt64 = 128 << 10
        #expect(runs.map(\.isChanged) == [false, true, false, true, false, true])
        let counts = [2, 1, 1, 1, size.bytes / unit - 5, (1 << 30) / unit]
        #expect(runs.map(\.count.bytes) == counts.map { $0 * unit })
    }

    @Test func `what was saved is known to the next owner`() {
        let set = ModelSet(copies: 5)
        let first = set.cut(1)
        set.write(1)
        let second = set.cut(2)
        set.write(2)
        let third = set.cut(3)
        set.write(3)
        let saved = set.engine.savedChanges

        let next = ModelSet(copies: 3)
        next.registry.epoch = third
        next.engine.restoreChanges(since: [first, second, third], saved: saved)
        #expect(next.engine.savedChanges == saved)
        next.write(7)
        #expect(next.extentsChanged(since: first) == [1, 2, 3, 7])
        #expect(next.extentsChanged(since: first, until: third) == [1, 2])
        #expect(next.extentsChanged(since: third) == [3, 7])
        let fourth = next.cut(1)
        next.write(8)
        #expect(next.extentsChanged(since: third, until: fourth) == [3, 7])

        // A snapshot that was deleted meanwhile.
        let later = ModelSet(copies: 3)
        later.engine.restoreChanges(since: [first, third], saved: saved)
        #expect(later.extentsChanged(since: first, until: third) == [1, 2])
        #expect(later.engine.savedChanges.map(\.cut) == [first, third])
    }

    @Test func `what was saved is not believed where it does not fit`() throws {
        let set = ModelSet(copies: 4)
        let first = set.cut(1)
        let second = set.cut(2)
        let saved = set.engine.savedChanges
        let words = try #require(saved[0].words)
        func changed(_ records: [SnapshotChanges]) -> [Int] {
            let next = ModelSet(copies: 2)
            next.engine.restoreChanges(since: [first, second], saved: records)
            return next.extentsChanged(since: first)
        }
        #expect(changed(saved) == [])
        let coarse = SnapshotChanges(cut: first, extentSize: .kibibytes(128), words: words)
        let long = SnapshotChanges(cut: first, extentSize: .kibibytes(64), words: words + [0])
        let unknown = SnapshotChanges(cut: first, extentSize: .kibibytes(64), words: nil)
        for other in [coarse, long, unknown] {
            #expect(changed([other, saved[1]]) == set.allExtents)
        }
        #expect(changed([saved[0]]) == set.allExtents, "one is missing")
        #expect(changed([]) == set.allExtents)
    }

    @Test func `a map of a large device has a bounded size`() {
        var engine = ResiliencySet(
            size: .gibibytes(200), ordering: .parallel, epoch: Epoch(1),
            active: MemberSet([MemberIndex(0), MemberIndex(1)]))
        engine.repair()
        let begun = engine.beginCut(of: MemberIndex(1))
        #expect(begun)
        while engine.nextEffect() != nil {}
        engine.recorded(.cut(MemberIndex(1)), epoch: Epoch(2))
        let start = ByteOffset(ByteCount.gibibytes(150).bytes + 4096)
        engine.submit(.write, ByteRange(start: start, count: .kibibytes(4)), token: 0)
        let saved = engine.savedChanges
        #expect(saved.map(\.extentSize) == [.kibibytes(256)])
        #expect(saved[0].words?.count == 200 * 4096 / 64)
        let whole = ByteRange(start: ByteOffset(0), count: engine.size)
        let extent = ByteCount.kibibytes(256)
        let runs = engine.changes(in: whole, since: Epoch(2))
        #expect(
            runs == [
                ChangeRun(count: .gibibytes(150), isChanged: false),
                ChangeRun(count: extent, isChanged: true),
                ChangeRun(count: .gibibytes(50) - extent, isChanged: false),
            ])
        // From the middle of an extent, to the middle of another; and no more than is asked for.
        let middle = ByteRange(start: start, count: .kibibytes(512))
        let parts = [
            ChangeRun(count: .kibibytes(252), isChanged: true),
            ChangeRun(count: .kibibytes(260), isChanged: false),
        ]
        #expect(engine.changes(in: middle, since: Epoch(2)) == parts)
        #expect(engine.changes(in: middle, since: Epoch(2), atMost: 1) == [parts[0]])
    }

    @Test(arguments: 0..<20)
    func `what was written since a cut is what is marked, whatever happens`(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        let set = ModelSet(
            copies: 12, ordering: generator.oneIn(2) ? .parallel : .sequential)
        /// Which requests were answered at each cut that is left.
        var answered: [(cut: Epoch, Set<UInt32>)] = []
        var moments: [Epoch: [UInt64]] = [:]
        for _ in 0..<300 {
            switch generator.below(40) {
            case 0:
                guard let victim = set.active.last, set.active.count > 2,
                    set.beginCut(victim.number)
                else { continue }
                let token = set.submit(.write, 40..<41)
                set.run()
                // (What failed meanwhile is recorded first, and answers those who waited for it.)
                while let decision = set.decisions.first, decision != .cut(victim) {
                    set.record()
                    set.run()
                }
                guard !set.decisions.isEmpty else { continue }
                let done = Set(set.replied)
                set.record()
                answered.append((set.registry.epoch, done))
                moments[set.registry.epoch] = set.content(of: victim, set.whole)
                set.run(recording: true)
                #expect(set.outcome(token) == .done)
            case 1:
                guard let place = answered.indices.randomElement(using: &generator) else {
                    continue
                }
                set.engine.forgetSnapshot(cutAt: answered.remove(at: place).cut)
            case 2 where set.active.count > 6 && !set.inFlight.isEmpty:
                set.step(fails: true)
            case 3...15 where !set.inFlight.isEmpty: set.step()
            case 16: set.run(recording: true)
            default:
                let kinds: [RequestKind] = [.read, .write, .zero, .discard]
                let start = generator.below(240)
                guard set.engine.hasRoom else { continue }
                set.submit(
                    kinds[generator.below(4)], start..<start + 1 + generator.below(16))
            }
        }
        set.run(recording: true)
        let all = Set(set.replied)
        for (index, (cut, before)) in answered.enumerated() {
            let since = set.extentsChanged(since: cut)
            #expect(since == set.extents(of: all.subtracting(before)))
            #expect(Set(since).isSuperset(of: set.extentsDiffering(from: moments[cut] ?? [])))
            for (end, at) in answered[(index + 1)...] {
                #expect(
                    set.extentsChanged(since: cut, until: end)
                        == set.extents(of: at.subtracting(before)))
            }
        }
        #expect(set.violations == [])
    }

    @Test(arguments: Ordering.allCases)
    func `of an erasure set the device's own extents are marked`(ordering: Ordering) throws {
        let set = try StripedModel(
            2, 1, chunk: 32 << 10, stripeCount: 16, ordering: ordering)
        #expect(set.addTwins(set.stripes.members))
        while set.wholeTwins.count < set.stripes.memberCount { set.work(steps: 1) }
        set.isRecording = false
        #expect(set.cutGeneration())
        let held = set.submit(.write, 5 << 16, Array(repeating: 9, count: 700))
        set.recordWaiting()
        #expect(set.outcomes[held] == .done)
        set.expected.replaceSubrange(5 << 16..<5 << 16 + 700, with: repeatElement(9, count: 700))
        let cut = set.epoch
        #expect(set.extentsChanged(since: cut) == [5])
        set.write((8 << 16) - 100, Array(repeating: 0, count: 200), as: .zero)
        set.lose(MemberSet(MemberIndex(1)))
        set.write(12 << 16, Array(repeating: 3, count: 64 << 10))
        #expect(set.extentsChanged(since: cut) == [5, 7, 8, 12])
        #expect(set.isWhole)
    }
}

extension ModelSet {
    /// The extents that these requests change.
    fileprivate func extents(of tokens: Set<UInt32>) -> [Int] {
        var touched: Set<Int> = []
        for request in tokens.compactMap({ requests[$0] }) where request.isChange {
            let last = (request.range.end.bytes - 1) >> 16
            touched.formUnion((request.range.start.bytes >> 16...last).map { Int($0) })
        }
        return touched.sorted()
    }

    fileprivate func extentsDiffering(from moment: [UInt64]) -> Set<Int> {
        let cells = Int((64 << 10) / ModelMemory.cellSize)
        return Set(
            zip(settled, moment).enumerated().filter { $1.0 != $1.1 }.map { $0.offset / cells })
    }
}
