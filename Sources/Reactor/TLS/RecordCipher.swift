// Sealing and opening of records in one direction (RFC 8446 sections 5.2 and 5.3), in place.
//
//     23 │ 3 3 │ length │ content ………… │ type │ tag (16)
//     └── header, proven ──┘└──── sealed ─────┘
//
// The nonce of a record is its number, added bit by bit to the initial vector: none is ever used twice under
// one key, as the number only grows, and starts over with another key.

import COpenSSL
import Glibc

/// What is inside a record (RFC 8446 section 5.1).
package enum ContentType {
    package static let alert: UInt8 = 21
    package static let handshake: UInt8 = 22
    package static let data: UInt8 = 23
}

/// Owns the key of one direction.
@safe
package struct RecordCipher: ~Copyable {
    /// The most content of a record, in bytes.
    package static let largestContent = 16 << 10
    package static let headerSize = 5
    package static let tagSize = 16
    static let nonceSize = 12
    /// How much longer a record is than its content, without padding.
    package static let overhead = headerSize + 1 + tagSize
    /// The longest body that a peer may send: there may be padding in it.
    static let largestBody = largestContent + 256

    private let context: OpaquePointer
    private let nonce: UnsafeMutablePointer<UInt8>
    private let seals: Bool
    private(set) package var secret: TrafficSecret
    /// How many records came before, under this key.
    private(set) package var sequence: UInt64
    private var vector: (UInt32, UInt64) = (0, 0)

    package init(_ secret: TrafficSecret, sequence: UInt64 = 0, seals: Bool) {
        guard let context = unsafe EVP_CIPHER_CTX_new() else {
            preconditionFailure("no memory for TLS")
        }
        unsafe self.context = context
        unsafe nonce = .allocate(capacity: Self.nonceSize)
        self.seals = seals
        self.secret = secret
        self.sequence = sequence
        adopt()
    }

    deinit {
        unsafe EVP_CIPHER_CTX_free(context)
        unsafe nonce.deallocate()
    }

    /// Goes on with the next secret (RFC 8446 section 7.2).
    package mutating func update() {
        secret = secret.next
        sequence = 0
        adopt()
    }

    private mutating func adopt() {
        let (key, bytes) = (secret.key, secret.initialVector)
        let result = unsafe EVP_CipherInit_ex(
            context, secret.suite.cipher, nil, key, nil, seals ? 1 : 0)
        precondition(result == 1, "a key of its suite's size is taken")
        vector.0 = bytes[..<4].reduce(0) { $0 << 8 | UInt32($1) }
        vector.1 = bytes[4...].reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// Begins with the next record, whose header is at `header`.
    private func begin(_ header: UnsafePointer<UInt8>) -> Bool {
        let place = unsafe UnsafeMutableRawPointer(nonce)
        unsafe place.storeBytes(of: vector.0.bigEndian, as: UInt32.self)
        unsafe place.storeBytes(
            of: (vector.1 ^ sequence).bigEndian, toByteOffset: 4, as: UInt64.self)
        var count: Int32 = 0
        return unsafe EVP_CipherInit_ex(context, nil, nil, nil, nonce, -1) == 1
            && EVP_CipherUpdate(context, nil, &count, header, Int32(Self.headerSize)) == 1
    }

    /// Makes a record of `count` bytes that stand behind the place of its header; returns how long it is.
    package mutating func seal(
        _ type: UInt8, _ record: UnsafeMutablePointer<UInt8>, count: Int
    ) -> Int {
        precondition(seals && count <= Self.largestContent, "a record has a largest size")
        let length = count + 1 + Self.tagSize
        unsafe record[0] = ContentType.data
        unsafe record[1] = 3
        unsafe record[2] = 3
        unsafe record[3] = UInt8(length >> 8)
        unsafe record[4] = UInt8(length & 0xFF)
        let content = unsafe record + Self.headerSize
        unsafe content[count] = type
        var done: Int32 = 0
        let isSealed =
            unsafe begin(record)
            && EVP_CipherUpdate(context, content, &done, content, Int32(count + 1)) == 1
            && EVP_CipherFinal_ex(context, content + count + 1, &done) == 1
            && EVP_CIPHER_CTX_ctrl(
                context, EVP_CTRL_AEAD_GET_TAG, Int32(Self.tagSize), content + count + 1) == 1
        precondition(isSealed, "sealing cannot fail")
        sequence += 1
        return Self.headerSize + length
    }

    /// Opens the record at `record` into `place`, which has room for its body without the tag; returns what is
    /// there then (content, type, padding), and nil when the record was not sealed by who has the key.
    package mutating func open(
        _ record: UnsafeMutablePointer<UInt8>, body: Int, into place: UnsafeMutablePointer<UInt8>
    ) -> Int? {
        precondition(!seals && body > Self.tagSize, "a record has a tag")
        let sealed = unsafe record + Self.headerSize
        let count = body - Self.tagSize
        var done: Int32 = 0
        let isGenuine =
            unsafe begin(record)
            && EVP_CIPHER_CTX_ctrl(
                context, EVP_CTRL_AEAD_SET_TAG, Int32(Self.tagSize), sealed + count) == 1
            && EVP_CipherUpdate(context, place, &done, sealed, Int32(count)) == 1
            && EVP_CipherFinal_ex(context, place + count, &done) == 1
        guard isGenuine else {
            ERR_clear_error()
            return nil
        }
        sequence += 1
        return count
    }
}
