// Replies on their way out: headers here, data where it is, sent together with one call a batch.
//
//     pieces:  │ header │ header │ data ─┐ │ header │ …          what the socket refuses ──▶ rest
//                                        └──▶ region memory
//
// Data stays in region memory only while nothing else can run: a write of the same batch to the same place
// is preceded by sending, and what the socket does not take at once is copied to the rest. So what is queued
// is not changed by what comes later (G2). As long as there is a rest the peer's next request waits, so the
// rest is one batch at most.

import Glibc
import Reactor
import RemoteMemory
import TCPTransport

/// The replies of one access connection that have not been sent.
@safe
struct AccessReplies: ~Copyable {
    /// How many pieces fit; fewer than one system call takes.
    static let capacity = 512
    /// The most runs of data that are queued at once for a reply.
    static let mostRuns = 64
    /// The most pieces that are queued at once for a reply: its header, and runs.
    static let largestReply = mostRuns + 1
    /// What is sent before more is carried out, in bytes.
    static let worthSending = 1 << 20

    private enum Kind: UInt8 { case header, region, zeroes, owned }
    /// A header and the word that may stand behind it.
    private struct Header {
        var words: (UInt64, UInt64, UInt64)
    }

    private let pieces: UnsafeMutablePointer<iovec>
    private let kinds: UnsafeMutablePointer<Kind>
    private let headers: UnsafeMutablePointer<Header>
    private var tail = 0
    private var bytes = 0
    private var regionPieces = 0
    /// What the socket refused.
    private var rest: UnsafeMutableRawBufferPointer?
    private var restSent = 0

    init() {
        unsafe pieces = .allocate(capacity: Self.capacity)
        unsafe kinds = .allocate(capacity: Self.capacity)
        unsafe headers = .allocate(capacity: Self.capacity)
    }

    deinit {
        for index in 0..<tail { releaseOwned(index) }
        unsafe rest?.deallocate()
        unsafe pieces.deallocate()
        unsafe kinds.deallocate()
        unsafe headers.deallocate()
    }

    /// The socket takes no more for now.
    var isBlocked: Bool { unsafe rest != nil }
    var isEmpty: Bool { tail == 0 && !isBlocked }
    /// Whether another reply of any kind fits.
    var hasRoom: Bool { tail + Self.largestReply <= Self.capacity && bytes < Self.worthSending }
    /// What the rest takes up, in bytes.
    var restSize: Int { unsafe rest?.count ?? 0 }

    // MARK: Filling

    /// Adds a header, with a word behind it if there is one (it counts as part of the body).
    @inline(__always)
    mutating func append(_ header: AccessReplyHeader, word: UInt64? = nil) {
        let words = header.words
        unsafe headers[tail] = Header(words: (words.0, words.1, (word ?? 0).littleEndian))
        unsafe push(headers + tail, AccessWire.headerSize + (word == nil ? 0 : 8), .header)
    }

    /// Adds data that is in region memory.
    @inline(__always)
    mutating func append(region data: UnsafeRawPointer, count: Int) {
        unsafe push(data, count, .region)
        regionPieces += 1
    }

    /// Adds zeroes.
    mutating func append(zeroes count: Int) {
        unsafe push(ZeroPage.bytes, count, .zeroes)
    }

    /// Adds data in memory that was allocated for it, and takes that over.
    mutating func append(owned data: UnsafeMutableRawBufferPointer) {
        guard let base = data.baseAddress else { return }
        unsafe push(base, data.count, .owned)
    }

    @inline(__always)
    private mutating func push(_ base: UnsafeRawPointer, _ count: Int, _ kind: Kind) {
        precondition(tail < Self.capacity, "the caller asks hasRoom first")
        unsafe pieces[tail] = iovec(
            iov_base: UnsafeMutableRawPointer(mutating: base), iov_len: count)
        unsafe kinds[tail] = kind
        tail += 1
        bytes += count
    }

    /// Whether data that is not sent yet lies within `count` bytes at `place`.
    @inline(__always)
    func overlaps(_ place: UnsafeRawPointer, _ count: Int) -> Bool {
        guard regionPieces > 0 else { return false }
        let start = UInt(bitPattern: place)
        let end = start + UInt(count)
        for index in 0..<tail where unsafe kinds[index] == .region {
            let first = unsafe UInt(bitPattern: pieces[index].iov_base)
            let last = unsafe first + UInt(pieces[index].iov_len)
            if first < end, start < last { return true }
        }
        return false
    }

    // MARK: Sending

    /// Sends as much as the socket takes, and copies the rest; how much went, or -1 when it is broken.
    mutating func send(to stream: SocketStream, _ budget: BufferBudget) -> Int {
        var sent = 0
        if let block = unsafe rest, let base = block.baseAddress {
            while restSent < block.count {
                var piece = unsafe iovec(
                    iov_base: base + restSent, iov_len: block.count - restSent)
                let count = unsafe stream.send(&piece, 1)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return errno == EAGAIN ? sent : -1 }
                restSent += count
                sent += count
            }
            dropRest(budget)
        }
        var head = 0
        while head < tail {
            let count = unsafe stream.send(pieces + head, tail - head)
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                guard errno == EAGAIN else { return -1 }
                keepRest(from: head, budget)
                break
            }
            sent += count
            bytes -= count
            advance(&head, count)
        }
        for index in 0..<tail { releaseOwned(index) }
        tail = 0
        bytes = 0
        regionPieces = 0
        return sent
    }

    /// Passes over the first `count` bytes.
    private func advance(_ head: inout Int, _ count: Int) {
        var rest = count
        while head < tail, unsafe rest >= pieces[head].iov_len {
            unsafe rest -= pieces[head].iov_len
            releaseOwned(head)
            head += 1
        }
        guard rest > 0 else { return }
        // (What is owned is freed by its first byte.)
        if unsafe kinds[head] == .owned { return keepTail(of: head, from: rest) }
        unsafe pieces[head].iov_base += rest
        unsafe pieces[head].iov_len -= rest
    }

    /// Moves what is unsent of an owned piece to its start.
    private func keepTail(of index: Int, from sent: Int) {
        guard let base = unsafe pieces[index].iov_base else { return }
        unsafe pieces[index].iov_len -= sent
        unsafe memmove(base, base + sent, pieces[index].iov_len)
    }

    private mutating func keepRest(from head: Int, _ budget: BufferBudget) {
        let block = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes, alignment: 16)
        var position = 0
        for index in head..<tail {
            let count = unsafe pieces[index].iov_len
            guard count > 0, let to = block.baseAddress, let from = unsafe pieces[index].iov_base
            else { continue }
            unsafe memcpy(to + position, from, count)
            position += count
        }
        precondition(position == bytes, "all that was not sent is kept")
        unsafe rest = block
        restSent = 0
        budget.force(block.count)
    }

    private mutating func dropRest(_ budget: BufferBudget) {
        budget.release(restSize)
        unsafe rest?.deallocate()
        unsafe rest = nil
    }

    @inline(__always)
    private func releaseOwned(_ index: Int) {
        guard unsafe kinds[index] == .owned else { return }
        unsafe pieces[index].iov_base?.deallocate()
        unsafe kinds[index] = .header
    }
}

/// Zeroes to send, of which no memory is ever used: the kernel maps its one zero page everywhere.
enum ZeroPage {
    // (Never written to, by construction: the mapping is read-only.)
    nonisolated(unsafe) static let bytes: UnsafeRawPointer = {
        let place = unsafe mmap(
            nil, AccessWire.largestRead, PROT_READ,
            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let place = unsafe place, unsafe place != MAP_FAILED else {
            preconditionFailure("no address space for \(AccessWire.largestRead) bytes of zeroes")
        }
        return UnsafeRawPointer(place)
    }()
}
