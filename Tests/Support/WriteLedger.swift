// Which versions each block may hold, given what was submitted and what was acknowledged.
//
// Linearizability of a block, kept as a set of candidates. Time is a counter of events. A write
// is *submitted* before its bytes leave, *settled* once no more can come of it: acknowledged, or
// its connection lost and the service back (then it happened or it did not, for good). The order
// of two writes is known only if one settled before the other was submitted. Hence
//
//     an acknowledged write W removes every candidate that settled before W was submitted;
//     a read that began at R and found C removes every other candidate settled before R;
//     a read may find what was a candidate when it began, or anything submitted since.
//
// A snapshot is judged as one read of the whole volume, which begins when the command is given and
// ends when it returns. That it is a *cut* is judged besides: see `SnapshotWindow`.

/// An event's place in the order of all events the ledger was told of.
typealias Moment = UInt64

/// The write of one version over a range of blocks.
package struct WriteTicket: Sendable {
    let version: UInt64
    let submitted: Moment
    let blocks: Range<BlockNumber>
    /// Whether it makes zeros, which carry no version.
    let isZero: Bool
}

/// One version a block may hold.
struct Candidate: Sendable {
    let version: UInt64
    let submitted: Moment
    /// Nil while the write may still take effect.
    var settled: Moment?
    let isZero: Bool

    func matches(_ content: BlockContent) -> Bool {
        switch content {
        case .zero: isZero
        case .version(let version): !isZero && self.version == version
        case .foreign: false
        }
    }
}

/// What a read of `blocks` may find.
package struct ReadTicket: Sendable {
    let blocks: Range<BlockNumber>
    let begun: Moment
    /// Versions up to this one had been submitted when the read began.
    let newestVersion: UInt64
    private let candidates: [[Candidate]]

    init(
        of blocks: Range<BlockNumber>, begun: Moment, newestVersion: UInt64,
        candidates: [[Candidate]]
    ) {
        self.blocks = blocks
        self.begun = begun
        self.newestVersion = newestVersion
        self.candidates = candidates
    }

    /// What `block` might have held when the read began.
    func permitted(in block: BlockNumber) -> [Candidate] {
        candidates[block - blocks.lowerBound]
    }
}

/// The books of one run over blocks 0 up to a limit, for all its threads.
package final class WriteLedger: Sendable {
    /// More findings than this say nothing new.
    private static let findingsLimit = 20

    private struct Books {
        var now: Moment = 0
        var newestVersion: UInt64 = 0
        var candidates: [[Candidate]]
        /// The version of the last write of zeros submitted to each block.
        var newestZero: [UInt64]
        var findings: [String] = []
        var window: SnapshotWindow?

        mutating func tick() -> Moment {
            now += 1
            return now
        }
    }

    private let books: Monitor<Books>
    package let stamp: BlockStamp
    package let blockCount: Int

    /// Books for `blockCount` blocks that are all zero now.
    package init(blockCount: Int, seed: UInt64) {
        let untouched = Candidate(version: 0, submitted: 0, settled: 0, isZero: true)
        self.blockCount = blockCount
        stamp = BlockStamp(seed: seed)
        books = Monitor(
            Books(
                candidates: Array(repeating: [untouched], count: blockCount),
                newestZero: Array(repeating: 0, count: blockCount)))
    }

    /// What was found to be wrong: sentences, at most a score of them.
    package var findings: [String] {
        books.withLock { $0.findings }
    }

    // MARK: Writes

    /// Books a write that is about to be submitted.
    package func beginWrite(of blocks: Range<BlockNumber>, isZero: Bool) -> WriteTicket {
        books.withLock { books in
            books.newestVersion += 1
            let ticket = WriteTicket(
                version: books.newestVersion, submitted: books.tick(), blocks: blocks,
                isZero: isZero)
            for block in blocks {
                books.candidates[block].append(
                    Candidate(
                        version: ticket.version, submitted: ticket.submitted, settled: nil,
                        isZero: isZero))
                if isZero { books.newestZero[block] = ticket.version }
            }
            books.window?.recordSubmission(of: ticket)
            return ticket
        }
    }

    /// Books an acknowledgement: what settled before this write was submitted is gone for good.
    package func acknowledge(_ ticket: WriteTicket) {
        books.withLock { books in
            let now = books.tick()
            for block in ticket.blocks {
                books.candidates[block].removeAll { candidate in
                    candidate.version != ticket.version
                        && candidate.settled.map { $0 < ticket.submitted } ?? false
                }
                Self.settle(ticket.version, in: &books.candidates[block], at: now)
            }
            books.window?.recordAcknowledgement(of: ticket.version, at: now)
        }
    }

    /// Books that nothing more can come of a write whose outcome was never learnt.
    package func settle(_ ticket: WriteTicket) {
        books.withLock { books in
            let now = books.tick()
            for block in ticket.blocks {
                Self.settle(ticket.version, in: &books.candidates[block], at: now)
            }
        }
    }

    private static func settle(_ version: UInt64, in candidates: inout [Candidate], at now: Moment)
    {
        for index in candidates.indices where candidates[index].version == version {
            candidates[index].settled = now
        }
    }

    // MARK: Reads

    /// Books a read that is about to be submitted.
    package func beginRead(of blocks: Range<BlockNumber>) -> ReadTicket {
        books.withLock { books in
            ReadTicket(
                of: blocks, begun: books.tick(), newestVersion: books.newestVersion,
                candidates: Array(books.candidates[blocks]))
        }
    }

    /// Judges what a read found, and remembers it: what was seen once must stay.
    package func endRead(_ ticket: ReadTicket, found bytes: UnsafeRawBufferPointer) {
        let contents = ticket.blocks.map { block in
            let start = (block - ticket.blocks.lowerBound) * BlockStamp.blockSize
            return stamp.recognise(
                UnsafeRawBufferPointer(rebasing: bytes[start..<start + BlockStamp.blockSize]),
                block: block)
        }
        books.withLock { books in
            for (block, content) in zip(ticket.blocks, contents) {
                judge(content, of: block, by: ticket, in: &books)
            }
        }
    }

    private func judge(
        _ content: BlockContent, of block: BlockNumber, by ticket: ReadTicket, in books: inout Books
    ) {
        let isPermitted =
            ticket.permitted(in: block).contains { $0.matches(content) }
            || isSubmitted(content, to: block, after: ticket.newestVersion, in: books)
        guard isPermitted else {
            report(content, of: block, permitted: ticket.permitted(in: block), in: &books)
            return
        }
        let isStillCandidate = books.candidates[block].contains { $0.matches(content) }
        guard isStillCandidate else { return }
        books.candidates[block].removeAll { candidate in
            !candidate.matches(content) && candidate.settled.map { $0 < ticket.begun } ?? false
        }
    }

    private func isSubmitted(
        _ content: BlockContent, to block: BlockNumber, after version: UInt64, in books: Books
    ) -> Bool {
        switch content {
        case .zero: books.newestZero[block] > version
        // Its own stamp proves that this version was submitted to this block.
        case .version(let found): found > version && found <= books.newestVersion
        case .foreign: false
        }
    }

    private func report(
        _ content: BlockContent, of block: BlockNumber, permitted: [Candidate],
        in books: inout Books
    ) {
        guard books.findings.count < Self.findingsLimit else { return }
        let allowed = permitted.map { candidate in
            (candidate.isZero ? "zeros of version " : "version ") + "\(candidate.version)"
                + (candidate.settled == nil ? " (in flight)" : "")
        }
        books.findings.append(
            "block \(block) holds \(content), but may hold \(allowed.joined(separator: ", ")) "
                + "or later than \(books.newestVersion)")
    }

    // MARK: Snapshots

    /// Opens the window in which a snapshot is taken; call it just before the command is given.
    package func beginSnapshot() {
        books.withLock { books in
            books.window = SnapshotWindow(
                begun: books.tick(), newestVersion: books.newestVersion,
                permitted: books.candidates)
        }
    }

    /// Closes the window; call it as soon as the command has returned.
    package func endSnapshot() -> SnapshotWindow {
        books.withLock { books in
            guard var window = books.window else {
                preconditionFailure("endSnapshot() follows beginSnapshot()")
            }
            books.window = nil
            window.close(newestVersion: books.newestVersion)
            return window
        }
    }
}
