// One connection of the verifying writer, and its thread's loop.
//
//     connect ─→ fill free slots ─→ poll ─→ reap ─┬─→ fill …
//        ↑                                        │ connection lost
//        └── settle the abandoned ←── reconnect ←─┘

/// What a slot's request is, with its entry in the ledger.
private enum Request {
    case write(WriteTicket)
    case read(ReadTicket)
    case flush
}

/// A buffer and the request that uses it.
private struct Slot {
    let buffer: UnsafeMutableRawBufferPointer
    var underWay: (cookie: NBDConnection.Cookie, request: Request)?
}

/// The state of one writer thread; used by that thread alone once it runs.
final class WriterLane: @unchecked Sendable {
    /// The largest request, in blocks.
    private static let maximumBlocks = 16

    private let uri: String
    private let load: VerifyingWriter.Load
    private let ledger: WriteLedger
    private let counts: Monitor<VerifyingWriter.Counts>
    private var random: SeededGenerator
    private var slots: [Slot]

    init(
        uri: String, load: VerifyingWriter.Load, number: Int, ledger: WriteLedger,
        counts: Monitor<VerifyingWriter.Counts>
    ) {
        self.uri = uri
        self.load = load
        self.ledger = ledger
        self.counts = counts
        random = SeededGenerator(seed: load.seed &+ UInt64(number) &* 0x1_0000_0001)
        slots = (0..<load.depth).map { _ in
            Slot(
                buffer: .allocate(
                    byteCount: Self.maximumBlocks * BlockStamp.blockSize, alignment: 4096))
        }
    }

    deinit {
        slots.forEach { $0.buffer.deallocate() }
    }

    /// Works until `shouldStop`, or until the service does not come back.
    func run(until shouldStop: () -> Bool) {
        var abandoned: [WriteTicket] = []
        while let connection = connect(until: shouldStop) {
            abandoned.forEach(ledger.settle)
            abandoned = serve(connection, until: shouldStop)
            if shouldStop() { break }
            counts.withLock { $0.lostConnections += 1 }
        }
        // What is still open stays open: nobody can say that nothing more comes of it.
    }

    private func connect(until shouldStop: () -> Bool) -> NBDConnection? {
        var reason = "no attempt was made"
        let connection = eventually(atMost: load.reconnectLimit) { () -> NBDConnection?? in
            do throws(NBDError) {
                return try .some(NBDConnection(uri))
            } catch {
                reason = error.description
                return shouldStop() ? .some(nil) : nil
            }
        }
        guard let connection else {
            note("no connection within \(load.reconnectLimit): \(reason)")
            return nil
        }
        return connection
    }

    /// Keeps the slots busy until told to stop or the connection is lost.
    ///
    /// - Returns: The writes whose outcome was not learnt.
    private func serve(
        _ connection: NBDConnection, until shouldStop: () -> Bool
    ) -> [WriteTicket] {
        while true {
            let isStopping = shouldStop()
            if !isStopping { fill(connection) }
            let isAlive = connection.poll(atMost: .milliseconds(20))
            reap(connection)
            guard isAlive else { return abandonAll() }
            if isStopping, slots.allSatisfy({ $0.underWay == nil }) {
                try? connection.shutdown()
                return []
            }
        }
    }

    private func fill(_ connection: NBDConnection) {
        for index in slots.indices where slots[index].underWay == nil {
            let count = Int.random(in: 1...Self.maximumBlocks, using: &random)
            let first = Int.random(in: 0...(load.blockCount - count), using: &random)
            let blocks = first..<first + count
            let die = Int.random(in: 0..<100, using: &random)
            do throws(NBDError) {
                slots[index].underWay =
                    if die < load.readsPerHundred {
                        try submitRead(of: blocks, using: slots[index].buffer, on: connection)
                    } else if die < load.readsPerHundred + 1 {
                        (try connection.submitFlush(), .flush)
                    } else {
                        try submitWrite(
                            of: blocks, isZero: die >= 100 - load.zerosPerHundred,
                            flags: die % 8 == 0 ? RequestFlag.fua : 0,
                            using: slots[index].buffer, on: connection)
                    }
            } catch {
                // Nothing was sent. If the connection is lost, polling it says so.
                return
            }
        }
    }

    private typealias UnderWay = (cookie: NBDConnection.Cookie, request: Request)

    private func submitRead(
        of blocks: Range<BlockNumber>, using buffer: UnsafeMutableRawBufferPointer,
        on connection: NBDConnection
    ) throws(NBDError) -> UnderWay {
        let ticket = ledger.beginRead(of: blocks)
        let target = UnsafeMutableRawBufferPointer(
            rebasing: buffer[..<(blocks.count * BlockStamp.blockSize)])
        let cookie = try connection.submitRead(into: target, at: Self.offset(of: blocks))
        return (cookie, .read(ticket))
    }

    private func submitWrite(
        of blocks: Range<BlockNumber>, isZero: Bool, flags: UInt32,
        using buffer: UnsafeMutableRawBufferPointer, on connection: NBDConnection
    ) throws(NBDError) -> UnderWay {
        let ticket = ledger.beginWrite(of: blocks, isZero: isZero)
        let count = blocks.count * BlockStamp.blockSize
        let offset = Self.offset(of: blocks)
        do {
            if isZero {
                return (
                    try connection.submitZero(UInt64(count), at: offset, flags: flags),
                    .write(ticket)
                )
            }
            for (index, block) in blocks.enumerated() {
                ledger.stamp.fill(
                    UnsafeMutableRawBufferPointer(
                        rebasing: buffer[(index * BlockStamp.blockSize)...]),
                    block: block, version: ticket.version)
            }
            let source = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            return (
                try connection.submitWrite(source, at: offset, flags: flags), .write(ticket)
            )
        } catch {
            ledger.settle(ticket)
            throw error
        }
    }

    private func reap(_ connection: NBDConnection) {
        for index in slots.indices {
            guard let (cookie, request) = slots[index].underWay else { continue }
            switch connection.progress(of: cookie) {
            case .underWay:
                continue
            case .done:
                complete(request, buffer: slots[index].buffer)
                slots[index].underWay = nil
            case .failed(let error):
                // On a lost connection every command fails, and is abandoned instead.
                if connection.isLost { continue }
                fail(request, error)
                slots[index].underWay = nil
            }
        }
    }

    private func complete(_ request: Request, buffer: UnsafeMutableRawBufferPointer) {
        switch request {
        case .write(let ticket):
            ledger.acknowledge(ticket)
            counts.withLock { $0.acknowledgedWrites += 1 }
        case .read(let ticket):
            ledger.endRead(ticket, found: UnsafeRawBufferPointer(buffer))
            counts.withLock { $0.reads += 1 }
        case .flush:
            break
        }
    }

    private func fail(_ request: Request, _ error: NBDError) {
        if case .write(let ticket) = request { ledger.settle(ticket) }
        counts.withLock { $0.requestErrors += 1 }
        note("a request failed: \(error)")
    }

    private func abandonAll() -> [WriteTicket] {
        var tickets: [WriteTicket] = []
        for index in slots.indices {
            if case .write(let ticket) = slots[index].underWay?.request { tickets.append(ticket) }
            slots[index].underWay = nil
        }
        return tickets
    }

    private func note(_ sentence: String) {
        counts.withLock { counts in
            if counts.problems.count < 10 { counts.problems.append(sentence) }
        }
    }

    private static func offset(of blocks: Range<BlockNumber>) -> UInt64 {
        UInt64(blocks.lowerBound * BlockStamp.blockSize)
    }
}
