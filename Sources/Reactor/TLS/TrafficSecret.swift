// What the keys of one direction are derived from (RFC 8446 sections 7.1 to 7.3).
//
//     secret ──"key"──▶ key
//            ──"iv"───▶ what each record's nonce is made of
//            ──"traffic upd"──▶ the secret that comes after a key update

import COpenSSL

/// The secret of one direction of a connection, up to the next key update.
package struct TrafficSecret: Hashable, Sendable {
    package let suite: CipherSuite
    package let bytes: [UInt8]

    /// Nil for bytes of another size than the suite's.
    package init?(_ suite: CipherSuite, _ bytes: [UInt8]) {
        guard bytes.count == suite.secretSize else { return nil }
        self.suite = suite
        self.bytes = bytes
    }

    private init(after secret: TrafficSecret) {
        suite = secret.suite
        bytes = secret.expanded("traffic upd", to: secret.suite.secretSize)
    }

    package var key: [UInt8] { expanded("key", to: suite.keySize) }
    package var initialVector: [UInt8] { expanded("iv", to: RecordCipher.nonceSize) }
    /// The secret after this one.
    package var next: TrafficSecret { TrafficSecret(after: self) }

    /// HKDF-Expand-Label with no context (RFC 8446 section 7.1).
    ///
    /// One round of HKDF (RFC 5869 section 2.3) gives as much as is ever asked for.
    private func expanded(_ label: String, to count: Int) -> [UInt8] {
        let label = Array("tls13 ".utf8) + Array(label.utf8)
        let information =
            [UInt8(count >> 8), UInt8(count & 0xFF), UInt8(label.count)] + label + [0, 1]
        var output = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var size: UInt32 = 0
        let result = unsafe HMAC(
            suite.hash, bytes, Int32(bytes.count), information, information.count, &output, &size)
        precondition(unsafe result != nil && size >= count, "one round suffices")
        return Array(output[..<count])
    }
}

// No dump of what holds a secret shows it.
extension TrafficSecret: CustomReflectable, CustomStringConvertible {
    package var customMirror: Mirror { Mirror(self, children: []) }
    package var description: String { "a secret of \(suite)" }
}
