// Records as they arrive: many with one receive, opened one by one to where the caller wants their content.
//
//     socket ──recv──▶ │ opened │ record │ record │ half a … │ ──open──▶ the caller's memory
//                               start               end               └▶ spare, when it has no room for one
//
// What is opened here is content of the connection; what is said about it (alerts, key updates) is told.

import COpenSSL
import Glibc

/// What cannot be followed by anything.
package enum RecordFault: Error {
    /// It was not sealed by who has the key.
    case damaged
    /// It is not what may come now (RFC 8446 section 5: unexpected_message, record_overflow).
    case outOfTurn
}

/// The receiving direction of a connection.
@safe
struct IncomingRecords: ~Copyable {
    /// What one record came to.
    enum Event {
        /// So many bytes at the place that was named.
        case content(Int)
        /// Content stands in the spare place.
        case spare
        case keyUpdate(isAnswerWanted: Bool)
        case alert(UInt8)
    }

    /// How much is received at once, in bytes: several records with one system call.
    static let capacity = 64 << 10
    private static let spareSize = RecordCipher.largestBody

    private var cipher: RecordCipher
    private let memory = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity)
    private var start = 0
    private var end = 0
    /// Content that the caller had no room for; there only while it is needed.
    private var spare: UnsafeMutablePointer<UInt8>?
    private var spareStart = 0
    private var spareEnd = 0

    init(_ secret: TrafficSecret, sequence: UInt64, sealed: [UInt8]) {
        precondition(sealed.count <= Self.capacity, "no more was received than there was room for")
        cipher = RecordCipher(secret, sequence: sequence, seals: false)
        for byte in sealed {
            unsafe memory[end] = byte
            end += 1
        }
    }

    deinit {
        unsafe memory.deallocate()
        unsafe spare?.deallocate()
    }

    var secret: TrafficSecret { cipher.secret }
    var sequence: UInt64 { cipher.sequence }
    /// What was received and not opened.
    var sealed: [UInt8] {
        unsafe Array(UnsafeBufferPointer(start: memory + start, count: end - start))
    }

    /// Content that was opened and not taken; it is taken out by this.
    mutating func takeSpare() -> [UInt8] {
        guard let spare = unsafe spare else { return [] }
        defer { spareStart = spareEnd }
        return unsafe Array(
            UnsafeBufferPointer(start: spare + spareStart, count: spareEnd - spareStart))
    }

    /// Whether content can be had without receiving anything.
    var hasContent: Bool { spareStart < spareEnd || hasWholeRecord }

    private var hasWholeRecord: Bool {
        let count = end - start
        return count >= RecordCipher.headerSize && count >= RecordCipher.headerSize + bodySize
    }

    /// Of the record at `start`, in bytes, as its header says.
    private var bodySize: Int { unsafe Int(memory[start + 3]) << 8 | Int(memory[start + 4]) }

    /// Copies content that was opened before; returns how much.
    mutating func drainSpare(_ place: UnsafeMutableRawPointer, _ room: Int) -> Int {
        guard let spare = unsafe spare, spareStart < spareEnd else { return 0 }
        let count = min(room, spareEnd - spareStart)
        unsafe memcpy(place, spare + spareStart, count)
        spareStart += count
        return count
    }

    /// Receives what fits; as `recv` returns.
    mutating func refill(from descriptor: Int32) -> (count: Int, isAll: Bool) {
        if start > 0 {
            unsafe memmove(memory, memory + start, end - start)
            end -= start
            start = 0
        }
        let room = Self.capacity - end
        let count = unsafe recv(descriptor, memory + end, room, 0)
        if count > 0 { end += count }
        return (count, count < room)
    }

    /// Opens the next record, its content to `place` if it fits; nil when there is no whole one.
    mutating func next(
        into place: UnsafeMutableRawPointer, _ room: Int
    ) throws(RecordFault) -> Event? {
        guard end - start >= RecordCipher.headerSize else { return nil }
        let body = bodySize
        // (The type on the outside says data, whatever is inside: RFC 8446 section 5.2.)
        guard unsafe memory[start] == ContentType.data, body > RecordCipher.tagSize,
            body <= RecordCipher.largestBody
        else { throw .outOfTurn }
        guard end - start >= RecordCipher.headerSize + body else { return nil }
        let record = unsafe memory + start
        start += RecordCipher.headerSize + body
        let isDirect = room >= body - RecordCipher.tagSize
        let target = unsafe isDirect ? place.assumingMemoryBound(to: UInt8.self) : roomAside()
        guard var count = unsafe cipher.open(record, body: body, into: target) else {
            throw .damaged
        }
        // Padding is zeroes behind the type.
        while count > 0, unsafe target[count - 1] == 0 { count -= 1 }
        guard count > 0, count - 1 <= RecordCipher.largestContent else { throw .outOfTurn }
        count -= 1
        switch unsafe target[count] {
        case ContentType.data:
            if isDirect { return .content(count) }
            spareStart = 0
            spareEnd = count
            return .spare
        case ContentType.alert: return .alert(try unsafe Self.alert(target, count))
        case ContentType.handshake: return try unsafe keyUpdate(target, count)
        default: throw .outOfTurn
        }
    }

    private mutating func roomAside() -> UnsafeMutablePointer<UInt8> {
        precondition(spareStart == spareEnd, "what was opened is taken before more is opened")
        if let spare = unsafe spare { return unsafe spare }
        let room = UnsafeMutablePointer<UInt8>.allocate(capacity: Self.spareSize)
        unsafe spare = room
        return unsafe room
    }

    /// A level, which says nothing any more, and a description (RFC 8446 section 6).
    private static func alert(
        _ content: UnsafePointer<UInt8>, _ count: Int
    ) throws(RecordFault) -> UInt8 {
        guard count == 2 else { throw .outOfTurn }
        return unsafe content[1]
    }

    /// The only message of a handshake that may come after it (RFC 8446 section 4.6.3).
    ///
    /// No session is resumed, and nobody is asked for a certificate later. It is the last thing under its key.
    private mutating func keyUpdate(
        _ content: UnsafePointer<UInt8>, _ count: Int
    ) throws(RecordFault) -> Event {
        guard count == 5, unsafe content[0] == KeyUpdate.type, unsafe content[1] == 0,
            unsafe content[2] == 0, unsafe content[3] == 1, unsafe content[4] <= 1
        else { throw .outOfTurn }
        let isAnswerWanted = unsafe content[4] == 1
        cipher.update()
        return .keyUpdate(isAnswerWanted: isAnswerWanted)
    }
}

/// The message that announces another key (RFC 8446 section 4.6.3).
enum KeyUpdate {
    static let type: UInt8 = 24
    /// One that wants no answer.
    static let message: [UInt8] = [type, 0, 0, 1, 0]
}
