// A request as it stands on the wire ("Request message"):
//
//     magic 4 │ flags 2 │ type 2 │ cookie 8 │ offset 8 │ length 4 │ payload (WRITE only)

/// The fixed part of a request.
public struct RequestHeader: Sendable {
    public var magic: UInt32
    public var flags: CommandFlags
    public var type: UInt16
    /// Sent back with the reply, byte for byte: not a number of ours.
    public var cookie: UInt64
    /// In bytes from the start of the export.
    public var offset: UInt64
    /// In bytes.
    public var length: UInt32

    /// Reads the first `Wire.requestHeaderSize` bytes, which must be there.
    @inlinable
    public init(_ bytes: RawSpan) {
        precondition(
            bytes.byteCount >= Wire.requestHeaderSize, "the caller waits for a whole header")
        magic = UInt32(
            bigEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 0, as: UInt32.self))
        flags = CommandFlags(
            rawValue: UInt16(
                bigEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 4, as: UInt16.self)))
        type = UInt16(
            bigEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 6, as: UInt16.self))
        cookie = unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 8, as: UInt64.self)
        offset = UInt64(
            bigEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 16, as: UInt64.self))
        length = UInt32(
            bigEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 24, as: UInt32.self))
    }

    /// How many bytes of payload follow the header.
    @inlinable
    public var payloadSize: Int { type == CommandType.write ? Int(length) : 0 }
}

/// A simple reply, laid out in memory as on the wire ("Simple reply message").
///
///     magic 4 │ error 4 │ cookie 8 │ data (READ without error)
@frozen
public struct SimpleReply: Sendable {
    let magic: UInt32
    let error: UInt32
    let cookie: UInt64

    /// A reply to the request with this cookie.
    public init(_ error: ErrorNumber, cookie: UInt64) {
        magic = Wire.simpleReplyMagic.bigEndian
        self.error = error.rawValue.bigEndian
        self.cookie = cookie
    }
}
