// The messages of client-side access over a stream, as they stand on the wire. All integers are
// little-endian, as the words of a region are.
//
//     request   length 4 │ operation 1 │ 0 1 │ segments 2 │ tag 8 │ segment 16 … │ bytes …
//     segment   place 8 │ count 4 │ kind 4
//     reply     length 4 │ status 1 │ content 1 │ 0 2 │ tag 8 │ bytes …
//
//     length    of what follows the 16 bytes of the header
//     tag       chosen by the client device, sent back with the reply
//     place     in bytes from the start of the region
//     bytes     of all segments of kind `bytes` or `copy`, one after the other
//
// The requests of a connection are carried out one after the other and answered in the same order. A
// request is received whole before any of it touches the region, and its segments are stored in the
// order in which they stand: that order is `RegionAccess`'s, and repair rests on it.

import RemoteMemory

/// Sizes and bounds of the messages.
public enum AccessWire {
    /// Of a request's header, a reply's header and a segment, in bytes.
    public static let headerSize = 16
    public static let segmentSize = 16
    /// The most segments of a request; what needs more is sent as several.
    public static let mostSegments = 256
    /// The most bytes behind the header of a request or reply: the largest write a client may send
    /// (32 MiB), its intent, and room for segments.
    public static let largestBody = (32 << 20) + (128 << 10)
    /// The most that one request may read, in bytes.
    public static let largestRead = 32 << 20
    /// How much `readAllocated` covers at most: one bit of its mask for each block of 4 KiB.
    public static let largestSpan = 256 << 10
}

/// What a request asks for.
public enum AccessOperation: UInt8, Sendable {
    /// The first on a connection: names the region (16 bytes) and the key that was granted (16 bytes). The
    /// reply carries the size of the volume's data (8 bytes).
    case attach = 1
    /// Store the segments.
    case write = 2
    /// Load one segment of kind `bytes`, without bytes behind it. The reply carries them, or says that all
    /// of it is zeroes that are not allocated.
    case read = 3
    /// The same for up to `AccessWire.largestSpan`, starting at a block: the reply carries a mask of which
    /// blocks are allocated (8 bytes, lowest bit first), and only the bytes of these.
    case readAllocated = 4
    /// The SHA-256 of one segment's bytes (32 bytes), whether allocated or not.
    case digest = 5
    /// Nothing but a reply.
    case probe = 6
    /// The folds (`Fold`) of one segment of kind `bytes`, which holds whole chunks; behind it stand the size of
    /// a chunk (4 bytes), how many roles there are (2 bytes) and that of the first chunk (2 bytes).
    case fold = 7
}

/// What is done with a segment's place.
public enum SegmentKind: UInt32, Sendable {
    /// It becomes the bytes behind the segments.
    case bytes = 0
    /// It becomes zeroes and stays allocated.
    case zeroes = 1
    /// It becomes zeroes and its memory is given back.
    case hole = 2
    /// It becomes what stands elsewhere in the data: at the place (8 bytes) that stands behind the segments,
    /// among the bytes of the others.
    case copy = 3
}

/// How a request went.
public enum AccessStatus: UInt8, Error, Sendable, BitwiseCopyable, CustomStringConvertible {
    case done = 0
    /// The key does not hold any more: a newer epoch has the region. Nothing was touched, the connection is
    /// closed behind the reply.
    case fenced = 1
    /// There is no such region: its memory was lost.
    case noSuchRegion = 2
    /// A place outside of the region, or a write by a key that only reads.
    case refused = 3
    /// The appliance's kernel refused; the place may be partly changed.
    case failed = 4
    /// No sense can be made of the request; the connection is closed behind the reply.
    case malformed = 5

    public var description: String {
        switch self {
        case .done: "done"
        case .fenced: "another client device has the region"
        case .noSuchRegion: "the appliance has no such region"
        case .refused: "the appliance refuses the access"
        case .failed: "the appliance cannot carry the access out"
        case .malformed: "the appliance did not understand the request: use the same version"
        }
    }
}

/// What stands behind a reply's header.
public enum ReplyContent: UInt8, Sendable, BitwiseCopyable {
    case nothing = 0
    /// All that was asked for.
    case bytes = 1
    /// Nothing: all that was asked for is zeroes, none of it allocated.
    case zeroes = 2
    /// A mask of blocks, and those.
    case blocks = 3
}

/// The header of a request.
public struct AccessRequestHeader: BitwiseCopyable, Sendable {
    public var bodySize: UInt32
    public var operation: UInt8
    public var segmentCount: UInt16
    public var tag: UInt64

    @inlinable
    public init(bodySize: UInt32, operation: AccessOperation, segmentCount: UInt16, tag: UInt64) {
        self.bodySize = bodySize
        self.operation = operation.rawValue
        self.segmentCount = segmentCount
        self.tag = tag
    }

    /// Reads the first `AccessWire.headerSize` bytes, which must be there.
    @inlinable
    public init(_ bytes: RawSpan) {
        precondition(bytes.byteCount >= 16, "the caller waits for a whole header")
        bodySize = UInt32(
            littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt32.self))
        operation = unsafe bytes.unsafeLoad(fromByteOffset: 4, as: UInt8.self)
        segmentCount = UInt16(
            littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 6, as: UInt16.self))
        tag = UInt64(
            littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    /// As it stands on the wire: two words.
    @inlinable
    public var words: (UInt64, UInt64) {
        let first =
            UInt64(bodySize) | UInt64(operation) << 32 | UInt64(segmentCount) << 48
        return (first.littleEndian, tag.littleEndian)
    }
}

/// One segment of a request.
public struct AccessSegment: BitwiseCopyable, Sendable, Hashable {
    /// In bytes from the start of the region.
    public var place: UInt64
    public var count: UInt32
    /// A `SegmentKind`, or what somebody else made up.
    public var rawKind: UInt32

    @inlinable
    public init(place: UInt64, count: UInt32, kind: SegmentKind) {
        self.place = place
        self.count = count
        rawKind = kind.rawValue
    }

    @inlinable
    public init(_ bytes: RawSpan) {
        precondition(bytes.byteCount >= 16, "the caller waits for a whole segment")
        place = UInt64(
            littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt64.self))
        count = UInt32(
            littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt32.self))
        rawKind = UInt32(
            littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 12, as: UInt32.self))
    }

    @inlinable public var kind: SegmentKind? { SegmentKind(rawValue: rawKind) }

    /// As it stands on the wire: two words.
    @inlinable
    public var words: (UInt64, UInt64) {
        (place.littleEndian, (UInt64(count) | UInt64(rawKind) << 32).littleEndian)
    }
}

/// The header of a reply.
public struct AccessReplyHeader: BitwiseCopyable, Sendable {
    public var bodySize: UInt32
    public var rawStatus: UInt8
    public var rawContent: UInt8
    public var tag: UInt64

    @inlinable
    public init(
        bodySize: UInt32 = 0, status: AccessStatus, content: ReplyContent = .nothing, tag: UInt64
    ) {
        self.bodySize = bodySize
        rawStatus = status.rawValue
        rawContent = content.rawValue
        self.tag = tag
    }

    @inlinable
    public init(_ bytes: RawSpan) {
        precondition(bytes.byteCount >= 16, "the caller waits for a whole header")
        bodySize = UInt32(
            littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt32.self))
        rawStatus = unsafe bytes.unsafeLoad(fromByteOffset: 4, as: UInt8.self)
        rawContent = unsafe bytes.unsafeLoad(fromByteOffset: 5, as: UInt8.self)
        tag = UInt64(
            littleEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }

    @inlinable public var status: AccessStatus? { AccessStatus(rawValue: rawStatus) }
    @inlinable public var content: ReplyContent? { ReplyContent(rawValue: rawContent) }

    @inlinable
    public var words: (UInt64, UInt64) {
        let first = UInt64(bodySize) | UInt64(rawStatus) << 32 | UInt64(rawContent) << 40
        return (first.littleEndian, tag.littleEndian)
    }
}
