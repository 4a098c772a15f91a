import Simulation
import Testing

@Suite struct SnapshotTests {
    private var history = History(blockCount: 2)

    private mutating func write(
        _ id: UInt32, _ blocks: Range<Int>, _ invoked: UInt64, _ ended: UInt64,
        acknowledged: Bool = true
    ) {
        history.invoke(write: id, blocks: blocks, at: invoked)
        history.end(write: id, at: ended, acknowledged: acknowledged)
    }

    private mutating func snapshot(
        _ contents: [UInt32], _ invoked: UInt64, _ ended: UInt64
    ) -> [String] {
        history.snapshot(contents: contents, invoked: invoked, ended: ended)
        return history.violations().map(\.description)
    }

    @Test mutating func `a snapshot shows what was acknowledged`() {
        write(1, 0..<1, 0, 10)
        write(2, 1..<2, 20, 30)
        #expect(snapshot([1, 2], 40, 50).isEmpty)
    }

    @Test mutating func `a snapshot of before is stale`() {
        write(1, 0..<1, 0, 10)
        #expect(
            snapshot([0, 0], 40, 50) == [
                "Block 0: no order is possible, as the initial zeroes ended before write 1 (0 to 10 "
                    + "ns) was invoked, but write 1 (0 to 10 ns) ended before the snapshot that "
                    + "shows 0 (40 to 50 ns) was invoked."
            ])
    }

    /// Each block alone could be so, as the command takes that long.
    @Test mutating func `a write cannot be missing where a later one is shown`() {
        write(1, 0..<1, 100, 110)
        write(2, 1..<2, 120, 130)
        #expect(
            snapshot([0, 2], 50, 200) == [
                "The snapshot of 50 to 200 ns shows no single moment: it is not before write 2 (120 "
                    + "to 130 ns) was invoked (block 1 shows 2), and not after write 1 (100 to 110 "
                    + "ns) ended (block 0 shows the initial zeroes)."
            ])
    }

    @Test mutating func `of concurrent writes any may be missing`() {
        write(1, 0..<1, 100, 125)
        write(2, 1..<2, 120, 130)
        #expect(snapshot([0, 2], 50, 200).isEmpty)
        #expect(snapshot([1, 0], 50, 200).isEmpty)
        #expect(snapshot([1, 2], 50, 200).isEmpty)
        #expect(snapshot([0, 0], 50, 200).isEmpty)
    }

    @Test(arguments: [0, 1] as [UInt32])
    mutating func `a failed write may be missing, or shown in part`(shown: UInt32) {
        write(1, 0..<2, 100, 110, acknowledged: false)
        write(2, 1..<2, 120, 130)
        #expect(snapshot([shown, 2], 50, 200).isEmpty)
        // But by its end it had happened, or had not.
        #expect(snapshot([1 - shown, 2], 50, 200).count == 1)
    }

    @Test mutating func `a failed write that is shown has happened before what follows`() {
        write(1, 0..<1, 100, 110, acknowledged: false)
        write(2, 0..<1, 120, 130)
        write(3, 1..<2, 140, 150)
        #expect(snapshot([1, 3], 50, 200).count == 1)
    }

    @Test mutating func `reads show that a write had happened`() {
        history.invoke(write: 1, blocks: 0..<1, at: 100)
        history.read(block: 0, returned: 1, invoked: 105, ended: 110)
        write(2, 1..<2, 120, 130)
        #expect(snapshot([0, 2], 50, 200).count == 1)
    }

    /// Write 1 came before or after the time that write 2 held the block, but the other block shows that
    /// the snapshot was in it.
    @Test mutating func `contents from before and after are not those from between`() {
        write(1, 0..<1, 0, 100)
        write(2, 0..<1, 0, 20)
        history.read(block: 0, returned: 2, invoked: 60, ended: 70)
        write(3, 1..<2, 30, 35)
        write(4, 1..<2, 40, 45)
        #expect(
            snapshot([1, 3], 10, 90) == [
                "The snapshot of 10 to 90 ns shows no single moment: it is not before the read of 2 "
                    + "(60 to 70 ns) was invoked (block 0 shows 1), and not after write 4 (40 to 45 "
                    + "ns) ended (block 1 shows 3)."
            ])
    }

    @Test mutating func `two snapshots may not go back either`() {
        write(1, 0..<1, 100, 200)
        #expect(snapshot([1, 0], 110, 120).isEmpty)
        #expect(snapshot([0, 0], 130, 140).count == 1)
    }
}
