// What intents tell of a half-done multi-write, as a table.

import RemoteMemory
import ResiliencySet
import Testing

/// How much of a multi-write one member has.
enum Seen: Sendable { case nothing, upcoming, landed, completed }

@Suite struct RepairPlanTests {
    private static func found(
        _ member: Int, _ seen: Seen, sequence: UInt64 = 5, slot: UInt8 = 3,
        blocks: Range<Int> = 4..<8,
        kind: Intent.Kind = .write
    ) -> FoundIntent? {
        guard seen != .nothing else { return nil }
        return FoundIntent(
            member: MemberIndex(member), slot: slot,
            content: IntentSlot(
                intent: Intent(
                    epoch: Epoch(1), sequence: sequence, range: ModelSet.range(blocks), kind: kind),
                landed: seen != .upcoming, completed: seen == .completed))
    }

    private static func set(_ members: [Int]) -> MemberSet {
        MemberSet(members.map { MemberIndex($0) })
    }

    static let table: [(seen: [Seen], source: Int?, targets: [Int])] = [
        ([.nothing, .nothing, .nothing], nil, []),
        ([.landed, .landed, .landed], nil, []),
        ([.completed, .upcoming, .nothing], nil, []),
        ([.upcoming, .nothing, .nothing], 1, [0]),
        ([.nothing, .upcoming, .nothing], 0, [1]),
        ([.upcoming, .upcoming, .nothing], 2, [0, 1]),
        ([.upcoming, .upcoming, .upcoming], 2, [0, 1]),
        ([.landed, .nothing, .nothing], 0, [1, 2]),
        ([.landed, .landed, .nothing], 0, [2]),
        ([.nothing, .landed, .upcoming], 1, [0, 2]),
        ([.upcoming, .upcoming, .landed], 2, [0, 1]),
    ]

    @Test(arguments: table.indices)
    func `a write is settled from whoever has it whole, else from who never saw it`(row: Int) {
        let (seen, source, targets) = Self.table[row]
        let found = seen.enumerated().compactMap { Self.found($0.offset, $0.element) }
        let steps = RepairPlan.steps(for: found, active: Self.set([0, 1, 2]))
        guard !targets.isEmpty else {
            #expect(steps.isEmpty)
            return
        }
        #expect(steps.count == 1)
        #expect(steps.first?.source == source.map { MemberIndex($0) })
        #expect(steps.first?.targets == Self.set(targets))
        #expect(steps.first?.range == ModelSet.range(4..<8))
        #expect(steps.first?.slot == 3)
        #expect(steps.first?.isLast == true)
        let isOnSource = source.map { seen[$0] == .landed } ?? true
        #expect(steps.first?.isNew == isOnSource)
    }

    @Test(arguments: [Seen.upcoming, .landed])
    func `zeroes that not all hold are stored by all who may lack them`(seen: Seen) {
        let found = [Self.found(1, seen, kind: .zero)].compactMap { $0 }
        let steps = RepairPlan.steps(for: found, active: Self.set([0, 1, 2]))
        #expect(steps.count == 1)
        #expect(steps.first?.targets.isSuperset(of: Self.set([0, 2])) == true)
    }

    @Test func `what inactive members saw does not count`() {
        let found = [Self.found(0, .landed), Self.found(1, .upcoming)].compactMap { $0 }
        let steps = RepairPlan.steps(for: found, active: Self.set([1, 2]))
        #expect(steps.map(\.source) == [MemberIndex(2)])
        #expect(steps.map(\.targets) == [Self.set([1])])
        #expect(RepairPlan.steps(for: found, active: MemberSet()).isEmpty)
    }

    @Test func `a newer use of its slot on any member tells that a write is complete`() {
        let found = [
            Self.found(0, .upcoming), Self.found(1, .upcoming, sequence: 6, blocks: 20..<21),
        ].compactMap { $0 }
        let steps = RepairPlan.steps(for: found, active: Self.set([0, 1]))
        #expect(steps.map(\.intent.sequence) == [6])
    }

    @Test func `the newest intent governs what it covers, older ones the rest`() {
        let found = [
            Self.found(0, .landed, sequence: 9, slot: 1, blocks: 10..<12),
            Self.found(0, .upcoming, sequence: 5, slot: 2, blocks: 8..<16),
            Self.found(1, .upcoming, sequence: 3, slot: 4, blocks: 0..<20),
        ].compactMap { $0 }
        let steps = RepairPlan.steps(for: found, active: Self.set([0, 1]))
        #expect(
            steps.map(\.range)
                == [10..<12, 8..<10, 12..<16, 0..<8, 16..<20].map { ModelSet.range($0) })
        #expect(steps.map(\.intent.sequence) == [9, 5, 5, 3, 3])
        #expect(steps.map(\.isLast) == [true, false, true, false, true])
        #expect(steps.map(\.source?.number) == [0, 1, 1, 0, 0])
    }

    @Test func `a complete newer write shields its bytes from an older open one`() {
        let found = [
            Self.found(0, .landed, sequence: 9, slot: 1, blocks: 4..<8),
            Self.found(1, .landed, sequence: 9, slot: 1, blocks: 4..<8),
            Self.found(0, .upcoming, sequence: 5, slot: 2, blocks: 0..<12),
        ].compactMap { $0 }
        let steps = RepairPlan.steps(for: found, active: Self.set([0, 1]))
        #expect(steps.map(\.range) == [0..<4, 8..<12].map { ModelSet.range($0) })
    }

    @Test func `steps never overlap, cover only what was in flight, and never read a target`() {
        for seed in 0..<500 as Range<UInt64> {
            var generator = SplitMix64(seed: seed)
            var found: [FoundIntent] = []
            for sequence in 1...UInt64(1 + generator.below(20)) {
                let start = generator.below(30)
                let blocks = start..<start + 1 + generator.below(10)
                let kind: Intent.Kind = generator.oneIn(3) ? .zero : .write
                for member in 0..<3 {
                    let seen = [Seen.nothing, .upcoming, .landed, .landed][generator.below(4)]
                    let item = Self.found(
                        member, seen, sequence: sequence, slot: UInt8(sequence), blocks: blocks,
                        kind: kind)
                    if let item { found.append(item) }
                }
            }
            let steps = RepairPlan.steps(
                for: found.shuffled(using: &generator), active: Self.set([0, 1, 2]))
            for (position, step) in steps.enumerated() {
                #expect(step.source.map { !step.targets.contains($0) } ?? true)
                #expect(!step.range.isEmpty && !step.targets.isEmpty)
                #expect(step.range.intersection(step.intent.range) == step.range)
                #expect(
                    !steps[..<position].contains { $0.range.overlaps(step.range) }, "seed \(seed)")
            }
        }
    }
}
