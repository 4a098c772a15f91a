// One connection under TLS: records go out of a stage of its own and come in by OpenSSL's buffer.
//
//     pieces ──gather──▶ stage (one record) ──SSL_write──▶ socket
//                          │
//                          └─ refused (the socket is full): stays staged, and is offered again first
//
// OpenSSL has encrypted a record that the socket refused, so the same bytes must be offered again. The
// caller was told that they are not sent and passes them again, perhaps cut into other pieces: when the
// record has gone they are passed over there, and only then reported as sent.
//
// `take` is for callers whose bytes may change until they are offered again: what is staged counts as taken
// there, and the caller comes again until no record is held.

import CLinux
import COpenSSL
import Glibc

/// Owns an `SSL`; belongs to one thread at a time, with its stream.
@safe
final class TLSSession {
    /// The most plain bytes of one record.
    static let recordSize = 16 << 10
    /// Of what binds an exchange to this connection, in bytes.
    static let bindingSize = 32

    private let ssl: OpaquePointer
    /// Keeps the settings alive, which OpenSSL asks for the key.
    private let context: TLSContext
    private let stage: UnsafeMutableRawPointer
    /// How many bytes of the stage the socket has refused.
    private var staged = 0
    /// How many bytes are sent and not yet reported so.
    private var unreported = 0
    private var isShaken = false
    /// Whose key the client has, if it proves itself by one.
    var keyName: String?

    private(set) var receivingWants = Readiness.readable
    private(set) var sendingWants = Readiness.writable
    private(set) var hasPending = false
    /// What ended the connection, if TLS did.
    private(set) var failure: TLSError?

    init(_ descriptor: Int32, _ context: TLSContext) {
        guard let ssl = unsafe SSL_new(context.settings.context) else {
            preconditionFailure("no memory for TLS")
        }
        unsafe self.ssl = ssl
        self.context = context
        unsafe stage = .allocate(byteCount: Self.recordSize, alignment: 64)
        let bio = unsafe SocketBIO.make(descriptor)
        unsafe SSL_set_bio(ssl, bio, bio)
        switch context.role {
        case .server: unsafe SSL_set_accept_state(ssl)
        case .client(let host):
            unsafe SSL_set_connect_state(ssl)
            if context.settings.key == nil { unsafe Self.expect(host, ssl) }
        }
        if context.settings.named != nil {
            unsafe SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
        }
    }

    /// The session of an `SSL` whose context has named keys.
    static func of(_ ssl: OpaquePointer) -> TLSSession? {
        guard let pointer = unsafe SSL_get_ex_data(ssl, 0) else { return nil }
        return unsafe Unmanaged<TLSSession>.fromOpaque(pointer).takeUnretainedValue()
    }

    deinit {
        unsafe SSL_free(ssl)
        unsafe stage.deallocate()
    }

    /// Tells the peer that nothing more comes, if that can be told at once.
    func end() {
        // (A record that was refused would have to go first; the peer sees the socket close anyway.)
        guard isShaken, failure == nil, staged == 0 else { return }
        ERR_clear_error()
        unsafe SSL_shutdown(ssl)
    }

    /// Makes the server's certificate have to name the host.
    private static func expect(_ host: String, _ ssl: OpaquePointer) {
        let expectations = unsafe SSL_get0_param(ssl)
        if unsafe X509_VERIFY_PARAM_set1_ip_asc(expectations, host) == 1 { return }
        unsafe X509_VERIFY_PARAM_set_hostflags(
            expectations, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
        unsafe X509_VERIFY_PARAM_set1_host(expectations, host, 0)
        _ = unsafe copenssl_set_server_name(ssl, host)
    }

    /// As `SocketStream.handshake`.
    func handshake() throws(TLSError) -> Readiness? {
        if let failure { throw failure }
        if isShaken { return nil }
        ERR_clear_error()
        errno = 0
        let result = unsafe SSL_do_handshake(ssl)
        guard result != 1 else {
            // Who has a key takes no other proof in its place.
            if context.settings.needsKey, unsafe SSL_session_reused(ssl) != 1 {
                failure = .noCommonProof
                throw .noCommonProof
            }
            isShaken = true
            return nil
        }
        let kind = unsafe SSL_get_error(ssl, result)
        switch kind {
        case SSL_ERROR_WANT_READ: return .readable
        case SSL_ERROR_WANT_WRITE: return .writable
        default:
            let error = unsafe TLSError(ssl, kind, context)
            failure = error
            throw error
        }
    }

    /// Bytes that both ends of this connection know, and nobody else, nor any other connection.
    func binding() -> [UInt8] {
        let label: StaticString = "EXPORTER-holdfast-opening"
        var bytes = [UInt8](repeating: 0, count: Self.bindingSize)
        let result = label.withUTF8Buffer { label in
            unsafe label.withMemoryRebound(to: CChar.self) { label in
                unsafe SSL_export_keying_material(
                    ssl, &bytes, Self.bindingSize, label.baseAddress, label.count, nil, 0, 0)
            }
        }
        precondition(result == 1, "a connection is bound after its handshake")
        return bytes
    }

    /// As `SocketStream.peerNames`.
    var peerNames: [String] {
        guard isShaken else { return [] }
        guard unsafe SSL_session_reused(ssl) != 1 else { return keyName.map { [$0] } ?? [] }
        guard let certificate = unsafe SSL_get1_peer_certificate(ssl) else { return [] }
        defer { unsafe X509_free(certificate) }
        var names: [String] = []
        unsafe withUnsafeMutablePointer(to: &names) { names in
            unsafe copenssl_each_name(certificate, names) { names, text, count in
                let bytes = unsafe UnsafeBufferPointer(start: text, count: Int(count))
                // (A name that is cut short where somebody reads it would be another's.)
                guard unsafe !bytes.contains(0),
                    let name = unsafe String(validating: bytes, as: UTF8.self)
                else { return }
                unsafe names.assumingMemoryBound(to: [String].self).pointee.append(name)
            }
        }
        return names
    }

    /// As `SocketStream.receive`; as many records as there are and fit.
    func receive(_ place: UnsafeMutableRawPointer, _ count: Int) -> Int {
        guard failure == nil else { return failed() }
        var received = 0
        while received < count {
            ERR_clear_error()
            errno = 0
            var taken = 0
            let result = unsafe SSL_read_ex(ssl, place + received, count - received, &taken)
            guard result != 1 else {
                received += taken
                continue
            }
            let kind = unsafe SSL_get_error(ssl, result)
            // What is not an end to wait for is told by the next call, which must not wait either.
            hasPending = false
            switch kind {
            case SSL_ERROR_WANT_READ: receivingWants = .readable
            case SSL_ERROR_WANT_WRITE: receivingWants = .writable
            case SSL_ERROR_ZERO_RETURN:
                hasPending = received > 0
                return received
            default:
                failure = unsafe TLSError(ssl, kind, context)
                hasPending = received > 0
                return received > 0 ? received : failed()
            }
            guard received == 0 else { return received }
            errno = EAGAIN
            return -1
        }
        hasPending = unsafe SSL_has_pending(ssl) == 1
        return received
    }

    /// As `SocketStream.send`.
    func send(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        guard failure == nil else { return failed() }
        if staged > 0 {
            guard sendStage() else { return -1 }
            unreported += staged
            staged = 0
        }
        var cursor = unsafe PieceCursor(UnsafeMutableBufferPointer(start: pieces, count: count))
        var sent = cursor.pass(unreported)
        unreported -= sent
        while true {
            staged = unsafe cursor.gather(into: stage, atMost: Self.recordSize)
            guard staged > 0 else { return sent }
            guard sendStage() else { return sent > 0 ? sent : -1 }
            sent += staged
            staged = 0
        }
    }

    /// As `SocketStream.take`.
    func take(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        guard failure == nil else { return failed() }
        if staged > 0 {
            guard sendStage() else { return -1 }
            staged = 0
        }
        var cursor = unsafe PieceCursor(UnsafeMutableBufferPointer(start: pieces, count: count))
        var taken = 0
        while true {
            staged = unsafe cursor.gather(into: stage, atMost: Self.recordSize)
            guard staged > 0 else { return taken }
            taken += staged
            guard sendStage() else { return failure == nil ? taken : -1 }
            staged = 0
        }
    }

    /// A record is staged that the socket has refused.
    var holdsRecord: Bool { staged > 0 }

    /// Sends what is staged as one record; false with `errno` when it did not go.
    private func sendStage() -> Bool {
        ERR_clear_error()
        errno = 0
        var written = 0
        let result = unsafe SSL_write_ex(ssl, stage, staged, &written)
        guard result != 1 else {
            precondition(written == staged, "a record is sent whole")
            return true
        }
        let kind = unsafe SSL_get_error(ssl, result)
        switch kind {
        case SSL_ERROR_WANT_READ: sendingWants = .readable
        case SSL_ERROR_WANT_WRITE: sendingWants = .writable
        default:
            failure = unsafe TLSError(ssl, kind, context)
            _ = failed()
            return false
        }
        errno = EAGAIN
        return false
    }

    private func failed() -> Int {
        errno = failure == .closed ? ECONNRESET : EPROTO
        return -1
    }
}

/// A place in a list of pieces.
@safe
struct PieceCursor {
    private let pieces: UnsafeMutableBufferPointer<iovec>
    private var piece = 0
    private var offset = 0

    init(_ pieces: UnsafeMutableBufferPointer<iovec>) { unsafe self.pieces = unsafe pieces }

    /// Copies the next bytes, and goes behind them; returns how many these were.
    mutating func gather(into place: UnsafeMutableRawPointer, atMost limit: Int) -> Int {
        var copied = 0
        while copied < limit, unsafe piece < pieces.count {
            let part = unsafe min(limit - copied, pieces[piece].iov_len - offset)
            if part > 0, let base = unsafe pieces[piece].iov_base {
                unsafe memcpy(place + copied, base + offset, part)
            }
            copied += advance(part)
        }
        return copied
    }

    /// Goes behind so many bytes, or all; returns how many these were.
    mutating func pass(_ count: Int) -> Int {
        var passed = 0
        while passed < count, unsafe piece < pieces.count {
            passed += advance(unsafe min(count - passed, pieces[piece].iov_len - offset))
        }
        return passed
    }

    private mutating func advance(_ part: Int) -> Int {
        offset += part
        if unsafe offset == pieces[piece].iov_len {
            piece += 1
            offset = 0
        }
        return part
    }
}
