// The fixed parts of replies, laid out in memory as on the wire.
//
//     simple       magic 4 │ error 4 │ cookie 8                                      ("Simple reply message")
//     structured   magic 4 │ flags 2 │ type 2 │ cookie 8 │ length 4                  ("Structured reply chunk message")
//     extended     magic 4 │ flags 2 │ type 2 │ cookie 8 │ offset 8 │ length 8       ("Extended headers")
//
// and behind a chunk's header, the fixed part of its payload:
//
//     OFFSET_DATA  offset 8 │ data             OFFSET_HOLE   offset 8 │ size 4
//     ERROR        error 4 │ length 2 │ text   BLOCK_STATUS  context 4 [│ count 4, extended] │ descriptors

/// How requests and replies of a connection look, as negotiated.
@frozen
public enum MessageForm: String, Hashable, Sendable, Codable {
    /// One reply a request, with the data of a read behind it.
    case simple
    /// Chunks; STRUCTURED_REPLY was negotiated.
    case structured
    /// Chunks, and lengths of 64 bits; EXTENDED_HEADERS was negotiated.
    case extended

    @inlinable
    public var requestHeaderSize: Int {
        self == .extended ? Wire.extendedRequestHeaderSize : Wire.requestHeaderSize
    }
}

/// What a chunk answers, and whether more follow.
public struct ChunkPlace: Sendable {
    public var cookie: UInt64
    /// The request's, in bytes.
    public var requestOffset: UInt64
    /// The last chunk of its reply.
    public var isLast: Bool

    public init(cookie: UInt64, requestOffset: UInt64, isLast: Bool) {
        self.cookie = cookie
        self.requestOffset = requestOffset
        self.isLast = isLast
    }
}

/// The fixed part of one reply or chunk.
@frozen
public struct ReplyHeader: Sendable {
    /// Room for the largest: 32 bytes of an extended header and 12 of a hole.
    private var words: (UInt64, UInt64, UInt64, UInt64, UInt64, UInt64) = (0, 0, 0, 0, 0, 0)
    /// How many bytes of it are sent.
    public private(set) var count = 0

    /// A simple reply.
    @inline(__always)
    public init(_ error: ErrorNumber, cookie: UInt64) {
        append(Wire.simpleReplyMagic)
        append(error.rawValue)
        words.1 = cookie
        count = Wire.simpleReplySize
    }

    /// The end of a reply without content.
    public init(done place: ChunkPlace, _ form: MessageForm) {
        self.init(.none, place, payload: 0, form)
    }

    /// Data, of which `count` bytes follow.
    @inline(__always)
    public init(data offset: UInt64, count: Int, _ place: ChunkPlace, _ form: MessageForm) {
        self.init(.offsetData, place, payload: 8 + count, form)
        append(offset)
    }

    /// Zeroes, of which nothing follows.
    public init(hole offset: UInt64, count: UInt32, _ place: ChunkPlace, _ form: MessageForm) {
        self.init(.offsetHole, place, payload: 12, form)
        append(offset)
        append(count)
    }

    /// An error, whose text of `textCount` bytes follows.
    public init(
        _ error: ErrorNumber, textCount: Int, _ place: ChunkPlace, _ form: MessageForm
    ) {
        precondition(error != .none, "an error is none of none")
        self.init(.error, place, payload: 6 + textCount, form)
        append(error.rawValue)
        append(UInt16(textCount))
    }

    /// The status of extents in one context; `count` descriptors follow, in `form`'s size.
    public init(
        statusIn context: UInt32, extents count: Int, _ place: ChunkPlace, _ form: MessageForm
    ) {
        if form == .extended {
            self.init(.blockStatusExtended, place, payload: 8 + count * 16, form)
            append(context)
            append(UInt32(count))
        } else {
            self.init(.blockStatus, place, payload: 4 + count * 8, form)
            append(context)
        }
    }

    @inline(__always)
    private init(_ type: ChunkType, _ place: ChunkPlace, payload: Int, _ form: MessageForm) {
        precondition(form != .simple, "a chunk is part of a structured reply")
        let isExtended = form == .extended
        append(isExtended ? Wire.extendedReplyMagic : Wire.structuredReplyMagic)
        append(UInt16(place.isLast ? 1 : 0))
        append(type.rawValue)
        append(UInt64(bigEndian: place.cookie))
        if isExtended {
            append(place.requestOffset)
            append(UInt64(payload))
        } else {
            append(UInt32(payload))
        }
    }

    /// Appends an integer in the byte order of the wire.
    @inline(__always)
    private mutating func append<Value: FixedWidthInteger & BitwiseCopyable>(_ value: Value) {
        let position = count
        count += MemoryLayout<Value>.size
        unsafe withUnsafeMutableBytes(of: &words) {
            unsafe $0.storeBytes(of: value.bigEndian, toByteOffset: position, as: Value.self)
        }
    }
}
