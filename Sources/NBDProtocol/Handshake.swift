// Messages of the handshake: read from a span with every length checked, written to an array.

/// A client's option ("Option haggling").
///
///     magic 8 │ option 4 │ length 4 │ data
public struct OptionHeader: Sendable {
    public var magic: UInt64
    public var option: UInt32
    /// Of the data that follows, in bytes.
    public var length: UInt32

    /// Nil when there are fewer than `Wire.optionHeaderSize` bytes.
    public init?(_ bytes: Span<UInt8>) {
        var reader = WireReader(bytes)
        guard let magic = reader.uint64(), let option = reader.uint32(),
            let length = reader.uint32()
        else { return nil }
        self.magic = magic
        self.option = option
        self.length = length
    }
}

/// What INFO and GO carry.
///
///     length 4 │ name │ count 2 │ information requests 2 each
public struct InformationRequest: Sendable {
    public var name: String
    public var requests: [UInt16]

    /// Nil when an inner length does not fit, or the name is not a string of the protocol.
    public init?(_ data: Span<UInt8>) {
        var reader = WireReader(data)
        guard let length = reader.uint32(), let name = reader.string(Int(length)),
            let count = reader.uint16()
        else { return nil }
        var requests: [UInt16] = []
        for _ in 0..<count {
            guard let request = reader.uint16() else { return nil }
            requests.append(request)
        }
        guard reader.isAtEnd else { return nil }
        self.name = name
        self.requests = requests
    }
}

/// Reads integers and strings from the front of a span; nil when it is too short.
public struct WireReader: ~Escapable {
    private let bytes: Span<UInt8>
    private var position = 0

    @_lifetime(copy bytes)
    public init(_ bytes: Span<UInt8>) { self.bytes = bytes }

    public var isAtEnd: Bool { position == bytes.count }

    @_lifetime(self: copy self)
    public mutating func uint16() -> UInt16? { integer() }
    @_lifetime(self: copy self)
    public mutating func uint32() -> UInt32? { integer() }
    @_lifetime(self: copy self)
    public mutating func uint64() -> UInt64? { integer() }

    /// A string of `count` bytes; nil also when it is too long, not UTF-8 or contains NUL.
    @_lifetime(self: copy self)
    public mutating func string(_ count: Int) -> String? {
        guard count <= Wire.longestString, bytes.count - position >= count else { return nil }
        var units: [UInt8] = []
        units.reserveCapacity(count)
        for index in position..<position + count { units.append(bytes[index]) }
        position += count
        guard !units.contains(0) else { return nil }
        return String(validating: units, as: UTF8.self)
    }

    @_lifetime(self: copy self)
    private mutating func integer<Value: FixedWidthInteger>() -> Value? {
        let size = MemoryLayout<Value>.size
        guard bytes.count - position >= size else { return nil }
        var value: Value = 0
        for index in position..<position + size { value = value << 8 | Value(bytes[index]) }
        position += size
        return value
    }
}

extension [UInt8] {
    /// Appends an integer in the byte order of the wire.
    public mutating func append(wire value: some FixedWidthInteger) {
        for shift in stride(from: value.bitWidth - 8, through: 0, by: -8) {
            append(UInt8(truncatingIfNeeded: value >> shift))
        }
    }

    /// Appends an option reply.
    ///
    ///     magic 8 │ option 4 │ type 4 │ length 4 │ data
    public mutating func append(
        reply type: OptionReplyType, to option: UInt32, data: [UInt8] = []
    ) {
        append(wire: Wire.optionReplyMagic)
        append(wire: option)
        append(wire: type.rawValue)
        append(wire: UInt32(data.count))
        append(contentsOf: data)
    }
}
