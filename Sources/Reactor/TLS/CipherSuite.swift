// The cipher suites of TLS 1.3 that are spoken here (RFC 8446 appendix B.4), and the keys they want.

import COpenSSL

/// How a connection's records are sealed.
package enum CipherSuite: UInt16, CaseIterable, Codable, Sendable {
    case aes128GCM = 0x1301
    case aes256GCM = 0x1302
    case chaCha20Poly1305 = 0x1303

    /// Of a key, in bytes.
    package var keySize: Int { self == .aes128GCM ? 16 : 32 }
    /// Of a traffic secret, in bytes: as much as its hash function gives.
    package var secretSize: Int { self == .aes256GCM ? 48 : 32 }
    /// How many records one key may seal (RFC 8446 section 5.5), on the safe side of 2^24.5.
    package var keyLife: UInt64 { self == .chaCha20Poly1305 ? .max : 1 << 24 }

    var cipher: OpaquePointer? {
        switch self {
        case .aes128GCM: unsafe EVP_aes_128_gcm()
        case .aes256GCM: unsafe EVP_aes_256_gcm()
        case .chaCha20Poly1305: unsafe EVP_chacha20_poly1305()
        }
    }

    var hash: OpaquePointer? {
        self == .aes256GCM ? unsafe EVP_sha384() : unsafe EVP_sha256()
    }
}
