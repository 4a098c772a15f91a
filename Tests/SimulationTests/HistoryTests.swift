// Histories that are told as small stories; LinearizabilityOracleTests takes them by the thousand.

import Simulation
import Testing

@Suite struct HistoryTests {
    private var history = History(blockCount: 4)

    private mutating func write(
        _ id: UInt32, _ blocks: Range<Int>, _ invoked: UInt64, _ ended: UInt64,
        acknowledged: Bool = true
    ) {
        history.invoke(write: id, blocks: blocks, at: invoked)
        history.end(write: id, at: ended, acknowledged: acknowledged)
    }

    private mutating func read(_ block: Int, _ id: UInt32, _ invoked: UInt64, _ ended: UInt64) {
        history.read(block: block, returned: id, invoked: invoked, ended: ended)
    }

    @Test func `nothing is wrong with nothing`() {
        #expect(history.violations().isEmpty)
    }

    @Test mutating func `a read finds the last write`() {
        write(1, 0..<2, 0, 10)
        read(0, 1, 20, 30)
        read(1, 1, 20, 30)
        read(2, 0, 20, 30)
        #expect(history.violations().isEmpty)
    }

    @Test mutating func `a stale read is told with all operations that contradict it`() {
        write(5, 3..<4, 10, 20)
        write(6, 3..<4, 30, 40)
        read(3, 5, 50, 60)
        let sentences = history.violations().map(\.description)
        #expect(
            sentences == [
                "Block 3: no order is possible, as write 5 (10 to 20 ns) ended before write 6 (30 to "
                    + "40 ns) was invoked, but write 6 (30 to 40 ns) ended before the read of 5 "
                    + "(50 to 60 ns) was invoked."
            ])
    }

    @Test mutating func `zeroes after an acknowledged write are stale`() {
        write(1, 0..<1, 0, 0)
        read(0, 0, 1, 2)
        #expect(
            history.violations().map(\.description) == [
                "Block 0: no order is possible, as the initial zeroes ended before write 1 (0 to 0 "
                    + "ns) was invoked, but write 1 (0 to 0 ns) ended before the read of 0 (1 to 2 "
                    + "ns) was invoked."
            ])
    }

    @Test mutating func `reads may not go back`() {
        write(1, 0..<1, 0, 100)
        read(0, 1, 10, 20)
        #expect(history.violations().isEmpty)
        read(0, 0, 30, 40)
        #expect(history.violations().count == 1)
    }

    @Test
    mutating func `the end of one and the beginning of another at the same time are concurrent`() {
        write(1, 0..<1, 0, 10)
        write(2, 0..<1, 20, 30)
        read(0, 1, 30, 40)
        #expect(history.violations().isEmpty)
    }

    @Test mutating func `contents that nobody wrote are told`() {
        write(1, 0..<2, 0, 10)
        read(2, 1, 20, 30)
        read(0, 77, 20, 30)
        #expect(
            history.violations().map(\.description) == [
                "Block 2: the read of 1 (20 to 30 ns) found what was never written there.",
                "Block 0: the read of 77 (20 to 30 ns) found what was never written there.",
            ])
    }

    @Test mutating func `contents from the future are told`() {
        read(0, 1, 0, 10)
        write(1, 0..<1, 11, 20)
        #expect(
            history.violations().map(\.description) == [
                "Block 0: the read of 1 (0 to 10 ns) ended before write 1 (11 to 20 ns) was invoked."
            ])
    }

    @Test(arguments: [false, true])
    mutating func `a failed write may or may not have happened`(happened: Bool) {
        write(1, 0..<1, 0, 10, acknowledged: false)
        read(0, happened ? 1 : 0, 20, 30)
        #expect(history.violations().isEmpty)
        read(0, happened ? 0 : 1, 40, 50)
        #expect(history.violations().count == 1)
    }

    @Test mutating func `a failed write may have happened on one of its blocks`() {
        write(1, 0..<2, 0, 10, acknowledged: false)
        read(0, 1, 20, 30)
        read(1, 0, 20, 30)
        #expect(history.violations().isEmpty)
    }

    @Test mutating func `a write without an end may take effect at any time, but only once`() {
        history.invoke(write: 1, blocks: 0..<1, at: 0)
        read(0, 0, 100, 110)
        read(0, 1, 200, 210)
        #expect(history.violations().isEmpty)
        read(0, 0, 300, 310)
        #expect(history.violations().count == 1)
    }

    @Test mutating func `a failed write that may still take effect can be settled later`() {
        history.invoke(write: 1, blocks: 0..<1, at: 0)
        history.end(write: 1, at: History.forever, acknowledged: false)
        history.end(write: 1, at: 150, acknowledged: false)
        read(0, 0, 200, 210)
        #expect(history.violations().isEmpty)
        read(0, 1, 300, 310)
        #expect(history.violations().count == 1)
    }

    @Test mutating func `blocks are judged on their own`() {
        write(1, 0..<1, 0, 10)
        write(2, 1..<2, 0, 10)
        read(0, 1, 20, 30)
        read(1, 2, 20, 30)
        read(0, 0, 40, 50)
        read(1, 2, 40, 50)
        let found = history.violations()
        #expect(found.count == 1)
        #expect(found.first?.description.hasPrefix("Block 0:") == true)
    }

    @Test mutating func `violations are limited`() {
        for id in 1...20 as ClosedRange<UInt32> {
            write(id, 0..<1, UInt64(id) * 10, UInt64(id) * 10 + 1)
            read(0, id, 1_000, 1_010)
        }
        #expect(history.violations(limit: 5).count == 5)
        #expect(history.violations(limit: 1).count == 1)
    }

    @Test func `what the world cannot mean is stopped`() async {
        await #expect(processExitsWith: .failure) {
            var history = History(blockCount: 4)
            history.invoke(write: 1, blocks: 0..<1, at: 0)
            history.invoke(write: 1, blocks: 0..<1, at: 0)
        }
        await #expect(processExitsWith: .failure) {
            var history = History(blockCount: 4)
            history.invoke(write: 1, blocks: 3..<5, at: 0)
        }
        await #expect(processExitsWith: .failure) {
            var history = History(blockCount: 4)
            history.invoke(write: 1, blocks: 0..<1, at: 10)
            history.end(write: 1, at: 9, acknowledged: true)
        }
        await #expect(processExitsWith: .failure) {
            var history = History(blockCount: 4)
            history.end(write: 1, at: 9, acknowledged: true)
        }
    }
}
