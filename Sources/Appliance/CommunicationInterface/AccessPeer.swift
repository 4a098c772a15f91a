// The software communication interface: carries out the client-side accesses of one peer, in order.
//
//     received, many at once ──▶ carried out, each when it is whole ──▶ replies, sent once
//
// A request touches its region only after all of it has come and been checked. A peer that does not take
// its replies is not received from; what it has sent waits, in a bounded buffer, and dies with its key.

import CLinux
import Glibc
import Reactor
import RemoteMemory
import TCPTransport

/// A connection for client-side access to one region.
@safe
final class AccessPeer: Peer {
    /// What is received into without asking, in bytes; a larger request takes from the budget.
    static let usualCapacity = 512 << 10
    /// How long a request that has begun may take, in nanoseconds, and each MiB of it on top.
    static let messageTime: UInt64 = 5_000_000_000
    static let timePerMebibyte: UInt64 = 1_000_000_000
    /// How long a peer may take nothing of its replies, in nanoseconds.
    static let replyTime: UInt64 = 30_000_000_000

    let stream: SocketStream
    var buffer: ReceiveBuffer
    var replies = AccessReplies()
    /// What the key it came with opens; nil until then.
    var grant: AccessGrant?
    /// What is begun of the first request in the buffer.
    var progress: Progress?
    /// Nothing more is received: the last reply says why.
    var isEnding = false
    private var waitsForBudget = false
    /// How much of the budget the receive buffer has.
    private var lease = 0
    private let receiving: BufferBudget
    private let sending: BufferBudget

    /// A peer that has until `deadline` to attach; `unread` came behind its opening.
    init(_ stream: SocketStream, deadline: UInt64, unread: [UInt8], _ server: ApplianceServer) {
        self.stream = stream
        receiving = server.receiveBudget
        sending = server.replyBudget
        buffer = ReceiveBuffer(usualCapacity: Self.usualCapacity)
        buffer.append(unread)
        super.init()
        self.deadline = deadline
    }

    deinit {
        receiving.release(lease)
        sending.release(replies.restSize)
    }

    override var descriptor: Int32 { stream.descriptor }

    override var wants: Readiness {
        if replies.isBlocked { return .writable }
        return waitsForBudget || progress != nil ? [] : .readable
    }

    override func advance(_ readiness: Readiness, _ server: ApplianceServer) -> Outcome {
        if !readiness.isDisjoint(with: .hungUp), wants.isDisjoint(with: .readable) { return .ends }
        if replies.isBlocked {
            guard send(server) else { return .ends }
            if replies.isBlocked { return .waits }
        }
        if isEnding { return .ends }
        waitsForBudget = false
        // What has come is carried out before more is received.
        if progress != nil || hasWholeRequest {
            guard execute(server) else { return .ends }
        }
        guard !replies.isBlocked, progress == nil, !isEnding, !waitsForBudget else {
            return rest(server)
        }
        guard makeRoom(server) else { return rest(server) }
        let count = buffer.receive(from: stream)
        guard count != 0 else { return .ends }
        guard count > 0 else { return errno == EAGAIN || errno == EINTR ? rest(server) : .ends }
        server.statistics.bytesReceived += UInt64(count)
        guard execute(server) else { return .ends }
        return rest(server)
    }

    /// What comes next, once all that could be done was.
    private func rest(_ server: ApplianceServer) -> Outcome {
        if isEnding, !replies.isBlocked { return .ends }
        if replies.isBlocked { return .waits }
        // (Time that is ours is not the peer's.)
        if grant != nil, waitsForBudget || progress != nil { stopTime() }
        if waitsForBudget {
            server.waitForBudget(self)
            return .waits
        }
        if progress != nil || stream.hasPending || hasWholeRequest { return .hasMore }
        if buffer.unreadCount == 0, lease > 0 { _ = makeRoom(server) }
        guard grant != nil else { return .waits }
        if buffer.unreadCount > 0 {
            startTime(
                Self.messageTime + UInt64(neededCount >> 20) * Self.timePerMebibyte)
        } else {
            stopTime()
        }
        return .waits
    }

    // MARK: Receiving

    private var hasWholeRequest: Bool {
        buffer.unreadCount >= AccessWire.headerSize && buffer.unreadCount >= neededCount
    }

    /// How long the first request in the buffer is, as far as that is known.
    private var neededCount: Int {
        guard buffer.unreadCount >= AccessWire.headerSize else { return AccessWire.headerSize }
        let size = unsafe buffer.unread.loadUnaligned(as: UInt32.self)
        let body = Int(UInt32(littleEndian: size))
        // (One that is too large is answered as soon as its header is there.)
        return AccessWire.headerSize + (body > AccessWire.largestBody ? 0 : body)
    }

    /// Makes room for the rest of the first request; false when others have to give memory back first.
    private func makeRoom(_ server: ApplianceServer) -> Bool {
        let needed = neededCount
        let wanted = needed > Self.usualCapacity ? needed : 0
        if wanted > lease {
            guard receiving.take(wanted - lease) else {
                waitsForBudget = true
                return false
            }
            lease = wanted
        }
        let isEmpty = buffer.unreadCount == 0
        buffer.makeRoom(for: needed)
        if isEmpty, wanted == 0, lease > 0 {
            receiving.release(lease)
            lease = 0
        }
        return true
    }

    // MARK: Carrying out

    /// Carries out what has come, as far as replies are taken, and sends these; false when all is over.
    private func execute(_ server: ApplianceServer) -> Bool {
        var count: UInt64 = 0
        loop: while !isEnding, !replies.isBlocked, hasWholeRequest {
            guard replies.hasRoom else {
                guard send(server) else { return false }
                continue
            }
            // Replies that nobody takes use memory; who wants more of it waits until some is free.
            guard !sending.isSpent else {
                waitsForBudget = true
                break
            }
            let bytes = unsafe buffer.unread
            let header = unsafe AccessRequestHeader(RawSpan(_unsafeBytes: bytes))
            let size = neededCount
            switch unsafe carryOut(header, UnsafeRawBufferPointer(rebasing: bytes[..<size]), server)
            {
            case .done:
                buffer.consume(size)
                progress = nil
                count += 1
                if grant != nil { stopTime() }
            case .notYet:
                break loop
            case .afterSending:
                guard send(server) else { return false }
            }
        }
        server.statistics.accessRequests += count
        return replies.isEmpty || replies.isBlocked || send(server)
    }

    /// Sends what is queued; false when the connection is broken.
    private func send(_ server: ApplianceServer) -> Bool {
        let wasBlocked = replies.isBlocked
        let count = replies.send(to: stream, sending)
        guard count >= 0 else { return false }
        server.statistics.bytesSent += UInt64(count)
        if replies.isBlocked {
            if count > 0 || !wasBlocked {
                stopTime()
                startTime(Self.replyTime)
            }
        } else if grant != nil {
            stopTime()
        }
        return true
    }
}

/// What a key opens.
struct AccessGrant {
    var region: ServedRegion
    var key: Identifier
    var isWritable: Bool
}
