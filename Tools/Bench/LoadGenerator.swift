// The pipelined load: one thread that keeps exactly `depth` requests in flight on one connection.
//
//      ┌─► sendmsg: every new request at once ──► recv: every reply that is there ─┐
//      └────────── as many new requests as replies came, one look at the clock ◄───┘
//
// It never waits for more replies than have come, so it batches only when the server is ahead of it.
// A request's latency runs from the look at the clock before its `sendmsg` to the one after the
// `recv` that ended its reply; nothing this side does is left out. The payload of a read is received,
// not inspected; that of a write comes from a fixed random buffer. Between the first request and the
// last reply nothing is allocated.

import Glibc
import RemoteMemory

/// How long a phase lasts: whichever comes first.
struct PhaseLimit {
    let nanoseconds: UInt64
    let requests: UInt64

    static func seconds(_ seconds: Double) -> PhaseLimit {
        PhaseLimit(
            nanoseconds: UInt64(seconds * Double(nanosecondsPerSecond)), requests: .max)
    }

    static func requests(_ count: UInt64) -> PhaseLimit {
        PhaseLimit(nanoseconds: .max, requests: count)
    }
}

struct LoadGenerator: ~Copyable {
    /// All that one `recv` can take, in bytes: more than a Unix socket holds by default (208 KiB),
    /// and small enough to stay in a core's cache.
    private static let arrivalsBytes = 256 << 10

    private let descriptor: Int32
    private let workload: Workload
    private let isRead: Bool
    private let blockBytes: Int
    private let ledger: ContentLedger?
    private var offsets: OffsetStream

    /// When each slot's request was sent, 0 while the slot is free; a slot's number is its cookie.
    private let sentAt: UnsafeMutablePointer<UInt64>
    private let sentTo: UnsafeMutablePointer<UInt64>
    /// Slots whose reply has come; the first `freeCount` are to be sent again.
    private let free: UnsafeMutablePointer<Int>
    private var freeCount: Int
    /// Per slot a request header, and the payload of a write right behind it.
    private let frames: UnsafeMutableRawPointer
    private let frameBytes: Int
    private let vectors: UnsafeMutablePointer<iovec>

    private let arrivals: UnsafeMutableRawPointer
    /// Bytes of a half-received reply header at the start of `arrivals`.
    private var carriedBytes = 0
    /// The read whose payload is still coming, and how much of it.
    private var payloadSlot = 0
    private var payloadBytesLeft = 0
    /// `--verify` only: per slot the payload that was read.
    private let verified: UnsafeMutableRawPointer?

    private(set) var latencies = Histogram()
    /// Replies received in the present phase.
    private(set) var replies: UInt64 = 0

    /// Prepares `workload` at `offsets` on `connection`, which must outlive the generator.
    init(
        _ workload: Workload, at offsets: OffsetStream, on connection: borrowing NBDConnection,
        ledger: ContentLedger?
    ) {
        self.offsets = offsets
        self.workload = workload
        self.ledger = ledger
        descriptor = connection.descriptor
        isRead = workload.operation == .read
        blockBytes = Int(workload.block.bytes)
        let depth = workload.depth
        sentAt = .allocate(capacity: depth)
        sentAt.initialize(repeating: 0, count: depth)
        sentTo = .allocate(capacity: depth)
        sentTo.initialize(repeating: 0, count: depth)
        free = .allocate(capacity: depth)
        for slot in 0..<depth { (free + slot).initialize(to: slot) }
        freeCount = depth
        vectors = .allocate(capacity: depth)
        vectors.initialize(repeating: iovec(), count: depth)
        frameBytes = NBD.requestBytes + (isRead ? 0 : blockBytes)
        frames = .allocate(byteCount: depth * frameBytes, alignment: 64)
        arrivals = .allocate(byteCount: Self.arrivalsBytes, alignment: 4096)
        verified =
            ledger != nil && isRead
            ? .allocate(byteCount: depth * blockBytes, alignment: 64) : nil
        prepareFrames()
    }

    deinit {
        sentAt.deallocate()
        sentTo.deallocate()
        free.deallocate()
        vectors.deallocate()
        frames.deallocate()
        arrivals.deallocate()
        verified?.deallocate()
    }

    private func prepareFrames() {
        var random = FastRandom(seed: 1)
        for index in 0..<workload.depth * frameBytes {
            frames.storeBytes(
                of: UInt8(truncatingIfNeeded: random.next() >> 32), toByteOffset: index,
                as: UInt8.self)
        }
        let command = isRead ? NBD.commandRead : NBD.commandWrite
        for slot in 0..<workload.depth {
            let frame = frames + slot * frameBytes
            frame.storeBytes(of: NBD.requestMagic.bigEndian, toByteOffset: 0, as: UInt32.self)
            frame.storeBytes(of: 0, toByteOffset: 4, as: UInt16.self)
            frame.storeBytes(of: command.bigEndian, toByteOffset: 6, as: UInt16.self)
            frame.storeBytes(of: UInt64(slot).bigEndian, toByteOffset: 8, as: UInt64.self)
            frame.storeBytes(
                of: UInt32(blockBytes).bigEndian, toByteOffset: 24, as: UInt32.self)
        }
    }

    // MARK: Phases

    /// Fills the pipeline for the first time.
    mutating func start() throws(BenchError) {
        try sendFree(now: monotonicNanoseconds())
    }

    /// Keeps the pipeline full until `limit` is reached; latencies and replies count from zero.
    mutating func run(until limit: PhaseLimit) throws(BenchError) {
        latencies.reset()
        replies = 0
        let start = monotonicNanoseconds()
        while true {
            let now = try receiveBatch()
            try sendFree(now: now)
            if replies >= limit.requests || now &- start >= limit.nanoseconds { return }
        }
    }

    /// Receives what is in flight, sends nothing more.
    mutating func drain() throws(BenchError) {
        while freeCount < workload.depth { _ = try receiveBatch() }
    }

    // MARK: Sending

    @inline(__always)
    private mutating func sendFree(now: UInt64) throws(BenchError) {
        let count = freeCount
        guard count > 0 else { return }
        for index in 0..<count {
            let slot = free[index]
            let frame = frames + slot &* frameBytes
            let offset = ledger == nil ? offsets.next() : nextVerifiable(frame)
            sentAt[slot] = now
            sentTo[slot] = offset
            frame.storeBytes(of: offset.bigEndian, toByteOffset: 16, as: UInt64.self)
            vectors[index].iov_base = frame
            vectors[index].iov_len = frameBytes
        }
        freeCount = 0
        try transmit(vectorCount: count)
    }

    /// An offset with nothing in flight, and for a write the payload it is to hold.
    private mutating func nextVerifiable(_ frame: UnsafeMutableRawPointer) -> UInt64 {
        guard let ledger else { return offsets.next() }
        var offset = offsets.next()
        while !ledger.reserve(offset: offset, byteCount: blockBytes) { offset = offsets.next() }
        if !isRead {
            ledger.compose(frame + NBD.requestBytes, offset: offset, byteCount: blockBytes)
        }
        return offset
    }

    /// Sends the first `vectorCount` vectors completely.
    private func transmit(vectorCount: Int) throws(BenchError) {
        var message = msghdr()
        message.msg_iov = vectors
        message.msg_iovlen = vectorCount
        var bytesLeft = vectorCount &* frameBytes
        while true {
            let sent = sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
            if sent == bytesLeft { return }
            if sent < 0 {
                guard errno == EINTR else {
                    throw .system(call: "sendmsg", errno: errno, subject: "the NBD socket")
                }
                try Interruption.check()
                continue
            }
            bytesLeft &-= sent
            Self.advance(&message, by: sent)
        }
    }

    /// Drops `count` sent bytes from the front of a message.
    private static func advance(_ message: inout msghdr, by count: Int) {
        var left = count
        while left > 0, let first = message.msg_iov {
            let taken = min(left, first.pointee.iov_len)
            first.pointee.iov_base += taken
            first.pointee.iov_len -= taken
            left -= taken
            if first.pointee.iov_len == 0 {
                message.msg_iov = first + 1
                message.msg_iovlen -= 1
            }
        }
    }

    // MARK: Receiving

    /// Receives what is there, waiting for at least one byte, and frees the slots of whole replies.
    ///
    /// - Returns: The time right after the `recv`, in nanoseconds.
    @inline(__always)
    private mutating func receiveBatch() throws(BenchError) -> UInt64 {
        var got = recv(
            descriptor, arrivals + carriedBytes, Self.arrivalsBytes &- carriedBytes, 0)
        while got <= 0 { got = try retryReceive(after: got) }
        let now = monotonicNanoseconds()
        let end = carriedBytes &+ got
        carriedBytes = 0
        var position = 0
        while true {
            if payloadBytesLeft > 0 {
                let taken = min(payloadBytesLeft, end &- position)
                if let verified { keep(verified, position, taken) }
                payloadBytesLeft &-= taken
                position &+= taken
                if payloadBytesLeft > 0 { return now }
                try finish(payloadSlot, now: now)
            }
            if end &- position < NBD.replyBytes {
                carriedBytes = end &- position
                arrivals.copyMemory(from: arrivals + position, byteCount: carriedBytes)
                return now
            }
            let slot = try replyingSlot(arrivals + position)
            position &+= NBD.replyBytes
            if isRead {
                payloadSlot = slot
                payloadBytesLeft = blockBytes
            } else {
                try finish(slot, now: now)
            }
        }
    }

    /// Why a `recv` gave nothing; tries again when that was a signal.
    private func retryReceive(after got: Int) throws(BenchError) -> Int {
        try Interruption.check()
        if got == 0 { throw .protocolViolation("it closed the connection") }
        switch errno {
        case EINTR: break
        case EAGAIN: throw .stalled(seconds: NBDConnection.stallSeconds)
        default: throw .system(call: "recv", errno: errno, subject: "the NBD socket")
        }
        return recv(descriptor, arrivals + carriedBytes, Self.arrivalsBytes - carriedBytes, 0)
    }

    /// The slot that a reply header answers: one that is in flight, without an error.
    @inline(__always)
    private func replyingSlot(_ header: UnsafeMutableRawPointer) throws(BenchError) -> Int {
        let magic = UInt32(bigEndian: header.loadUnaligned(as: UInt32.self))
        let problem = UInt32(
            bigEndian: header.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
        let cookie = UInt64(
            bigEndian: header.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
        guard magic == NBD.simpleReplyMagic, cookie < UInt64(workload.depth),
            sentAt[Int(truncatingIfNeeded: cookie)] != 0
        else {
            throw .protocolViolation("a reply has a wrong magic, or a cookie not in flight")
        }
        let slot = Int(truncatingIfNeeded: cookie)
        guard problem == 0 else {
            throw .requestFailed(
                operation: workload.operation.rawValue, offset: sentTo[slot], errno: problem)
        }
        return slot
    }

    @inline(__always)
    private mutating func finish(_ slot: Int, now: UInt64) throws(BenchError) {
        if let ledger {
            if let verified {
                try ledger.check(
                    verified + slot * blockBytes, offset: sentTo[slot], byteCount: blockBytes)
            }
            ledger.release(offset: sentTo[slot], byteCount: blockBytes)
        }
        latencies.record(now &- sentAt[slot])
        sentAt[slot] = 0
        free[freeCount] = slot
        freeCount &+= 1
        replies &+= 1
    }

    /// Puts a piece of a read's payload aside until all of it is there.
    private func keep(_ verified: UnsafeMutableRawPointer, _ position: Int, _ count: Int) {
        let start = payloadSlot * blockBytes + blockBytes - payloadBytesLeft
        (verified + start).copyMemory(from: arrivals + position, byteCount: count)
    }
}
