// A load that knows what it may read back.
//
// Each connection has a thread that keeps several requests in flight at random places: writes of
// stamped blocks, reads that are judged at once, a few zeroes, flushes and FUA writes. Requests
// overlap, also across connections, on purpose. When a connection is lost its thread reconnects
// and goes on; the ledger keeps what the lost writes may have done.

import Foundation

/// Writes stamped blocks to the start of an export, and says whether they are still there.
package final class VerifyingWriter: Sendable {
    /// What to do, and how hard.
    package struct Load: Sendable {
        /// The blocks written: 0 up to this.
        package var blockCount = 16384
        package var connections = 2
        /// Requests in flight on each connection.
        package var depth = 16
        /// Of a hundred requests, so many are reads.
        package var readsPerHundred = 20
        /// Of a hundred requests, so many write zeros.
        package var zerosPerHundred = 3
        /// How long a lost connection may take to come back.
        package var reconnectLimit: Duration = .seconds(30)
        /// Repeats the places and sizes of a run; the interleaving is the machine's.
        package var seed: UInt64 = .random(in: .min ... .max)

        package init() {}
    }

    /// How far the load has come.
    package struct Counts: Sendable {
        package var acknowledgedWrites = 0
        package var reads = 0
        /// Errors a server answered with while the connection lived.
        package var requestErrors = 0
        package var lostConnections = 0
        /// What ended a thread early, or the first errors of requests.
        package var problems: [String] = []
    }

    package let load: Load
    package let ledger: WriteLedger
    private let uri: String
    private let counts = Monitor(Counts())
    /// Whether the threads shall stop, and how many still run.
    private let life = Monitor((isStopping: false, running: 0))

    /// Prepares a load on the export at `uri`, whose first blocks must be zero.
    package init(_ uri: String, _ load: Load = Load()) {
        self.uri = uri
        self.load = load
        ledger = WriteLedger(blockCount: load.blockCount, seed: load.seed)
    }

    deinit {
        life.withLock { $0.isStopping = true }
    }

    /// Starts, or goes on after `stop()`.
    package func start() {
        life.withLock { $0 = (false, load.connections) }
        for number in 0..<load.connections {
            let lane = WriterLane(
                uri: uri, load: load, number: number, ledger: ledger, counts: counts)
            let life = life
            Thread.detachNewThread {
                lane.run { life.withLock { $0.isStopping } }
                life.withLock { $0.running -= 1 }
            }
        }
    }

    /// Stops and waits for what is in flight; gives the counts so far.
    package func stop(atMost limit: Duration = .seconds(60)) throws(HarnessError) -> Counts {
        life.withLock { $0.isStopping = true }
        guard life.wait(atMost: limit, until: { $0.running == 0 ? true : nil }) != nil else {
            throw HarnessError("the writer's requests hang: none of them ended within \(limit)")
        }
        return progress
    }

    package var progress: Counts {
        counts.withLock { $0 }
    }

    /// Waits for so many more acknowledged writes.
    package func waitForWrites(_ more: Int, atMost limit: Duration = .seconds(60))
        throws(HarnessError)
    {
        let goal = counts.withLock { $0.acknowledgedWrites } + more
        guard
            counts.wait(atMost: limit, until: { $0.acknowledgedWrites >= goal ? true : nil }) != nil
        else {
            throw HarnessError("no \(more) writes were acknowledged within \(limit): \(progress)")
        }
    }

    /// Reads everything back; gives what is wrong, now or at any time before.
    ///
    /// While the load is stopped this also settles what was open: each block must keep what is
    /// found now.
    package func verifyAll() throws -> [String] {
        let connection = try NBDConnection(uri)
        let chunk = 256
        for start in stride(from: 0, to: load.blockCount, by: chunk) {
            let blocks = start..<min(start + chunk, load.blockCount)
            let ticket = ledger.beginRead(of: blocks)
            let bytes = try connection.read(
                blocks.count * BlockStamp.blockSize, at: UInt64(start * BlockStamp.blockSize))
            bytes.withUnsafeBytes { ledger.endRead(ticket, found: $0) }
        }
        return ledger.findings.map { "seed \(load.seed): \($0)" }
    }

    /// What each block of the export at `uri`, such as a snapshot, holds.
    package func contents(of uri: String) throws -> [BlockContent] {
        let connection = try NBDConnection(uri)
        var contents: [BlockContent] = []
        let chunk = 256
        for start in stride(from: 0, to: load.blockCount, by: chunk) {
            let blocks = start..<min(start + chunk, load.blockCount)
            let bytes = try connection.read(
                blocks.count * BlockStamp.blockSize, at: UInt64(start * BlockStamp.blockSize))
            bytes.withUnsafeBytes { bytes in
                contents += blocks.map { block in
                    ledger.stamp.recognise(
                        UnsafeRawBufferPointer(
                            rebasing: bytes[((block - start) * BlockStamp.blockSize)...]),
                        block: block)
                }
            }
        }
        return contents
    }
}
