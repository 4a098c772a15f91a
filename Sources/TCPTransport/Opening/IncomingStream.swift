// A connection on its way from accepted to open, as far as it gets without waiting.
//
//     first byte ──0x16──▶ TLS handshake ──▶ opening ──▶ opened
//         └──────other (where plain is taken)──▲
//
// No plain Holdfast connection begins with 0x16 ("HOLDFAST" does not), and every TLS one does: a record of
// the handshake. The owner calls `advance` when what it wants has come, and drops the whole when
// `OpeningWire.patience` is over; what a peer without proof can make it hold is bounded by the opening.

import CLinux
import Glibc
public import Reactor

/// Owns a connection that is not open yet.
public final class IncomingStream {
    /// How far `advance` came.
    public enum Progress {
        /// To be called again when the descriptor is ready for this.
        case wants(Readiness)
        /// The stream is the caller's, with what came behind the opening.
        case opened(SocketStream, Purpose, unread: [UInt8])
        case failed(OpeningError)
    }

    private enum State {
        case firstByte
        case handshake(SocketStream)
        case opening(SocketStream)
        case over
    }

    /// How much is received at once, in bytes.
    private static let piece = 4096

    public let descriptor: Int32
    private let key: ClusterKey?
    private let context: TLSContext?
    private let takesPlain: Bool
    private let isBusy: Bool
    private var state = State.firstByte
    private var opening: ServerOpening
    /// What the opening came to, once its last bytes are on their way.
    private var outcome = OpeningOutcome.goesOn

    init(
        _ descriptor: Int32, key: ClusterKey?, tls: TLSContext?, takesPlain: Bool, isBusy: Bool
    ) {
        self.descriptor = descriptor
        self.key = key
        context = tls
        self.takesPlain = takesPlain
        self.isBusy = isBusy
        opening = ServerOpening(key: key, isBusy: isBusy)
    }

    deinit {
        // (In every other state a stream owns the descriptor, or owned it.)
        if case .firstByte = state { close(descriptor) }
    }

    /// Goes on without waiting; not to be called again once it has ended one way or the other.
    public func advance() -> Progress {
        do throws(OpeningError) {
            while true {
                switch state {
                case .firstByte:
                    if let readiness = try lookAtFirstByte() { return .wants(readiness) }
                case .handshake(let stream):
                    if let readiness = try shakeHands(stream) { return .wants(readiness) }
                case .opening(let stream): return try open(stream)
                case .over: preconditionFailure("an opening ends once")
                }
            }
        } catch {
            // What owns the descriptor goes, so that the peer need not wait.
            if case .firstByte = state { close(descriptor) }
            state = .over
            return .failed(error)
        }
    }

    private func lookAtFirstByte() throws(OpeningError) -> Readiness? {
        var byte: UInt8 = 0
        let count = unsafe recv(descriptor, &byte, 1, Int32(MSG_PEEK))
        if count < 0, errno == EAGAIN || errno == EINTR { return .readable }
        guard count > 0 else { throw count == 0 ? .closed : .system(errno: errno) }
        if byte == 0x16 {
            guard let context else { throw .encrypted }
            state = .handshake(SocketStream(descriptor, tls: context))
        } else {
            guard takesPlain else {
                throw byte == OpeningWire.magic[0] ? .notEncrypted : .notHoldfast
            }
            state = .opening(SocketStream(plain: descriptor))
        }
        return nil
    }

    private func shakeHands(_ stream: SocketStream) throws(OpeningError) -> Readiness? {
        do throws(TLSError) {
            if let readiness = try stream.handshake() { return readiness }
        } catch {
            throw .tls(error)
        }
        opening = ServerOpening(key: key, binding: stream.binding, isBusy: isBusy)
        state = .opening(stream)
        return nil
    }

    private func open(_ stream: SocketStream) throws(OpeningError) -> Progress {
        while true {
            guard try stream.sendAll(of: &opening.output) else {
                return .wants(.writable)
            }
            switch outcome {
            case .goesOn: break
            case .opened(let purpose):
                state = .over
                return .opened(stream, purpose, unread: opening.unread)
            case .refused(let error): throw error
            }
            guard let bytes = try stream.receiveSome(atMost: Self.piece) else {
                return .wants(.readable)
            }
            outcome = opening.receive(bytes.span)
        }
    }
}

extension SocketStream {
    /// Sends what there is and takes out what has gone; false when some has to wait.
    func sendAll(of bytes: inout [UInt8]) throws(OpeningError) -> Bool {
        while !bytes.isEmpty {
            let sent = unsafe bytes.withUnsafeMutableBytes { buffer in
                var piece = unsafe iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
                return unsafe send(&piece, 1)
            }
            if sent >= 0 {
                bytes.removeFirst(sent)
            } else if errno == EAGAIN {
                return false
            } else if errno != EINTR {
                throw openingError(errno)
            }
        }
        return true
    }

    /// Receives what there is, at least a byte; nil when that has to wait.
    func receiveSome(atMost limit: Int) throws(OpeningError) -> [UInt8]? {
        while true {
            var received = 0
            let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, count in
                received = unsafe receive(
                    UnsafeMutableRawPointer(buffer.baseAddress.unsafelyUnwrapped), limit)
                count = max(received, 0)
            }
            if received > 0 { return bytes }
            guard received < 0 else { throw .closed }
            if errno == EAGAIN { return nil }
            if errno != EINTR { throw openingError(errno) }
        }
    }

    private func openingError(_ code: Int32) -> OpeningError {
        if let failure { return .tls(failure) }
        return code == ECONNRESET || code == EPIPE ? .closed : .system(errno: code)
    }
}
