// The zones against all orders there are, on histories small enough for that.

import Simulation
import Testing

/// A tiny history, in a form of its own.
private struct TinyHistory: CustomStringConvertible {
    struct Write {
        let blocks: Range<Int>
        let invoked: UInt64
        let ended: UInt64
        let isAcknowledged: Bool
    }

    struct Read {
        let block: Int
        let write: UInt32
        let invoked: UInt64
        let ended: UInt64
    }

    struct Snapshot {
        let contents: [UInt32]
        let invoked: UInt64
        let ended: UInt64
    }

    static let times = 10

    var writes: [Write] = []
    var reads: [Read] = []
    var snapshot: Snapshot?

    /// A history of `operations` operations on `blocks` blocks.
    init(operations: Int, blocks: Int, _ chance: inout Chance) {
        let writeCount = chance.within(0...operations)
        for _ in 0..<writeCount {
            let span = Self.span(&chance)
            let first = chance.below(blocks)
            let isAcknowledged = !chance.oneIn(3)
            let isOpen = !isAcknowledged && chance.oneIn(2)
            writes.append(
                Write(
                    blocks: first..<chance.within(first + 1...blocks), invoked: span.0,
                    ended: isOpen ? History.forever : span.1, isAcknowledged: isAcknowledged))
        }
        for _ in writeCount..<operations {
            let span = Self.span(&chance)
            reads.append(
                Read(
                    block: chance.below(blocks),
                    // Now and then what nobody wrote.
                    write: UInt32(
                        chance.oneIn(10) ? writeCount + 1 : chance.within(0...writeCount)),
                    invoked: span.0, ended: span.1))
        }
    }

    private static func span(_ chance: inout Chance) -> (UInt64, UInt64) {
        let ends = (chance.below(times), chance.below(times))
        return (UInt64(min(ends.0, ends.1)), UInt64(max(ends.0, ends.1)))
    }

    /// A write to block 0 at any time, shown by a snapshot, around another write to it that is read.
    ///
    /// Writes to block 1 tell when the snapshot was.
    init(aroundShortWrite chance: inout Chance) {
        let whole = (invoked: 0 as UInt64, ended: UInt64(Self.times) - 1)
        writes = [
            Write(blocks: 0..<1, invoked: whole.invoked, ended: whole.ended, isAcknowledged: true)
        ]
        for block in [0, 1, 1] {
            let span = Self.span(&chance)
            writes.append(
                Write(
                    blocks: block..<block + 1, invoked: span.0, ended: span.1,
                    isAcknowledged: true))
        }
        let span = Self.span(&chance)
        reads = [Read(block: 0, write: 2, invoked: span.0, ended: span.1)]
        snapshot = Snapshot(
            contents: [1, chance.pick(from: [0, 3, 4])], invoked: whole.invoked,
            ended: whole.ended)
    }

    /// Adds a snapshot of each block's initial contents or one of the writes to it.
    mutating func addSnapshot(blocks: Int, _ chance: inout Chance) {
        let span = Self.span(&chance)
        let contents = (0..<blocks).map { block in
            chance.pick(
                from: [0]
                    + writes.indices.filter { writes[$0].blocks.contains(block) }
                    .map { UInt32($0 + 1) })
        }
        snapshot = Snapshot(contents: contents, invoked: span.0, ended: span.1)
    }

    func recorded(blocks: Int) -> History {
        var history = History(blockCount: blocks)
        for (index, write) in writes.enumerated() {
            history.invoke(write: UInt32(index + 1), blocks: write.blocks, at: write.invoked)
            guard write.isAcknowledged || write.ended != History.forever else { continue }
            history.end(
                write: UInt32(index + 1), at: write.ended, acknowledged: write.isAcknowledged)
        }
        for read in reads {
            history.read(
                block: read.block, returned: read.write, invoked: read.invoked, ended: read.ended)
        }
        if let snapshot {
            history.snapshot(
                contents: snapshot.contents, invoked: snapshot.invoked, ended: snapshot.ended)
        }
        return history
    }

    var description: String {
        writes.enumerated().map { "\($0 + 1): \($1)" }.joined(separator: "\n") + "\n"
            + reads.map { "\($0)" }.joined(separator: "\n")
            + (snapshot.map { "\n\($0)" } ?? "")
    }

    // MARK: All orders

    /// An operation on one block; a write of `value`, or a read that found it.
    private struct Operation {
        let isWrite: Bool
        let value: UInt32
        let invoked: UInt64
        let ended: UInt64
        let isOptional: Bool
    }

    private func operations(on block: Int) -> [Operation] {
        var found: [Operation] = []
        for (index, write) in writes.enumerated() where write.blocks.contains(block) {
            found.append(
                Operation(
                    isWrite: true, value: UInt32(index + 1), invoked: write.invoked,
                    ended: write.ended, isOptional: !write.isAcknowledged))
        }
        for read in reads where read.block == block {
            found.append(Self.read(of: read.write, read.invoked, read.ended))
        }
        return found
    }

    private static func read(
        of value: UInt32, _ invoked: UInt64, _ ended: UInt64
    ) -> Operation {
        Operation(
            isWrite: false, value: value, invoked: invoked, ended: ended, isOptional: false)
    }

    /// Whether the operations `left` (a bit each) can go on from `value`: some order that keeps ends
    /// before later invocations; optional ones may stay out.
    private static func canGoOn(_ operations: [Operation], left: Int, value: UInt32) -> Bool {
        if left == 0 { return true }
        for (index, operation) in operations.enumerated() where left & 1 << index != 0 {
            let rest = left & ~(1 << index)
            if operation.isOptional, canGoOn(operations, left: rest, value: value) { return true }
            let isFirst = operations.indices.allSatisfy { other in
                rest & 1 << other == 0 || operations[other].ended >= operation.invoked
            }
            guard isFirst, operation.isWrite || operation.value == value else { continue }
            if canGoOn(operations, left: rest, value: operation.value) { return true }
        }
        return false
    }

    private static func isLinearizable(_ operations: [Operation]) -> Bool {
        canGoOn(operations, left: 1 << operations.count - 1, value: 0)
    }

    /// Whether each block has an order; with a snapshot, one that reads it at the same moment.
    func isPossible(blocks: Int) -> Bool {
        let byBlock = (0..<blocks).map { operations(on: $0) }
        guard let snapshot else { return byBlock.allSatisfy(Self.isLinearizable) }
        // Whatever moment there is between two times, there is one at a time as well.
        return (snapshot.invoked...snapshot.ended).contains { moment in
            byBlock.enumerated().allSatisfy { block, operations in
                Self.isLinearizable(
                    operations + [Self.read(of: snapshot.contents[block], moment, moment)])
            }
        }
    }
}

@Suite struct LinearizabilityOracleTests {
    /// Compares verdicts, and sees to it that both are common.
    private func compare(
        count: Int, seed: UInt64, _ make: (inout Chance) -> (TinyHistory, blocks: Int)
    ) {
        var chance = Chance(seed: seed)
        var possible = 0
        for _ in 0..<count {
            let (tiny, blocks) = make(&chance)
            let found = tiny.recorded(blocks: blocks).violations()
            let isPossible = tiny.isPossible(blocks: blocks)
            if isPossible { possible += 1 }
            guard found.isEmpty != isPossible else { continue }
            Issue.record("possible: \(isPossible), found: \(found)\n\(tiny)")
            return
        }
        #expect(possible > count / 50 && possible < count * 49 / 50, "possible: \(possible)")
    }

    @Test(arguments: 1...6)
    func `zones and all orders agree about one block`(operations: Int) {
        compare(count: 20_000, seed: UInt64(operations)) {
            (TinyHistory(operations: operations, blocks: 1, &$0), 1)
        }
    }

    @Test func `they agree about several blocks`() {
        compare(count: 20_000, seed: 100) {
            (TinyHistory(operations: $0.within(2...6), blocks: 2, &$0), 2)
        }
    }

    @Test(arguments: 1...3)
    func `they agree about snapshots`(blocks: Int) {
        compare(count: 20_000, seed: 200 + UInt64(blocks)) {
            var tiny = TinyHistory(operations: $0.within(1...6), blocks: blocks, &$0)
            tiny.addSnapshot(blocks: blocks, &$0)
            return (tiny, blocks)
        }
    }

    /// The snapshot may then be before or after the short write, but not in between.
    @Test func `they agree about snapshots of a write around another`() {
        compare(count: 20_000, seed: 400) { (TinyHistory(aroundShortWrite: &$0), 2) }
    }

    /// Snapshots of histories of writes alone, where most are possible.
    @Test func `they agree about snapshots of writes`() {
        compare(count: 20_000, seed: 300) {
            var tiny = TinyHistory(operations: 6, blocks: 3, &$0)
            tiny.reads = []
            tiny.addSnapshot(blocks: 3, &$0)
            return (tiny, 3)
        }
    }
}
