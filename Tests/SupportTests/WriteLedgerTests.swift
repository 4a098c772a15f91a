// The checker itself: what it must let pass, and what it must not.

import TestSupport
import Testing

@Suite struct WriteLedgerTests {
    private let ledger = WriteLedger(blockCount: 4, seed: 1)

    private func bytes(_ contents: [(block: Int, version: UInt64)]) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: contents.count * BlockStamp.blockSize)
        bytes.withUnsafeMutableBytes { bytes in
            for (index, content) in contents.enumerated() where content.version != 0 {
                ledger.stamp.fill(
                    UnsafeMutableRawBufferPointer(
                        rebasing: bytes[(index * BlockStamp.blockSize)...]),
                    block: content.block, version: content.version)
            }
        }
        return bytes
    }

    /// Whether a read of block 0 that began at `ticket` may find `version` (0: zeros).
    private func accepts(_ version: UInt64, by ticket: ReadTicket) -> Bool {
        let before = ledger.findings.count
        bytes([(0, version)]).withUnsafeBytes { ledger.endRead(ticket, found: $0) }
        return ledger.findings.count == before
    }

    private func accepts(_ version: UInt64) -> Bool {
        accepts(version, by: ledger.beginRead(of: 0..<1))
    }

    private func write(_ blocks: Range<Int> = 0..<1, isZero: Bool = false) -> WriteTicket {
        ledger.beginWrite(of: blocks, isZero: isZero)
    }

    @Test func anAcknowledgedWriteMustBeFound() {
        ledger.acknowledge(write())
        #expect(accepts(1))
        #expect(!accepts(0))
        #expect(!accepts(2), "nobody wrote that")
    }

    @Test func aWriteInFlightMayBeFoundOrNot() {
        _ = write()
        #expect(accepts(0))
        #expect(accepts(1))
    }

    @Test func whatWasSeenOnceMustStay() {
        let lost = write()
        ledger.settle(lost)
        #expect(accepts(1))
        #expect(!accepts(0))
    }

    @Test func aLostWriteThatWasNotSeenMayNotResurrect() {
        let lost = write()
        ledger.settle(lost)
        #expect(accepts(0))
        #expect(!accepts(1))
    }

    @Test func anUnsettledLostWriteMayStillLand() {
        _ = write()
        #expect(accepts(0))
        #expect(accepts(1))
    }

    @Test func concurrentWritesMayEndInEitherOrderButNotInBoth() {
        let first = write()
        let second = write()
        ledger.acknowledge(second)
        ledger.acknowledge(first)
        #expect(accepts(1))
        #expect(!accepts(2))
    }

    @Test func aLaterWriteReplacesAnEarlierOne() {
        ledger.acknowledge(write())
        ledger.acknowledge(write())
        #expect(!accepts(1))
        #expect(accepts(2))
    }

    @Test func aReadMayFindWhatWasWrittenWhileItRan() {
        let read = ledger.beginRead(of: 0..<1)
        ledger.acknowledge(write())
        ledger.acknowledge(write())
        #expect(accepts(0, by: read))
        #expect(accepts(1, by: read))
        #expect(accepts(2, by: read))
        #expect(!accepts(3, by: read))
    }

    @Test func zerosAreAVersionToo() {
        ledger.acknowledge(write())
        ledger.acknowledge(write(isZero: true))
        #expect(accepts(0))
        #expect(!accepts(1))
        ledger.acknowledge(write())
        #expect(!accepts(0))
    }

    @Test func tornBlocksAreNeverAccepted() {
        _ = write()
        let read = ledger.beginRead(of: 0..<1)
        var torn = bytes([(0, 1)])
        torn[4000] ^= 1
        torn.withUnsafeBytes { ledger.endRead(read, found: $0) }
        #expect(ledger.findings.count == 1)
    }

    // MARK: Snapshots

    @Test func aSnapshotHoldsWhatWasAcknowledgedBefore() {
        ledger.acknowledge(write())
        ledger.beginSnapshot()
        let window = ledger.endSnapshot()
        #expect(window.findings(in: [.version(1), .zero, .zero, .zero]) == [])
        #expect(window.findings(in: [.zero, .zero, .zero, .zero]).count == 1)
    }

    @Test func aSnapshotHoldsNothingSubmittedAfterItReturned() {
        ledger.beginSnapshot()
        let window = ledger.endSnapshot()
        ledger.acknowledge(write())
        #expect(window.findings(in: [.version(1), .zero, .zero, .zero]).count == 1)
    }

    @Test func aSnapshotMayHoldWhatWasInFlight() {
        let before = write()
        ledger.beginSnapshot()
        ledger.acknowledge(before)
        ledger.acknowledge(write(1..<2))
        let window = ledger.endSnapshot()
        #expect(window.writeCount == 1)
        #expect(window.findings(in: [.version(1), .version(2), .zero, .zero]) == [])
        #expect(window.findings(in: [.zero, .zero, .zero, .zero]) == [])
    }

    @Test func aSnapshotIsOneMoment() {
        ledger.beginSnapshot()
        let first = write(0..<1)
        ledger.acknowledge(first)
        ledger.acknowledge(write(1..<2))
        let window = ledger.endSnapshot()
        #expect(window.findings(in: [.version(1), .zero, .zero, .zero]) == [])
        #expect(
            window.findings(in: [.zero, .version(2), .zero, .zero]).count == 1,
            "it holds the second write and not the first, which was acknowledged before it")
    }
}
