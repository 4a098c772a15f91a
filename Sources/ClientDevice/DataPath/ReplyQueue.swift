// Replies on their way out: headers here, data where it is, sent together with as few calls as possible.
//
//     iovec:  │ header │ header │ data ─┐ │ header │ …          sent ──▶ head … tail ◀── queued
//                                       └──▶ region memory
//
// Read data is sent from the region itself. A send that is cut short in the middle of a block must not
// take the block's rest from the region later, when a newer write may have changed it: the rest of that
// one block is put aside at once, so a block on the wire is old or new, never both (G2). Under TLS what is
// sent is taken in records, and a record that the socket refuses is kept there: it counts as sent here.

import CLinux
import Glibc
import NBDProtocol
import Reactor
import RemoteMemory
import ResiliencySet

/// The replies of one connection that have not been sent.
@safe
struct ReplyQueue: ~Copyable {
    /// How many pieces fit; a piece is a header or a run of data.
    static let capacity = 1024
    /// The most pieces that one reply takes.
    static let largestReply = 66
    /// The most runs of data in a reply: what is left behind them is sent as it is.
    static let mostRuns = (simple: largestReply - 2, structured: largestReply / 2 - 1)
    /// Enough to be sent before the rest of a batch is handled: the client can go on with it meanwhile.
    private static let worthSending = (pieces: 16, bytes: 64 << 10)
    /// The most data that waits to be sent or is being read, in bytes, but for one reply: beyond it the client
    /// is not received from.
    static let mostBytes = 64 << 20
    static let block = 4096

    private enum Kind: UInt8 { case header, region, zeroes, aside, owned }

    private let pieces: UnsafeMutablePointer<iovec>
    private let kinds: UnsafeMutablePointer<Kind>
    private let headers: UnsafeMutablePointer<ReplyHeader>
    /// Memory to free once a piece of kind `owned` was sent.
    private let origins: UnsafeMutablePointer<UnsafeMutableRawPointer?>
    private let aside: UnsafeMutableRawPointer
    private var head = 0
    private var tail = 0
    private var bytes = 0
    /// How many pieces the replies to requests under way may take, and how many bytes of data.
    private var promised = (pieces: 0, bytes: 0)
    /// TLS has still to send something that was taken from here.
    private var isRecordHeld = false

    init() {
        unsafe pieces = .allocate(capacity: Self.capacity)
        unsafe kinds = .allocate(capacity: Self.capacity)
        unsafe headers = .allocate(capacity: Self.capacity)
        unsafe origins = .allocate(capacity: Self.capacity)
        unsafe aside = .allocate(byteCount: Self.block, alignment: Self.block)
    }

    deinit {
        for index in head..<tail { releaseOwned(index) }
        unsafe pieces.deallocate()
        unsafe kinds.deallocate()
        unsafe headers.deallocate()
        unsafe origins.deallocate()
        unsafe aside.deallocate()
    }

    var isEmpty: Bool { head == tail && !isRecordHeld }
    /// Whether another reply of any kind fits, beside those that are promised.
    var hasRoom: Bool {
        tail + promised.pieces + Self.largestReply <= Self.capacity
            && bytes + promised.bytes < Self.mostBytes
    }

    /// The most pieces that the reply to a request takes: of a read, one for each block; twice as many where
    /// each has a header of its own. (An error has a text behind its header.)
    @inline(__always)
    static func mostPieces(_ kind: RequestKind, _ range: ByteRange, _ form: MessageForm) -> Int {
        guard kind == .read, !range.isEmpty else { return form == .simple ? 1 : 2 }
        let block = UInt64(Self.block)
        let blocks = (range.end.bytes - 1) / block - range.start.bytes / block + 1
        return form == .simple
            ? 1 + Int(min(blocks, UInt64(mostRuns.simple)))
            : 2 + 2 * Int(min(blocks, UInt64(mostRuns.structured)))
    }

    /// Sets room aside for the reply to a request under way.
    ///
    /// What waits in the engine (for the registry, for a member) is answered all at once, and not when
    /// it suits this queue.
    @inline(__always)
    mutating func promise(_ pieces: Int, _ bytes: Int) {
        promised.pieces += pieces
        promised.bytes += bytes
    }

    /// Gives back what was set aside: the reply is queued next.
    @inline(__always)
    mutating func redeem(_ pieces: Int, _ bytes: Int) {
        precondition(
            promised.pieces >= pieces && promised.bytes >= bytes,
            "a reply is promised before it is queued")
        promised.pieces -= pieces
        promised.bytes -= bytes
    }

    /// How many bytes of data the reply to a request brings at most.
    @inline(__always)
    static func mostData(_ kind: RequestKind, _ range: ByteRange) -> Int {
        kind == .read ? Int(range.count.bytes) : 0
    }

    /// Whether it pays to send what there is, rather than wait for more.
    var isWorthSending: Bool {
        tail - head >= Self.worthSending.pieces || bytes >= Self.worthSending.bytes
    }

    @inline(__always)
    mutating func append(_ header: ReplyHeader) {
        unsafe headers[tail] = header
        unsafe push(headers + tail, header.count, .header)
    }

    /// Adds a text that is there for as long as the process.
    mutating func append(text: StaticString) {
        unsafe push(text.utf8Start, text.utf8CodeUnitCount, .header)
    }

    /// Adds data that stays in region memory until it is sent.
    @inline(__always)
    mutating func append(region data: UnsafeRawPointer, count: Int) {
        unsafe push(data, count, .region)
    }

    /// Adds data that is freed once it was sent.
    mutating func append(owned data: UnsafeRawPointer, count: Int) {
        unsafe origins[tail] = UnsafeMutableRawPointer(mutating: data)
        unsafe push(data, count, .owned)
    }

    /// Adds data of which nothing is allocated.
    @inline(__always)
    mutating func append(zeroes count: Int) {
        unsafe push(Zeroes.bytes, count, .zeroes)
    }

    @inline(__always)
    private mutating func push(_ base: UnsafeRawPointer, _ count: Int, _ kind: Kind) {
        precondition(tail < Self.capacity, "replies are promised, or the caller asks hasRoom first")
        unsafe pieces[tail] = iovec(
            iov_base: UnsafeMutableRawPointer(mutating: base), iov_len: count)
        unsafe kinds[tail] = kind
        tail += 1
        bytes += count
    }

    /// What became of a send.
    enum SendOutcome { case all, blocked, broken }

    /// Sends what is queued, as far as the socket takes it.
    mutating func send(to stream: SocketStream) -> SendOutcome {
        while !isEmpty {
            let sent = unsafe stream.take(pieces + head, tail - head)
            if sent < 0 {
                if errno == EINTR { continue }
                return errno == EAGAIN ? .blocked : .broken
            }
            isRecordHeld = stream.holdsRecord
            guard sent == bytes, !isRecordHeld else {
                drop(sent)
                return .blocked
            }
            dropAll()
        }
        return .all
    }

    private mutating func dropAll() {
        for index in head..<tail { releaseOwned(index) }
        head = 0
        tail = 0
        bytes = 0
    }

    /// Forgets everything: nobody will receive it.
    mutating func abandon() {
        dropAll()
        isRecordHeld = false
    }

    /// Forgets the first `count` bytes, and puts the rest of an interrupted block aside.
    private mutating func drop(_ count: Int) {
        bytes -= count
        var rest = count
        while rest > 0, unsafe rest >= pieces[head].iov_len {
            unsafe rest -= pieces[head].iov_len
            releaseOwned(head)
            head += 1
        }
        guard rest > 0 else { return }
        unsafe pieces[head].iov_base += rest
        unsafe pieces[head].iov_len -= rest
        guard unsafe kinds[head] == .region else { return }
        let place = unsafe UInt(bitPattern: pieces[head].iov_base)
        let interrupted = min(
            unsafe pieces[head].iov_len, (Self.block - Int(place % UInt(Self.block))) % Self.block)
        guard interrupted > 0 else { return }
        unsafe memcpy(aside, pieces[head].iov_base, interrupted)
        unsafe pieces[head].iov_base += interrupted
        unsafe pieces[head].iov_len -= interrupted
        // Its header was sent before it, so there is a free place in front.
        head -= 1
        unsafe pieces[head] = iovec(iov_base: aside, iov_len: interrupted)
        unsafe kinds[head] = .aside
    }

    /// Copies what is queued from memory that is about to be unmapped.
    mutating func detach(from memory: UnsafeRawBufferPointer) {
        for index in head..<tail where unsafe kinds[index] == .region {
            guard let base = unsafe pieces[index].iov_base,
                let first = memory.baseAddress, unsafe UnsafeRawPointer(base) >= first,
                unsafe UnsafeRawPointer(base) < first + memory.count
            else { continue }
            let count = unsafe pieces[index].iov_len
            let copy = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 16)
            unsafe memcpy(copy, base, count)
            unsafe pieces[index].iov_base = copy
            unsafe origins[index] = copy
            unsafe kinds[index] = .owned
        }
    }

    @inline(__always)
    private func releaseOwned(_ index: Int) {
        if unsafe kinds[index] == .owned { unsafe origins[index]?.deallocate() }
    }
}

/// Zeroes to read from, of which no memory is ever used: the kernel maps its one zero page everywhere.
enum Zeroes {
    static let count = 32 << 20

    // (Never written to, by construction: the mapping is read-only.)
    nonisolated(unsafe) static let bytes: UnsafeRawPointer = {
        let place = unsafe mmap(
            nil, count, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let place = unsafe place, unsafe place != MAP_FAILED else {
            preconditionFailure("no address space for \(count) bytes of zeroes")
        }
        return UnsafeRawPointer(place)
    }()
}
