// A connected stream, plain or under TLS: what client devices and appliances speak over.
//
// The descriptor is non-blocking. Both ways behave as their system calls do: a count, 0 at the end of what
// the peer sends, -1 with `errno`; EAGAIN says to wait until the descriptor is readable, or writable. Under TLS a
// caller that was not rid of its bytes must pass the same ones again, in whatever pieces: some may be on their way.

public import CLinux
import Glibc

/// Owns a connected stream socket.
///
/// (Sendable: it may pass between threads, but belongs to one at a time: the one that opened it until it is
/// handed over, then the loop that watches it.)
@safe
public final class SocketStream: @unchecked Sendable {
    public let descriptor: Int32
    private let session: TLSSession?
    private var isReleased = false

    /// A plain stream.
    public init(plain descriptor: Int32) {
        self.descriptor = descriptor
        session = nil
    }

    /// A stream under TLS, to be used once `handshake` is done.
    public init(_ descriptor: Int32, tls: TLSContext) {
        self.descriptor = descriptor
        session = TLSSession(descriptor, tls)
    }

    /// A stream that was suspended, under TLS if `tls` says how; nil, with the descriptor still open, when what it
    /// says makes no sense.
    public init?(_ descriptor: Int32, resuming tls: SuspendedTLS?) {
        self.descriptor = descriptor
        session = tls.flatMap { TLSSession(descriptor, resuming: $0) }
        if tls != nil, session == nil {
            isReleased = true
            return nil
        }
    }

    /// A stream under TLS whose secrets are known, without a handshake: only for tests.
    package init(
        _ descriptor: Int32, receiving: TrafficSecret, sending: TrafficSecret, keyLife: UInt64
    ) {
        self.descriptor = descriptor
        session = TLSSession(
            descriptor, receiving: receiving, sending: sending, keyLife: keyLife)
    }

    deinit {
        guard !isReleased else { return }
        // (The session says goodbye on the descriptor, so it goes first.)
        session?.end()
        close(descriptor)
    }

    /// Goes on under TLS on the same descriptor; this plain stream is of no more use.
    public func secured(by tls: TLSContext) -> SocketStream {
        precondition(session == nil && !isReleased, "TLS begins once")
        isReleased = true
        return SocketStream(descriptor, tls: tls)
    }

    public var isEncrypted: Bool { session != nil }

    /// Whether the kernel seals what is sent.
    public var isSealedByKernel: Bool { session?.isSealedByKernel ?? false }

    /// Gives the descriptor away, with what another process needs to go on under TLS, and what was opened already.
    ///
    /// To be called when nothing is held; the stream is of no more use then. Nil when nobody can go on with it, and
    /// it is as before.
    public func suspend() -> (descriptor: Int32, tls: SuspendedTLS?, opened: [UInt8])? {
        precondition(!isReleased, "a stream is given away once")
        guard let session else {
            isReleased = true
            return (descriptor, nil, [])
        }
        guard let (state, opened) = session.suspend() else { return nil }
        isReleased = true
        return (descriptor, state, opened)
    }

    /// Goes on with the handshake as far as it gets without waiting.
    ///
    /// Nil when it is done, at once on a plain stream; else what to wait for.
    public func handshake() throws(TLSError) -> Readiness? { try session?.handshake() }

    /// Bytes that only the two ends of this connection know; none on a plain stream.
    ///
    /// Proofs that hold them cannot be passed on by somebody between. To be asked for after the handshake.
    public var binding: [UInt8] { session?.binding ?? [] }

    /// Who the peer has proven to be: the names in its certificate, or that of its key.
    ///
    /// None on a plain stream, before the handshake, and when it was suspended since.
    public var peerNames: [String] { session?.peerNames ?? [] }

    /// Why TLS ended the stream: what stands behind an `errno` of EPROTO.
    public var failure: TLSError? { session?.failure }

    /// Whether bytes wait in here of which the descriptor tells nothing.
    @inline(__always)
    public var hasPending: Bool {
        guard let session else { return false }
        return session.hasPending
    }

    /// Receives what there is, up to `count` bytes; as `recv` returns.
    @inline(__always)
    public func receive(_ place: UnsafeMutableRawPointer, _ count: Int) -> Int {
        guard let session else { return unsafe recv(descriptor, place, count, 0) }
        return unsafe session.receive(place, count)
    }

    /// Sends pieces one after the other, as many bytes as the socket takes; as `sendmsg` returns.
    @inline(__always)
    public func send(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        if let session { return unsafe session.send(pieces, count) }
        var message = unsafe msghdr()
        unsafe message.msg_iov = pieces
        unsafe message.msg_iovlen = count
        return unsafe sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
    }

    /// Takes pieces to be sent, as many bytes as the socket and some records hold; as `sendmsg` returns.
    ///
    /// What was taken need not be offered again, and may change: what the socket refused is kept under TLS, as
    /// `holdsRecord` tells, and goes first at the next call, which may come with no pieces. Not to be mixed with
    /// `send`.
    @inline(__always)
    public func take(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        if let session { return unsafe session.take(pieces, count) }
        return unsafe send(pieces, count)
    }

    /// Whether something that was taken has still to be sent.
    public var holdsRecord: Bool { session?.holdsRecord ?? false }
}
