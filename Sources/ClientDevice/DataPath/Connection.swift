// One client connection in its transmission phase: receive all, handle all, send all.
//
//     recv ──▶ request ─ request ─ request ──▶ Volume.submit ──▶ Volume.drain ──▶ replies ──▶ sendmsg
//
// One receive takes every request that is pending, reads run to completion one by one and writes a few
// together, and one send carries all the replies: three system calls a batch, whatever its size.

import BlockServer
import CLinux
import Glibc
import NBDProtocol
import Reactor
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport

/// What a connection's requests are carried out on.
enum ConnectionTarget {
    case volume(Volume)
    case snapshot(Snapshot)
}

/// The transmission phase of one connection; lives on its target's data thread.
@safe final class Connection {
    /// What the caller is to do after a turn.
    enum Verdict: Equatable {
        case goesOn
        /// Nothing is left of it.
        case closed(CloseReason)
    }

    /// How much the kernel may hold of what was sent and not yet received, in bytes.
    private static let sendBuffer: Int32 = 1 << 20

    /// How many writes are submitted before they are carried out together.
    ///
    /// (Sixteen gain nothing on eight. Reads are not among them: their data is sent from where it is.)
    private static let batch = (requests: 8, bytes: 64 << 10)

    /// How much is handled before it is the others' turn, in bytes of requests and replies; each request counts
    /// for as many as it takes the time of.
    static let turn = (bytes: 8 << 20, perRequest: 32 << 10)

    private let stream: SocketStream
    let descriptor: Int32
    private let isEncrypted: Bool
    private let counted: CountedConnection?
    let target: ConnectionTarget
    /// The target's volume, without the counting of references that takes two locked instructions a
    /// request: each would wait until all that was stored before has reached the memory.
    private let volume: Unmanaged<Volume>?
    private var size: UInt64
    private let isReadOnly: Bool
    let form: MessageForm
    let contexts: [MetaContext]
    var input = RequestBuffer()
    var replies = ReplyQueue()
    var unanswered = 0
    /// What the volume has not carried out yet; nothing between turns.
    private var submitted = (requests: 0, bytes: 0)
    /// Why no more requests are taken: the client left, or sent what makes no sense.
    var leaving: CloseReason?
    /// Nothing that is still to be answered will be.
    var isAbandoned = false
    /// Requests are no longer carried out: the client is told that the server is about to end.
    private var isRefusing = false
    /// The socket did not take all of the last send.
    private(set) var isBlocked = false
    /// Requests are waiting in the buffer for room elsewhere.
    private(set) var isStalled = false
    /// They wait for this connection's next turn, and for nothing else.
    private(set) var hasYielded = false
    /// Payloads of unanswered requests take up all there is to receive into.
    var isFull = false
    /// It is among those who wait; kept by their line.
    var isInLine = false
    private var isInTurn = false
    private var isClaimed = false
    /// The read whose data is queued next.
    var answered = ReadAnswer()

    init(
        _ stream: SocketStream, target: ConnectionTarget, terms: TransmissionTerms,
        received: [UInt8], counted: CountedConnection?
    ) {
        self.stream = stream
        descriptor = stream.descriptor
        isEncrypted = stream.isEncrypted
        self.counted = counted
        self.target = target
        form = terms.form
        contexts = terms.contexts
        switch target {
        case .volume(let volume):
            unsafe self.volume = Unmanaged.passUnretained(volume)
            size = volume.size.bytes
            isReadOnly = volume.isReadOnly
        case .snapshot(let snapshot):
            unsafe volume = nil
            size = snapshot.size.bytes
            isReadOnly = true
        }
        if !received.isEmpty { input.append(received) }
        // Large reads fill the usual 208 KiB at once, and each refill costs a wake-up on both sides.
        // (Beyond the system's limit for the privileged; up to it for everybody.)
        if clinux_set_option(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, Self.sendBuffer) != 0 {
            clinux_set_option(descriptor, SOL_SOCKET, SO_SNDBUF, Self.sendBuffer)
        }
    }

    /// Its volume has grown: it may use what is new, whatever it was told when it came.
    func grow(to size: ByteCount) { self.size = size.bytes }

    /// A reply came outside of this connection's turn.
    var wantsSending: Bool { !isInTurn }

    /// Whether it is not yet among those to be sent at the end of the turn; from now on it is.
    func claimTurn() -> Bool {
        defer { isClaimed = true }
        return !isClaimed
    }

    /// What to watch the socket for.
    var interest: Readiness {
        var interest: Readiness = []
        if mayReceive { interest.insert(.readable) }
        if isBlocked { interest.insert(.writable) }
        return interest
    }

    private var mayReceive: Bool { leaving == nil && !isStalled && !isBlocked && !isFull }

    /// Whether there is something to receive of which the descriptor tells nothing.
    var hasHiddenInput: Bool { isEncrypted && mayReceive && stream.hasPending }

    // MARK: Turns

    /// The socket is readable: takes and handles what there is.
    ///
    /// A client that `isGone` may have sent its requests again over another connection, and newer ones
    /// after them: what is still unread here would come too late, and undo those.
    func receive(isGone: Bool = false) -> Verdict {
        if isGone { return abandon() }
        guard leaving == nil, !isBlocked else { return send() }
        isInTurn = true
        isFull = !input.makeRoom(for: neededForNextRequest)
        if !isFull {
            let count = input.receive(from: stream)
            if count == 0 || (count < 0 && errno != EAGAIN && errno != EINTR) {
                leaving = stream.failure.map { .tls("TLS ended: \($0.ofClient)") } ?? .disconnected
            }
        }
        handleRequests()
        isInTurn = false
        return send()
    }

    /// Room elsewhere may have become free: handles what waits in the buffer.
    func resume() -> Verdict {
        // (Requests that wait here are not watched for their client's going.)
        if isShutDown { return abandon() }
        isInTurn = true
        handleRequests()
        isInTurn = false
        return send()
    }

    /// Sends what is queued.
    func send() -> Verdict {
        isClaimed = false
        if !replies.isEmpty {
            switch replies.send(to: stream) {
            case .all:
                isBlocked = false
                if isStalled, !hasYielded, leaving == nil {
                    isInTurn = true
                    handleRequests()
                    isInTurn = false
                    if !replies.isEmpty { isBlocked = true }
                }
            case .blocked: isBlocked = true
            case .broken:
                leaving = .disconnected
                replies.abandon()
                isBlocked = false
            }
        }
        guard let leaving, unanswered == 0, replies.isEmpty else { return .goesOn }
        return .closed(leaving)
    }

    /// Whether the client has closed the connection in both directions.
    private var isShutDown: Bool {
        var entry = pollfd(fd: descriptor, events: 0, revents: 0)
        return unsafe poll(&entry, 1, 0) == 1
    }

    /// The client is gone: closes when the last of what it had asked for is done.
    private func abandon() -> Verdict {
        leaveUnanswered()
        replies.abandon()
        isBlocked = false
        isStalled = false
        return send()
    }

    /// Whether another process could go on with it.
    var canStand: Bool { leaving == nil }

    /// What another process needs to go on with it; nil when TLS has ended it.
    ///
    /// To be called when it has closed for that.
    func handOver() -> StandingConnection? {
        precondition(leaving == .handedOver && unanswered == 0 && replies.isEmpty, "all is said")
        let export =
            switch target {
            case .volume(let volume): volume.name
            case .snapshot(let snapshot): snapshot.name
            }
        guard let (descriptor, tls, opened) = stream.suspend() else { return nil }
        return unsafe StandingConnection(
            descriptor: descriptor, tls: tls, export: export,
            terms: TransmissionTerms(form: form, contexts: contexts),
            received: Array(input.unread) + opened)
    }

    /// Answers what was asked for before; further requests are told that the server is about to end, until the
    /// client leaves.
    func announceShutdown() -> Verdict {
        guard leaving == nil, !isRefusing else { return send() }
        isRefusing = true
        return resume()
    }

    /// Takes no more requests; closes when the last is answered.
    func leave(_ reason: CloseReason) -> Verdict {
        if leaving == nil { leaving = reason }
        return send()
    }

    private var neededForNextRequest: Int {
        guard input.unreadCount >= form.requestHeaderSize else { return form.requestHeaderSize }
        let header = unsafe RequestHeader(RawSpan(_unsafeBytes: input.unread), form)
        // (A frame that makes no sense asks for no room.)
        guard RequestRules.frameFault(header, form) == nil else { return form.requestHeaderSize }
        return form.requestHeaderSize + Int(header.payloadSize(form))
    }

    // MARK: Requests

    private func handleRequests() {
        isStalled = false
        hasYielded = false
        var left = Self.turn.bytes
        if let volume = unsafe volume {
            unsafe volume._withUnsafeGuaranteedRef { $0.beginTurn() }
        } else if case .snapshot(let snapshot) = target {
            snapshot.beginTurn()
        }
        while leaving == nil, input.unreadCount >= form.requestHeaderSize {
            let header = unsafe RequestHeader(RawSpan(_unsafeBytes: input.unread), form)
            if let fault = RequestRules.frameFault(header, form) {
                leaving = fault
                break
            }
            let payloadSize = Int(header.payloadSize(form))
            guard input.unreadCount >= form.requestHeaderSize + payloadSize else { break }
            guard replies.hasRoom, isRefusing || targetHasRoom else {
                isStalled = true
                break
            }
            guard left > 0 else {
                isStalled = true
                hasYielded = true
                break
            }
            left -= Self.turn.perRequest + Int(min(header.length, UInt64(Self.turn.bytes)))
            handle(header, payloadSize)
            if replies.isWorthSending, !isBlocked { sendSome() }
        }
        carryOut()
    }

    /// Carries out what was submitted.
    private func carryOut() {
        guard submitted.requests > 0 else { return }
        submitted = (0, 0)
        unsafe volume?._withUnsafeGuaranteedRef { $0.drain() }
    }

    /// Sends what is queued while more requests are waiting to be handled.
    private func sendSome() {
        switch replies.send(to: stream) {
        case .all: break
        case .blocked: isBlocked = true
        case .broken: leaving = .disconnected
        }
    }

    private var targetHasRoom: Bool {
        guard let volume = unsafe volume else {
            if case .snapshot(let snapshot) = target { return snapshot.hasRoom }
            return true
        }
        return unsafe volume._withUnsafeGuaranteedRef { $0.hasRoom }
    }

    @inline(__always)
    private func handle(_ header: RequestHeader, _ payloadSize: Int) {
        let payload = unsafe input.unread.baseAddress.unsafelyUnwrapped + form.requestHeaderSize
        let range = ByteRange(start: ByteOffset(header.offset), count: ByteCount(header.length))
        input.consume(form.requestHeaderSize + payloadSize)
        guard !isRefusing || header.type == CommandType.disconnect else {
            return reply(.shutdown, header.cookie, at: range.start)
        }
        switch RequestRules.verdict(
            header, size: size, isReadOnly: isReadOnly, form, hasContexts: !contexts.isEmpty)
        {
        case .read:
            unsafe submit(
                .read, range, nil, header.cookie, isWhole: header.flags.contains(.df))
        case .write: unsafe submit(.write, range, payload, header.cookie)
        case .zero(let keepAllocated):
            unsafe submit(keepAllocated ? .zero : .discard, range, nil, header.cookie)
        case .acknowledge:
            if header.type == CommandType.flush, case .volume(let volume) = target {
                volume.counters.flushes += 1
            }
            reply(.none, header.cookie, at: range.start)
        case .blockStatus:
            appendStatus(of: range, header.cookie, onlyFirst: header.flags.contains(.reqOne))
        case .refuse(let error):
            if case .volume(let volume) = target { volume.counters.errors += 1 }
            reply(error, header.cookie, at: range.start)
        case .disconnect: leaving = .disconnected
        }
    }

    @inline(__always)
    private func submit(
        _ kind: RequestKind, _ range: ByteRange, _ payload: UnsafeRawPointer?,
        _ cookie: UInt64, isWhole: Bool = false
    ) {
        guard let volume = unsafe volume else {
            if case .snapshot(let snapshot) = target {
                unanswered += 1
                replies.promise(
                    ReplyQueue.mostPieces(kind, range, form), ReplyQueue.mostData(kind, range))
                snapshot.read(range, cookie: cookie, isWhole: isWhole, for: self)
            }
            return
        }
        unanswered += 1
        replies.promise(
            ReplyQueue.mostPieces(kind, range, form), ReplyQueue.mostData(kind, range))
        if unsafe payload != nil { input.hold() }
        unsafe volume._withUnsafeGuaranteedRef {
            unsafe $0.submit(
                kind, range, payload: payload, cookie: cookie, isWhole: isWhole, from: self)
        }
        submitted.requests += 1
        submitted.bytes += Int(range.count.bytes)
        if kind != .write || submitted.requests >= Self.batch.requests
            || submitted.bytes >= Self.batch.bytes
        {
            carryOut()
        }
    }
}
