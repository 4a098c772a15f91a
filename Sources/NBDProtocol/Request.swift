// A request as it stands on the wire ("Request message"):
//
//     compact     magic 4 │ flags 2 │ type 2 │ cookie 8 │ offset 8 │ length 4 │ payload (WRITE)
//     extended    magic 4 │ flags 2 │ type 2 │ cookie 8 │ offset 8 │ length 8 │ payload (flag PAYLOAD_LEN, WRITE)

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
    public var length: UInt64

    /// Reads the first `form.requestHeaderSize` bytes, which must be there.
    @inlinable
    public init(_ bytes: RawSpan, _ form: MessageForm = .simple) {
        precondition(
            bytes.byteCount >= form.requestHeaderSize, "the caller waits for a whole header")
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
        length =
            form == .extended
            ? UInt64(
                bigEndian: unsafe bytes.unsafeLoadUnaligned(fromByteOffset: 24, as: UInt64.self))
            : UInt64(
                UInt32(
                    bigEndian: unsafe bytes.unsafeLoadUnaligned(
                        fromByteOffset: 24, as: UInt32.self)))
    }

    /// How many bytes of payload follow the header.
    ///
    /// (A WRITE without PAYLOAD_LEN among extended headers is a client's mistake, but what it means is clear.)
    @inlinable
    public func payloadSize(_ form: MessageForm) -> UInt64 {
        type == CommandType.write || (form == .extended && flags.contains(.payloadLength))
            ? length : 0
    }
}
