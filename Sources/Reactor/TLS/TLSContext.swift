// What a machine proves itself with, and what it asks of the others. TLS 1.3 and nothing older.
//
//     key           both ends prove that they hold the same 32 bytes (an external PSK, with (EC)DHE, so
//                   that whoever learns the key later cannot read what was sent before)
//     certificates  both ends show one that the authority has issued and that is in date; that of the
//                   server must also name the host that was dialled
//     named keys    the end that accepts has a key for each of its clients, which says whose it is; beside
//                   certificates or without
//
// No sessions are resumed and no tickets sent: connections live for days, and each proves itself whole. A
// context with a key trusts no certificate, whoever issued it.

import CLinux
import COpenSSL
import Glibc

/// Files of this machine's certificate, its private key, and the authority that all machines trust (PEM).
public struct TLSCertificates: Hashable, Sendable {
    public let certificate: String
    public let privateKey: String
    public let authority: String

    public init(certificate: String, privateKey: String, authority: String) {
        self.certificate = certificate
        self.privateKey = privateKey
        self.authority = authority
    }
}

/// The settings of TLS connections; any number of connections and threads may share one.
public final class TLSContext: Sendable {
    /// Of a key, in bytes.
    public static let keySize = 32
    /// Which end of its connections this is.
    enum Role: Hashable, Sendable {
        case server
        case client(host: String)
    }

    let settings: TLSSettings
    let role: Role
    /// The kernel may seal what is sent, where it can.
    let letsKernelSeal: Bool

    /// A context of the end that accepts connections, which trusts who has the same key.
    public init(key: [UInt8]) throws(TLSError) {
        precondition(key.count == Self.keySize, "a key has a fixed size")
        settings = try TLSSettings(key: key, certificates: nil)
        role = .server
        letsKernelSeal = false
    }

    /// A context of the end that accepts connections, which trusts who has a certificate.
    public init(certificates: TLSCertificates) throws(TLSError) {
        settings = try TLSSettings(key: nil, certificates: certificates)
        role = .server
        letsKernelSeal = false
    }

    /// A context of the end that accepts connections, which trusts who has a certificate, or one of the keys.
    public init(
        certificates: TLSCertificates?, named keys: PreSharedKeys?, lettingKernelSeal: Bool = false
    ) throws(TLSError) {
        precondition(certificates != nil || keys != nil, "clients prove something")
        settings = try TLSSettings(key: nil, certificates: certificates, named: keys)
        role = .server
        letsKernelSeal = lettingKernelSeal
    }

    /// The host that was dialled; nil at the end that accepts.
    var host: String? {
        guard case .client(let host) = role else { return nil }
        return host
    }

    private init(_ settings: TLSSettings, _ role: Role) {
        self.settings = settings
        self.role = role
        letsKernelSeal = false
    }

    /// The same for a connection to a host, a name or an address, which the server's certificate must name.
    public func connecting(to host: String) -> TLSContext {
        TLSContext(settings, .client(host: host))
    }
}

/// Owns an `SSL_CTX`.
///
/// (Sendable: it is not changed once it is made, and OpenSSL counts its references atomically.)
@safe
final class TLSSettings: @unchecked Sendable {
    let context: OpaquePointer
    let key: [UInt8]?
    let named: PreSharedKeys?
    /// A key is the only proof there is.
    let needsKey: Bool

    init(
        key: [UInt8]?, certificates: TLSCertificates?, named: PreSharedKeys? = nil
    ) throws(TLSError) {
        guard let context = unsafe SSL_CTX_new(TLS_method()) else {
            throw .failed(code: ERR_get_error())
        }
        unsafe self.context = context
        self.key = key
        self.named = named
        needsKey = certificates == nil
        _ = unsafe copenssl_require_tls13(context)
        unsafe copenssl_keep_no_sessions(context)
        unsafe SSL_CTX_set_num_tickets(context, 0)
        // (OpenSSL receives no byte behind the handshake: that is not its part any more.)
        unsafe SSL_CTX_set_keylog_callback(context, keepSecret)
        unsafe SSL_CTX_set_verify(
            context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nil)
        // (A PSK counts as a session, and those of peers to be verified need a name.)
        unsafe SSL_CTX_set_session_id_context(
            context, keyName.utf8Start, UInt32(keyName.utf8CodeUnitCount))
        if let certificates { try load(certificates) }
        if key != nil || named != nil { offerKey() }
    }

    deinit { unsafe SSL_CTX_free(context) }

    private func load(_ files: TLSCertificates) throws(TLSError) {
        ERR_clear_error()
        defer { ERR_clear_error() }
        for file in [files.certificate, files.privateKey, files.authority] {
            try Self.check(file, isPrivate: file == files.privateKey)
        }
        // (A key with a passphrase must not make OpenSSL ask for it on the terminal.)
        unsafe SSL_CTX_set_default_passwd_cb(context) { _, _, _, _ in -1 }
        guard unsafe SSL_CTX_use_certificate_chain_file(context, files.certificate) == 1 else {
            throw .noCertificate(file: files.certificate)
        }
        guard
            unsafe SSL_CTX_use_PrivateKey_file(context, files.privateKey, SSL_FILETYPE_PEM) == 1
        else {
            throw ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_VALUES_MISMATCH
                || ERR_GET_REASON(ERR_peek_error()) == X509_R_KEY_TYPE_MISMATCH
                ? .strangerPrivateKey(file: files.privateKey, certificate: files.certificate)
                : .noPrivateKey(file: files.privateKey)
        }
        guard unsafe SSL_CTX_load_verify_file(context, files.authority) == 1 else {
            throw .noCertificate(file: files.authority)
        }
    }

    private static func check(_ file: String, isPrivate: Bool) throws(TLSError) {
        // (O_NONBLOCK: a pipe would be waited for, here and by OpenSSL.)
        let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .unreadable(file: file, errno: errno) }
        defer { close(descriptor) }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            throw .unreadable(file: file, errno: errno)
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw isPrivate ? .noPrivateKey(file: file) : .noCertificate(file: file)
        }
        // (A group may read it: that is how Debian shares keys among services.)
        if isPrivate, status.st_mode & 0o007 != 0 { throw .exposedPrivateKey(file: file) }
    }

    private func offerKey() {
        unsafe SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256")
        unsafe SSL_CTX_set_ex_data(context, 0, Unmanaged.passUnretained(self).toOpaque())
        unsafe SSL_CTX_set_psk_find_session_callback(context, findKey)
        if key != nil { unsafe SSL_CTX_set_psk_use_session_callback(context, useKey) }
    }

    /// The key as OpenSSL wants it: as a session of an earlier connection that never was.
    fileprivate func session(for ssl: OpaquePointer, _ key: [UInt8]?) -> OpaquePointer? {
        guard let key, let session = unsafe SSL_SESSION_new() else { return nil }
        let suite: [UInt8] = [0x13, 0x01]  // TLS_AES_128_GCM_SHA256
        guard let cipher = unsafe SSL_CIPHER_find(ssl, suite),
            unsafe SSL_SESSION_set1_master_key(session, key, key.count) == 1,
            unsafe SSL_SESSION_set_cipher(session, cipher) == 1,
            unsafe SSL_SESSION_set1_id_context(
                session, keyName.utf8Start, UInt32(keyName.utf8CodeUnitCount)) == 1,
            unsafe SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1
        else {
            unsafe SSL_SESSION_free(session)
            return nil
        }
        return unsafe session
    }

    fileprivate static func of(_ ssl: OpaquePointer) -> TLSSettings? {
        guard let pointer = unsafe SSL_CTX_get_ex_data(SSL_get_SSL_CTX(ssl), 0) else { return nil }
        return unsafe Unmanaged<TLSSettings>.fromOpaque(pointer).takeUnretainedValue()
    }
}

// No dump of what holds a context shows the key.
extension TLSSettings: CustomReflectable {
    var customMirror: Mirror { Mirror(self, children: []) }
}

/// The name of the key on the wire, of which there is one, and of the sessions that never were.
private let keyName: StaticString = "holdfast"

private func keepSecret(_ ssl: OpaquePointer?, _ line: UnsafePointer<CChar>?) {
    guard let ssl = unsafe ssl, let line = unsafe line else { return }
    unsafe TLSHandshake.of(ssl)?.keep(String(cString: line))
}

private func useKey(
    _ ssl: OpaquePointer?, _ digest: OpaquePointer?,
    _ name: UnsafeMutablePointer<UnsafePointer<UInt8>?>?, _ nameSize: UnsafeMutablePointer<Int>?,
    _ session: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    guard let ssl = unsafe ssl else { return 0 }
    unsafe name?.pointee = keyName.utf8Start
    unsafe nameSize?.pointee = keyName.utf8CodeUnitCount
    let settings = unsafe TLSSettings.of(ssl)
    unsafe session?.pointee = settings?.session(for: ssl, settings?.key)
    return 1
}

private func findKey(
    _ ssl: OpaquePointer?, _ name: UnsafePointer<UInt8>?, _ nameSize: Int,
    _ session: UnsafeMutablePointer<OpaquePointer?>?
) -> Int32 {
    unsafe session?.pointee = nil
    guard let ssl = unsafe ssl, let name = unsafe name, let settings = unsafe TLSSettings.of(ssl)
    else { return 1 }
    if let named = settings.named {
        let text = unsafe String(
            validating: UnsafeBufferPointer(start: name, count: nameSize), as: UTF8.self)
        guard let text, let key = named.key(of: text) else { return 1 }
        // (Whether the client has it is found out next, and the name counts only if it does.)
        unsafe TLSHandshake.of(ssl)?.keyName = text
        unsafe session?.pointee = settings.session(for: ssl, key)
        return 1
    }
    guard nameSize == keyName.utf8CodeUnitCount,
        unsafe memcmp(name, keyName.utf8Start, nameSize) == 0
    else { return 1 }
    unsafe session?.pointee = settings.session(for: ssl, settings.key)
    return 1
}
