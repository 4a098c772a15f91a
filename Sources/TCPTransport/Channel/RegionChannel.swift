// Client-side access to one region over a stream: requests out, replies in, in the same order.
//
//     record ──▶ │ header segments words │ payload ─┐ │ words header segments … │ ──▶ sendmsg
//                                                   └──▶ stays where it is until it is answered
//     recv ──▶ │ header │ header bytes │ header … │ ──▶ nextCompletion
//
// Requests of many writes leave with one system call, and their replies come with one. Nothing is
// allocated for a request; what does not fit the arena (dirty maps, mostly) has memory of its own until it
// is sent.

import CLinux
import Glibc
public import Reactor
public import RemoteMemory

/// One request on its way, and what its owner wants to know when it is answered.
public struct PendingAccess: BitwiseCopyable, Sendable {
    /// What its owner calls it.
    public var cookie: UInt64
    /// What its owner does with the reply.
    public var purpose: UInt8
    /// How much a read asked for, in bytes.
    public var count: UInt32
    var isRead: Bool

    public init(cookie: UInt64 = 0, purpose: UInt8) {
        self.cookie = cookie
        self.purpose = purpose
        count = 0
        isRead = false
    }
}

/// How a request ended.
@safe
public struct AccessCompletion: BitwiseCopyable {
    public var access: PendingAccess
    /// Nil: the channel broke before the reply came.
    public var status: AccessStatus?
    public var content: ReplyContent
    /// What came with the reply; there until more is received.
    public var bytes: UnsafeRawBufferPointer
}

/// The client device's end of an access connection.
///
/// (Sendable: it belongs to one thread at a time: to its appliance's link until its region is open, then to
/// its volume's.)
@safe
public final class RegionChannel: @unchecked Sendable {
    /// The most requests without a reply.
    ///
    /// The engine asks for less: some 300 entries of its table, and marks that nobody waits for.
    public static let mostPending = 4096
    /// How much data a request carries at most: the rest of its body is for words and segments.
    static let mostPayload = AccessWire.largestRead
    private static let mostPieces = 1024
    private static let arenaSize = 256 << 10
    /// How much the kernel may hold of what was sent and not yet received, in bytes.
    private static let socketBuffer: Int32 = 4 << 20

    public let stream: SocketStream
    /// Of the volume's data in this region.
    public private(set) var dataSize: ByteCount

    // What is being recorded.
    let segments = UnsafeMutablePointer<AccessSegment>.allocate(
        capacity: AccessWire.mostSegments)
    var segmentCount = 0
    var words = UnsafeMutablePointer<UInt64>.allocate(capacity: 64)
    var wordCapacity = 64
    var wordCount = 0
    let payloads = UnsafeMutablePointer<Payload>.allocate(
        capacity: AccessWire.mostSegments)
    var payloadCount = 0
    var payloadSize = 0
    var lastIsWords = false

    // What is to be sent.
    private let pieces = UnsafeMutablePointer<iovec>.allocate(capacity: mostPieces)
    private var head = 0
    private var tail = 0
    private let arena = UnsafeMutableRawPointer.allocate(byteCount: arenaSize, alignment: 64)
    private var arenaUsed = 0
    private var large: [LargeBlock] = []

    // What was sent and is not answered.
    let pending = FixedArray<PendingAccess>(
        repeating: PendingAccess(purpose: 0), count: mostPending)
    var oldest: UInt64 = 0
    var next: UInt64 = 0

    private var input = ReceiveBuffer()
    /// Of the reply that was taken last.
    private var taken = 0
    /// Why nothing more comes; nil while all is well.
    public private(set) var fault: ChannelFault?
    /// The socket did not take all of the last send.
    public private(set) var isBlocked = false

    @safe struct Payload: BitwiseCopyable {
        var wordsBefore: Int
        var start: UnsafeRawPointer
        var count: Int
    }

    /// Memory of its own for what does not fit the arena.
    @safe private struct LargeBlock {
        let start: UnsafeMutableRawPointer
        func free() { unsafe start.deallocate() }
    }

    /// A channel over a stream on which the region was attached.
    public init(_ stream: SocketStream, dataSize: ByteCount) {
        self.stream = stream
        self.dataSize = dataSize
        for option in [SO_SNDBUF, SO_RCVBUF] {
            clinux_set_option(stream.descriptor, SOL_SOCKET, option, Self.socketBuffer)
        }
    }

    deinit {
        unsafe segments.deallocate()
        unsafe words.deallocate()
        unsafe payloads.deallocate()
        unsafe pieces.deallocate()
        unsafe arena.deallocate()
        for block in large { block.free() }
    }

    /// The region has grown.
    public func enlarge(to dataSize: ByteCount) { self.dataSize = max(self.dataSize, dataSize) }

    public var descriptor: Int32 { stream.descriptor }
    public var hasUnsent: Bool { head != tail }
    public var hasPending: Bool { oldest != next }
    public var pendingCount: Int { Int(next &- oldest) }

    // MARK: Sending

    func reserve(_ count: Int) -> UnsafeMutableRawPointer {
        if head == tail {
            head = 0
            tail = 0
            arenaUsed = 0
            if !large.isEmpty {
                for block in large { block.free() }
                large.removeAll(keepingCapacity: true)
            }
        }
        guard arenaUsed + count <= Self.arenaSize else {
            let memory = UnsafeMutableRawPointer.allocate(byteCount: count, alignment: 8)
            unsafe large.append(LargeBlock(start: memory))
            return unsafe memory
        }
        defer { arenaUsed += count }
        return unsafe arena + arenaUsed
    }

    @inline(__always)
    func push(_ start: UnsafeRawPointer, _ count: Int) {
        guard count > 0, fault == nil else { return }
        if head != tail {
            let last = tail - 1
            if unsafe UnsafeRawPointer(pieces[last].iov_base) == start - pieces[last].iov_len {
                unsafe pieces[last].iov_len += count
                return
            }
        }
        if tail == Self.mostPieces { makeRoom() }
        unsafe pieces[tail] = iovec(
            iov_base: UnsafeMutableRawPointer(mutating: start), iov_len: count)
        tail += 1
    }

    /// Room for another piece: by sending, by moving, or by giving the channel up.
    private func makeRoom() {
        if !isBlocked { flush() }
        if tail == Self.mostPieces, head > 0 {
            unsafe pieces.update(from: pieces + head, count: tail - head)
            tail -= head
            head = 0
        }
        if tail == Self.mostPieces {
            // The appliance takes nothing while more is asked of it than it can have in flight.
            fail(.overrun)
        }
    }

    /// Sends what is queued, as far as the socket takes it.
    public func flush() {
        while head < tail, fault == nil {
            let sent = unsafe stream.send(pieces + head, min(tail - head, Self.mostPieces))
            if sent < 0 {
                if errno == EINTR { continue }
                if errno == EAGAIN {
                    isBlocked = true
                } else {
                    fail(.broken(errno: errno))
                }
                return
            }
            drop(sent)
        }
        isBlocked = false
    }

    private func drop(_ count: Int) {
        var rest = count
        while rest > 0, unsafe rest >= pieces[head].iov_len {
            unsafe rest -= pieces[head].iov_len
            head += 1
        }
        guard rest > 0 else { return }
        unsafe pieces[head].iov_base += rest
        unsafe pieces[head].iov_len -= rest
    }

    // MARK: Receiving

    /// What to watch the descriptor for.
    public var interest: Readiness {
        var interest = Readiness.readable
        if isBlocked { interest.insert(.writable) }
        return interest
    }

    /// Receives what there is; what was handed out before is there no more.
    public func receive() {
        guard fault == nil else { return }
        dropTaken()
        input.makeRoom(for: neededForNextReply)
        let count = input.receive(from: stream)
        if count == 0 { return fail(.closed) }
        if count < 0, errno != EAGAIN, errno != EINTR { fail(.broken(errno: errno)) }
    }

    private var neededForNextReply: Int {
        guard input.unreadCount >= AccessWire.headerSize else { return AccessWire.headerSize }
        let header = unsafe AccessReplyHeader(RawSpan(_unsafeBytes: input.unread))
        return AccessWire.headerSize + min(Int(header.bodySize), AccessWire.largestBody)
    }

    private func dropTaken() {
        input.consume(taken)
        taken = 0
    }

    /// The next request that is answered, or that nobody answers any more; nil when there is none.
    @inline(__always)
    public func nextCompletion() -> AccessCompletion? {
        dropTaken()
        while hasPending {
            guard fault == nil else { return abandoned() }
            guard input.unreadCount >= AccessWire.headerSize else { return nil }
            let header = unsafe AccessReplyHeader(RawSpan(_unsafeBytes: input.unread))
            let size = Int(header.bodySize)
            guard size <= AccessWire.largestBody, header.tag == oldest, let status = header.status,
                let content = header.content
            else {
                fail(.malformed)
                continue
            }
            guard input.unreadCount >= AccessWire.headerSize + size else { return nil }
            let access = pending[Int(oldest % UInt64(Self.mostPending))]
            guard isPlausible(access, status, content, size) else {
                fail(.malformed)
                continue
            }
            oldest &+= 1
            taken = AccessWire.headerSize + size
            if access.purpose == Self.noPurpose {
                if status != .done { fail(.refused(status)) }
                dropTaken()
                continue
            }
            return unsafe AccessCompletion(
                access: access, status: status, content: content,
                bytes: UnsafeRawBufferPointer(
                    rebasing: input.unread[AccessWire.headerSize..<taken]))
        }
        if input.unreadCount > 0, fault == nil { fail(.malformed) }
        return nil
    }

    /// An appliance that answers less than it was asked must not make this process read beside it.
    @inline(__always)
    private func isPlausible(
        _ access: PendingAccess, _ status: AccessStatus, _ content: ReplyContent, _ size: Int
    ) -> Bool {
        guard access.isRead, status == .done else { return true }
        switch content {
        case .bytes: return size == Int(access.count)
        case .zeroes: return size == 0
        case .nothing, .blocks: return false
        }
    }

    private func abandoned() -> AccessCompletion? {
        while hasPending {
            let access = pending[Int(oldest % UInt64(Self.mostPending))]
            oldest &+= 1
            guard access.purpose != Self.noPurpose else { continue }
            return unsafe AccessCompletion(
                access: access, status: nil, content: .nothing,
                bytes: UnsafeRawBufferPointer(start: nil, count: 0))
        }
        return nil
    }

    /// Whether more was received than is handled, of which the descriptor tells nothing.
    public var hasHiddenInput: Bool { stream.hasPending }

    /// What was received and may still be on its way to somebody.
    public var received: UnsafeRawBufferPointer { unsafe input.storage }

    /// Cuts the channel: nothing more leaves, and what is not answered fails.
    public func fail(_ reason: ChannelFault) {
        guard fault == nil else { return }
        fault = reason
        head = 0
        tail = 0
        isBlocked = false
        shutdown(descriptor, Int32(SHUT_RDWR))
    }
}

/// Why a channel is of no more use.
public enum ChannelFault: Error, Hashable, Sendable, CustomStringConvertible {
    /// The appliance closed it.
    case closed
    case broken(errno: Int32)
    /// A reply makes no sense.
    case malformed
    /// The appliance refused something that cannot be refused alone.
    case refused(AccessStatus)
    /// More was asked for than the channel holds.
    case overrun
    /// This side has no more use for it.
    case dropped
    /// No answer came in time.
    case silent

    public var description: String {
        switch self {
        case .closed: "the appliance closed the connection"
        case .broken(let code): unsafe "the connection broke: \(String(cString: strerror(code)))"
        case .malformed: "the appliance's reply makes no sense: use the same version"
        case .refused(let status): status.description
        case .overrun: "the appliance takes nothing in"
        case .dropped: "the connection is not needed any more"
        case .silent: "the appliance did not answer in time"
        }
    }
}
