// Why a peer was not trusted, or did not trust us: one sentence each that says what to do. OpenSSL tells
// it in three places, and what happened here counts before what the other side reported:
//
//     the verification of the peer's certificate  →  the queue of errors, alerts included  →  errno

import COpenSSL
import Glibc

/// Why TLS could not be set up, or ended.
public enum TLSError: Error, Hashable, Sendable, CustomStringConvertible {
    // Files.
    case unreadable(file: String, errno: Int32)
    case noCertificate(file: String)
    case noPrivateKey(file: String)
    /// Others than its owner and group may read a private key.
    case exposedPrivateKey(file: String)
    case strangerPrivateKey(file: String, certificate: String)

    // What is wrong with the other side.
    case expired
    case notYetValid
    case unknownAuthority
    case wrongHost(String)
    /// Another of OpenSSL's reasons to refuse a certificate.
    case badCertificate(code: Int)
    case wrongKey
    /// One side has a key, the other certificates, or nothing.
    case noCommonProof
    case notTLS
    case oldVersion

    // What the other side says is wrong with this one.
    case ownCertificateExpired
    case ownAuthorityUnknown
    case ownCertificateMissing
    case ownCertificateRefused

    // What ends a connection after its handshake.
    /// A record was not sealed by who has the key.
    case damaged
    /// A record that may not come then.
    case outOfTurn
    /// The peer wants another key to be used, and the kernel, which seals what is sent, keeps its own.
    case kernelKeepsKey

    case closed
    case system(errno: Int32)
    /// Another of OpenSSL's errors.
    case failed(code: UInt)

    public var description: String {
        switch self {
        case .unreadable(let file, let code):
            unsafe "\(file) cannot be read (\(String(cString: strerror(code)))): check the path"
        case .noCertificate(let file):
            "\(file) holds no certificate in PEM form: name the right file"
        case .noPrivateKey(let file):
            "\(file) holds no private key in PEM form without a passphrase: name the right file"
        case .exposedPrivateKey(let file):
            "the private key \(file) can be read by everybody: run 'chmod 600 \(file)'"
        case .strangerPrivateKey(let file, let certificate):
            "the private key \(file) does not belong to the certificate \(certificate): name a pair"
        case .expired: "the other side's certificate has expired: renew it there"
        case .notYetValid:
            "the other side's certificate is not valid yet: check the clocks of both machines"
        case .unknownAuthority:
            "the other side's certificate was not issued by the authority of --tls-authority: use "
                + "the same authority on all machines"
        case .wrongHost(let host):
            "the other side's certificate is not for \(host): use an address that it names"
        case .badCertificate(let code):
            unsafe "the other side's certificate is refused "
                + "(\(String(cString: X509_verify_cert_error_string(code)))): replace it there"
        case .wrongKey: "the other side has another cluster key: copy the same file to all machines"
        case .noCommonProof:
            "the other side proves itself in another way: give both the same --cluster-key, or both "
                + "certificates of one authority"
        case .notTLS: "the other side speaks no TLS: check the port, and its security options"
        case .oldVersion: "the other side is too old for TLS 1.3: use the same version everywhere"
        case .ownCertificateExpired:
            "the other side says that this side's certificate has expired: renew it here"
        case .ownAuthorityUnknown:
            "the other side does not know the authority that issued this side's certificate: use the "
                + "same authority on all machines"
        case .ownCertificateMissing:
            "the other side asks for a certificate: give --tls-certificate and --tls-key"
        case .ownCertificateRefused:
            "the other side refuses this side's certificate: see its log, and replace it here"
        case .damaged:
            "what arrived is not what the other side sealed: something between changes it"
        case .outOfTurn:
            "the other side sends what may not come then: use another version of it"
        case .kernelKeepsKey:
            "the other side asks for another key, and the kernel cannot change it: leave sealing to this "
                + "process (--no-nbd-kernel-tls)"
        case .closed:
            "the other side closed the connection during the TLS handshake: see its log for the reason"
        case .system(let code): unsafe "TLS failed: \(String(cString: strerror(code)))"
        case .failed(let code):
            "TLS failed (\(Self.text(code))): use the same version on both sides"
        }
    }

    private static func text(_ code: UInt) -> String {
        guard let text = unsafe ERR_reason_error_string(code) else { return "error \(code)" }
        return unsafe String(cString: text)
    }
}

extension TLSError {
    /// What OpenSSL has to say about the call that just failed with `kind`, as `SSL_get_error` tells it.
    init(_ ssl: OpaquePointer, _ kind: Int32, _ context: TLSContext) {
        let code = errno
        let problem = ERR_get_error()
        // (Where a key is the proof no certificate is looked at, and the verdict means nothing.)
        let isAboutKeys =
            context.settings.key != nil
            || (context.settings.named != nil
                && ERR_GET_REASON(problem) != SSL_R_CERTIFICATE_VERIFY_FAILED)
        let verdict = isAboutKeys ? Int(X509_V_OK) : unsafe SSL_get_verify_result(ssl)
        ERR_clear_error()
        if verdict != Int(X509_V_OK) {
            self.init(verification: verdict, context.host)
        } else if problem != 0 {
            self.init(reason: ERR_GET_REASON(problem), code: problem)
        } else if kind == SSL_ERROR_SYSCALL, code != 0 {
            self = code == ECONNRESET || code == EPIPE ? .closed : .system(errno: code)
        } else {
            self = .closed
        }
    }

    private init(verification verdict: Int, _ host: String?) {
        switch Int32(verdict) {
        case X509_V_ERR_CERT_HAS_EXPIRED: self = .expired
        case X509_V_ERR_CERT_NOT_YET_VALID: self = .notYetValid
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
            self = .wrongHost(host ?? "it")
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_SIGNATURE_FAILURE:
            self = .unknownAuthority
        default: self = .badCertificate(code: verdict)
        }
    }

    /// What a peer's alert comes to, after the handshake.
    init(alert description: UInt8) {
        let reason = Int32(SSL_AD_REASON_OFFSET) + Int32(description)
        self.init(reason: reason, code: UInt(ERR_LIB_SSL) << UInt(ERR_LIB_OFFSET) | UInt(reason))
    }

    private init(reason: Int32, code: UInt) {
        switch reason {
        // A key that differs fails the binder; the other end is told of an illegal parameter.
        case SSL_R_BINDER_DOES_NOT_VERIFY, SSL_R_SSLV3_ALERT_ILLEGAL_PARAMETER,
            SSL_R_TLSV1_ALERT_DECRYPT_ERROR:
            self = .wrongKey
        case SSL_R_CERTIFICATE_VERIFY_FAILED, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
            SSL_R_SSLV3_ALERT_HANDSHAKE_FAILURE,
            SSL_R_NO_SHARED_CIPHER:
            self = .noCommonProof
        case SSL_R_WRONG_VERSION_NUMBER, SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST,
            SSL_R_BAD_RECORD_TYPE, SSL_R_UNEXPECTED_MESSAGE, SSL_R_RECORD_TOO_SMALL,
            SSL_R_PACKET_LENGTH_TOO_LONG, SSL_R_ENCRYPTED_LENGTH_TOO_LONG, SSL_R_BAD_LENGTH:
            self = .notTLS
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_TLSV1_ALERT_PROTOCOL_VERSION,
            SSL_R_VERSION_TOO_LOW:
            self = .oldVersion
        case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED: self = .ownCertificateExpired
        case SSL_R_TLSV1_ALERT_UNKNOWN_CA: self = .ownAuthorityUnknown
        case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: self = .ownCertificateMissing
        case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN,
            SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED, SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
            self = .ownCertificateRefused
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE: self = .noCommonProof
        case SSL_R_UNEXPECTED_EOF_WHILE_READING: self = .closed
        default: self = .failed(code: code)
        }
    }
}
