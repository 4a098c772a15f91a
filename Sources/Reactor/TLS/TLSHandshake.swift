// The handshake of one connection, by OpenSSL. What comes out is all that the records need: whose the peer is, and
// a secret for each direction. OpenSSL's part ends there.
//
// It tells the secrets to its callback for key logs (SSL_CTX_set_keylog_callback), a line for each in the format
// of key log files: the only way it has to tell them.

import COpenSSL
import Glibc

/// Owns an `SSL` for as long as the handshake takes.
@safe
final class TLSHandshake {
    /// What was agreed on.
    struct Outcome {
        let suite: CipherSuite
        let receiving: TrafficSecret
        let sending: TrafficSecret
        /// As `SocketStream.binding`.
        let binding: [UInt8]
        /// As `SocketStream.peerNames`.
        let peerNames: [String]
    }

    /// Of what binds an exchange to this connection, in bytes.
    private static let bindingSize = 32

    private let ssl: OpaquePointer
    /// Keeps the settings alive, which OpenSSL asks for the key.
    private let context: TLSContext
    /// Whose key the client has, if it proves itself by one.
    var keyName: String?
    /// The secrets that were told, by the labels of key log files.
    private var secrets: [String: [UInt8]] = [:]

    init(_ descriptor: Int32, _ context: TLSContext) {
        guard let ssl = unsafe SSL_new(context.settings.context) else {
            preconditionFailure("no memory for TLS")
        }
        unsafe self.ssl = ssl
        self.context = context
        let bio = unsafe SocketBIO.make(descriptor)
        unsafe SSL_set_bio(ssl, bio, bio)
        switch context.role {
        case .server: unsafe SSL_set_accept_state(ssl)
        case .client(let host):
            unsafe SSL_set_connect_state(ssl)
            if context.settings.key == nil { unsafe Self.expect(host, ssl) }
        }
        unsafe SSL_set_ex_data(ssl, 0, Unmanaged.passUnretained(self).toOpaque())
    }

    deinit { unsafe SSL_free(ssl) }

    /// The handshake that an `SSL` is of.
    static func of(_ ssl: OpaquePointer) -> TLSHandshake? {
        guard let pointer = unsafe SSL_get_ex_data(ssl, 0) else { return nil }
        return unsafe Unmanaged<TLSHandshake>.fromOpaque(pointer).takeUnretainedValue()
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

    /// How far it is.
    enum Progress {
        case wants(Readiness)
        case done(Outcome)
    }

    /// Goes on as far as it gets without waiting.
    func goOn() throws(TLSError) -> Progress {
        ERR_clear_error()
        errno = 0
        let result = unsafe SSL_do_handshake(ssl)
        guard result != 1 else { return .done(try outcome()) }
        let kind = unsafe SSL_get_error(ssl, result)
        switch kind {
        case SSL_ERROR_WANT_READ: return .wants(.readable)
        case SSL_ERROR_WANT_WRITE: return .wants(.writable)
        default: throw unsafe TLSError(ssl, kind, context)
        }
    }

    /// Takes a line of a key log: a label, the client's random bytes, the secret.
    func keep(_ line: String) {
        let words = line.split(separator: " ")
        guard words.count == 3, let secret = [UInt8](hexadecimal: words[2].utf8)
        else { return }
        secrets[String(words[0])] = secret
    }

    private func outcome() throws(TLSError) -> Outcome {
        // Who has a key takes no other proof in its place.
        let isByKey = unsafe SSL_session_reused(ssl) == 1
        guard isByKey || !context.settings.needsKey else { throw .noCommonProof }
        let code = unsafe SSL_CIPHER_get_protocol_id(SSL_get_current_cipher(ssl))
        guard let suite = CipherSuite(rawValue: code),
            let client = secrets["CLIENT_TRAFFIC_SECRET_0"].flatMap({ TrafficSecret(suite, $0) }),
            let server = secrets["SERVER_TRAFFIC_SECRET_0"].flatMap({ TrafficSecret(suite, $0) })
        else { preconditionFailure("OpenSSL tells the secrets of the suites it was given") }
        let isServer = context.role == .server
        return Outcome(
            suite: suite, receiving: isServer ? client : server,
            sending: isServer ? server : client, binding: binding(),
            peerNames: isByKey ? keyName.map { [$0] } ?? [] : certificateNames())
    }

    private func binding() -> [UInt8] {
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

    private func certificateNames() -> [String] {
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
}

extension [UInt8] {
    /// The bytes that pairs of hexadecimal digits stand for; nil for anything else.
    init?(hexadecimal digits: some Collection<UInt8>) {
        guard digits.count.isMultiple(of: 2) else { return nil }
        self = []
        reserveCapacity(digits.count / 2)
        var high: UInt8?
        for digit in digits {
            guard let value = Character(UnicodeScalar(digit)).hexDigitValue else { return nil }
            if let first = high {
                append(first << 4 | UInt8(value))
                high = nil
            } else {
                high = UInt8(value)
            }
        }
    }
}
