// A set grows while it is used: it drains, is recorded, and lets go, and whoever dies on the way leaves a set of one
// size or the other, whole.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct GrowthTests {
    static let larger = ByteCount.mebibytes(2)
    /// In what was there, across the end of that, and in what is new.
    static let places = [0..<4, 254..<258, 500..<512]

    private func filled(copies: Int = 3, ordering: Ordering = .parallel) -> ModelSet {
        let set = ModelSet(copies: copies, ordering: ordering)
        for start in stride(from: 0, to: 256, by: 16) { set.submit(.write, start..<start + 16) }
        set.run()
        set.markCompleted()
        set.run()
        return set
    }

    /// Writes everywhere, and reads it back.
    private func use(_ set: ModelSet) {
        for (kind, places) in [
            (.write, Self.places), (.read, Self.places), (.discard, [255..<257]),
            (.read, [0..<512]),
        ] as [(RequestKind, [Range<Int>])] {
            for blocks in places {
                let token = set.submit(kind, blocks)
                set.run(recording: true)
                #expect(set.outcome(token) == .done, "\(kind) of \(blocks)")
            }
        }
    }

    @Test(arguments: Ordering.allCases)
    func `writes wait until the size is recorded, and reads go on`(ordering: Ordering) {
        let set = filled(ordering: ordering)
        let running = set.submit(.write, 10..<12)
        #expect(set.beginGrowth(to: Self.larger))
        let held = set.submit(.write, 20..<21)
        #expect(set.decisions.isEmpty, "it drains first")
        set.run()
        #expect(set.outcome(running) == .done && set.outcome(held) == nil)
        #expect(set.decisions == [.grow(to: Self.larger)])
        let read = set.submit(.read, 10..<12)
        set.run()
        #expect(set.outcome(read) == .done)
        let isGrowing = set.engine.isGrowing
        #expect(isGrowing)
        set.record()
        set.run()
        #expect(set.outcome(held) == .done)
        let (size, stillGrowing) = (set.engine.size, set.engine.isGrowing)
        #expect(size == Self.larger && !stillGrowing)
        use(set)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `what cannot grow is refused`() {
        let set = filled(copies: 2)
        #expect(!set.beginGrowth(to: set.size), "it is as large")
        #expect(!set.beginGrowth(to: .kibibytes(512)), "it never shrinks")
        #expect(set.beginCut(1))
        #expect(!set.beginGrowth(to: Self.larger), "one thing at a time")
        set.record()
        #expect(set.beginGrowth(to: Self.larger))
        #expect(!set.beginGrowth(to: .mebibytes(4)) && !set.beginCut(0))
        let unrepaired = ModelSet(copies: 3, repaired: false)
        #expect(!unrepaired.beginGrowth(to: Self.larger))
        #expect(set.violations == [])
    }

    @Test func `a registry that refuses leaves the set as it was`() {
        let set = filled()
        #expect(set.beginGrowth(to: Self.larger))
        let held = set.submit(.write, 0..<1)
        set.decisions = []
        set.engine.cutRefused()
        set.take()
        set.run()
        #expect(set.outcome(held) == .done)
        let size = set.engine.size
        #expect(size == .mebibytes(1))
        #expect(set.beginGrowth(to: Self.larger), "it can be asked for again")
        set.run(recording: true)
        use(set)
        #expect(set.violations == [])
    }

    @Test func `a set whose last member goes away does not grow, and lets go`() {
        let set = filled(copies: 1)
        let running = set.submit(.write, 0..<1)
        #expect(set.beginGrowth(to: Self.larger))
        set.failNext(on: 0)
        let isGrowing = set.engine.isGrowing
        #expect(!isGrowing)
        set.comeBackAsLast(0)
        set.run(recording: true)
        #expect(set.outcome(running) == .done)
        let size = set.engine.size
        #expect(size == .mebibytes(1))
        #expect(set.violations == [])
    }

    @Test func `a last member that goes away while the size is recorded has grown when it is back`()
    {
        let set = filled(copies: 1)
        #expect(set.beginGrowth(to: Self.larger))
        let read = set.submit(.read, 0..<1)
        set.failNext(on: 0)
        #expect(set.absent == MemberSet(MemberIndex(0)))
        set.record()
        set.comeBackAsLast(0)
        set.run(recording: true)
        #expect(set.outcome(read) == .done)
        use(set)
        #expect(set.violations == [])
    }

    @Test(arguments: 0..<4)
    func `a rebuild goes on, to what is new as well`(steps: Int) {
        let set = filled(copies: 2)
        set.add(2)
        for _ in 0..<steps {
            set.advance()
            set.run()
        }
        // (One extent is being copied while it grows.)
        set.advance()
        #expect(set.beginGrowth(to: Self.larger))
        let position = set.nextPositions.first
        set.record()
        if position != nil { set.step() }
        #expect(set.rebuildStanding(of: 2)?.total == Self.larger)
        use(set)
        set.finishBackground()
        #expect(set.active.count == 3)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test(arguments: [false, true])
    func `a member that is away grows when it is back, and misses what was written`(
        isRestarted: Bool
    ) {
        let set = filled()
        set.failAndRecord(2, writing: 0..<1)
        // (What its own slots name counts as missing too: it is forgotten here.)
        let cells = set.memories[MemberIndex(2)]?.cells ?? []
        set.memories[MemberIndex(2)] = ModelMemory(size: set.size)
        set.memories[MemberIndex(2)]?.cells = cells
        #expect(set.beginGrowth(to: Self.larger))
        set.run(recording: true)
        set.submit(.write, 300..<301)
        set.run()
        if isRestarted {
            set.restart()
            set.run(recording: true)
            set.adopt()
        }
        set.comeBack(2)
        #expect(set.rebuildStanding(of: 2)?.missing == .kibibytes(512), "two extents of eight")
        use(set)
        set.finishBackground()
        #expect(set.active.count == 3)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a member that fails during the drain comes first`() {
        let set = filled()
        let running = set.submit(.write, 0..<1)
        #expect(set.beginGrowth(to: Self.larger))
        set.failNext(on: 1)
        set.run()
        #expect(set.decisions == [.fail(MemberSet(MemberIndex(1)))])
        set.record()
        #expect(set.outcome(running) == .done)
        #expect(set.decisions == [.grow(to: Self.larger)])
        set.run(recording: true)
        use(set)
        set.comeBack(1)
        set.finishBackground()
        set.checkAtRest()
        #expect(set.violations == [])
    }

    /// Where the client device dies.
    enum Death: CaseIterable {
        case growing, draining, deciding, recorded, told, stored
    }

    @Test(arguments: Death.allCases, [false, true])
    func `whoever takes over finds a whole set`(death: Death, isDegraded: Bool) {
        let set = filled(copies: 4)
        if isDegraded {
            set.failAndRecord(3, writing: 100..<101)
            set.add(4)
        }
        set.submit(.write, 30..<32)
        if death == .growing {
            set.growRegions(to: Self.larger, of: MemberSet(MemberIndex(1)))
        } else {
            #expect(set.beginGrowth(to: Self.larger))
        }
        if death != .draining { set.run() }
        set.storesMaps = death != .told
        switch death {
        case .growing, .draining, .deciding: break
        case .recorded: set.recordDurably(set.decisions.removeFirst())
        case .told, .stored:
            set.record()
            if death == .told, isDegraded { #expect(set.inFlight.contains { $0.isMapStore }) }
        }
        set.storesMaps = true
        set.restart()
        set.run(recording: true)
        set.adopt()
        let isLarger = [.recorded, .told, .stored].contains(death)
        #expect(set.size == (isLarger ? Self.larger : .mebibytes(1)))
        if !isLarger {
            #expect(set.beginGrowth(to: Self.larger), "and it can be made to grow")
            set.run(recording: true)
        }
        use(set)
        if isDegraded { set.comeBack(3) }
        set.finishBackground()
        set.checkAtRest()
        #expect(set.violations == [])
    }
}

@Suite struct StripedGrowthTests {
    private func filled(
        _ data: Int, _ parity: Int, chunk: UInt64 = 2048
    ) throws -> StripedModel {
        let model = try StripedModel(data, parity, chunk: chunk)
        let bytes = (0..<model.expected.count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ 1) }
        #expect(model.write(0, bytes) == .done)
        return model
    }

    @Test(arguments: [(2, 1, 2048), (2, 2, 4096), (4, 2, 1024), (3, 3, 4096)])
    func `rows keep their places, and what is new is zeroes`(
        data: Int, parity: Int, chunk: UInt64
    ) throws {
        let model = try filled(data, parity, chunk: chunk)
        let former = model.expected.count
        // (To the middle of a stripe.)
        #expect(model.grow(to: ByteCount(UInt64(former * 2 + 512))))
        #expect(model.expected.count == former * 2 + 512 && model.isWhole)
        let bytes = (0..<3000).map { UInt8(truncatingIfNeeded: $0 &* 3) }
        for place in [former - 1000, model.expected.count - 3000] {
            #expect(model.write(place, bytes) == .done)
        }
        #expect(model.isWhole)
        #expect(model.grow(to: ByteCount(UInt64(former * 3))))
        #expect(model.isWhole, "the rest of that stripe")
        // Any K of the members tell all of it.
        for lost in model.stripes.members.prefix(parity) {
            model.lose(MemberSet(lost))
            #expect(model.isWhole)
        }
        model.replaceMissing()
        #expect(model.active.count == data + parity && model.isWhole)
    }

    @Test(arguments: [0, 1, 2])
    func `a rebuild goes on`(steps: Int) throws {
        let model = try filled(4, 2)
        let member = MemberIndex(1)
        model.lose(MemberSet(member))
        model.addEmpty([member])
        model.work(steps: steps)
        #expect(model.grow(to: ByteCount(UInt64(model.expected.count + 8192))))
        let bytes = (0..<5000).map { UInt8(truncatingIfNeeded: $0 &* 11) }
        #expect(model.write(model.expected.count - 6000, bytes) == .done)
        model.work()
        #expect(model.active.contains(member))
        model.lose(MemberSet([MemberIndex(0), MemberIndex(4)]))
        #expect(model.isWhole)
    }

    @Test func `twins are not left behind: there are none while it grows, and it takes some later`()
        throws
    {
        let model = try filled(2, 1)
        #expect(model.grow(to: ByteCount(UInt64(model.expected.count * 2))))
        #expect(model.addTwins(model.stripes.members))
        model.work()
        #expect(model.cutGeneration())
        #expect(model.contents(without: MemberSet(MemberIndex(0))) == model.expected)
    }
}

/// Sets too large for a model: what counts is which extents are missing.
@Suite struct ExtentGrowthTests {
    static let size = ByteCount.gibibytes(127)
    static let larger = ByteCount.gibibytes(300)
    static let member = MemberIndex(2)

    /// A set whose requests are all carried out at once, but for those to one member.
    private final class BigSet {
        var engine: ResiliencySet
        var failing: MemberIndex?
        var stored: [MemberIndex: DirtyMapContent] = [:]
        var copies: [ByteRange] = []
        var epoch = Epoch(1)

        init(_ size: ByteCount, active: MemberSet) {
            engine = ResiliencySet(size: size, ordering: .parallel, epoch: epoch, active: active)
        }

        func write(at place: UInt64) {
            engine.submit(
                .write, ByteRange(start: ByteOffset(place), count: .kibibytes(4)), token: 1)
            run()
        }

        func run() {
            while let effect = engine.nextEffect() {
                switch effect {
                case .perform(let operation):
                    if case .storeMap(let lost) = operation.action {
                        stored[lost] = engine.mapContent(of: lost)
                    }
                    if case .copy(let range, _) = operation.action { copies.append(range) }
                    engine.complete(
                        operation.ticket, on: operation.member,
                        operation.member == failing ? .failed : .done)
                case .record(let decision):
                    epoch = epoch.next
                    engine.recorded(decision, epoch: epoch)
                case .reply, .encode, .decode, .disconnect, .dropTwin: continue
                }
            }
        }
    }

    private func degraded() -> BigSet {
        let set = BigSet(Self.size, active: MemberSet((0..<3).map { MemberIndex($0) }))
        set.engine.repair()
        set.run()
        set.failing = Self.member
        set.write(at: 5 << 30)
        set.failing = nil
        set.write(at: (127 << 30) - 4096)
        return set
    }

    /// What is copied to the member when it comes back.
    private func copied(_ set: BigSet) -> [ByteRange] {
        set.engine.add(Self.member, epoch: set.epoch, keepsData: true)
        set.run()
        for _ in 0..<10 where set.engine.advanceBackground() { set.run() }
        return set.copies
    }

    static let expected = [5 << 30, (127 << 30) - (1 << 20), 200 << 30].map {
        ByteRange(start: ByteOffset($0), count: .mebibytes(1))
    }

    @Test func `maps are stored anew with the extents of the larger set`() {
        let set = degraded()
        #expect(set.stored[Self.member]?.extentSize == .kibibytes(256))
        let begun = set.engine.beginGrowth(to: Self.larger)
        set.run()
        #expect(begun)
        #expect(set.stored[Self.member]?.extentSize == .mebibytes(1))
        #expect(set.stored[Self.member] == set.engine.mapContent(of: Self.member))
        set.write(at: 200 << 30)
        #expect(copied(set) == Self.expected)
    }

    @Test func `a successor reads older maps as what they are`() {
        let former = degraded()
        let map = former.engine.mapContent(of: Self.member)
        let set = BigSet(Self.larger, active: MemberSet((0..<2).map { MemberIndex($0) }))
        set.engine.foundMap(map, of: Self.member)
        set.engine.repair()
        set.run()
        #expect(set.stored[Self.member]?.extentSize == .mebibytes(1))
        set.write(at: 200 << 30)
        #expect(copied(set) == Self.expected)
    }
}
