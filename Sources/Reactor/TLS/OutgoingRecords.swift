// Records on their way out: sealed from the caller's pieces, sent several with one call.
//
//     pieces ──gather──▶ │ record │ record │ record │ record │ ──send──▶ socket
//                           head                     tail
//
// A record that was sealed has its number, and has to go as it is: what the socket refuses stays here, and goes
// first the next time. The key is changed before it has sealed as many records as its suite allows.

import CLinux
import COpenSSL
import Glibc

/// The sending direction of a connection.
@safe
struct OutgoingRecords: ~Copyable {
    /// How many records of the largest size are sent with one call.
    static let batch = 4
    /// Room for a batch, and for a message about the connection.
    private static let capacity =
        (batch + 1) * (RecordCipher.largestContent + RecordCipher.overhead)

    private var cipher: RecordCipher
    private let keyLife: UInt64
    private let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
    private var head = 0
    private var tail = 0
    /// The peer wants another key to be used, too (RFC 8446 section 4.6.3).
    var owesUpdate = false

    init(_ secret: TrafficSecret, sequence: UInt64, keyLife: UInt64) {
        cipher = RecordCipher(secret, sequence: sequence, seals: true)
        self.keyLife = keyLife
    }

    deinit { unsafe memory.deallocate() }

    var secret: TrafficSecret { cipher.secret }
    var sequence: UInt64 { cipher.sequence }
    /// Whether all that was sealed has gone.
    var isEmpty: Bool { head == tail }

    /// Seals as much as fits of what comes next; returns how many bytes of it.
    mutating func seal(_ cursor: inout PieceCursor) -> Int {
        precondition(isEmpty, "what was sealed before goes first")
        head = 0
        tail = 0
        var taken = 0
        for _ in 0..<Self.batch {
            if owesUpdate || cipher.sequence >= keyLife { updateKey() }
            let count = unsafe cursor.gather(
                into: memory + tail + RecordCipher.headerSize,
                atMost: RecordCipher.largestContent)
            guard count > 0 else { break }
            tail += unsafe cipher.seal(ContentType.data, memory + tail, count: count)
            taken += count
        }
        return taken
    }

    private mutating func updateKey() {
        seal(ContentType.handshake, KeyUpdate.message)
        cipher.update()
        owesUpdate = false
    }

    /// Seals a message about the connection.
    mutating func seal(_ type: UInt8, _ message: [UInt8]) {
        for (index, byte) in message.enumerated() {
            unsafe memory[tail + RecordCipher.headerSize + index] = byte
        }
        tail += unsafe cipher.seal(type, memory + tail, count: message.count)
    }

    /// Sends what was sealed; false with `errno` when some is left.
    mutating func flush(to descriptor: Int32) -> Bool {
        while head < tail {
            let count = unsafe Glibc.send(
                descriptor, memory + head, tail - head, Int32(MSG_NOSIGNAL))
            if count > 0 {
                head += count
            } else if errno != EINTR {
                return false
            }
        }
        return true
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
