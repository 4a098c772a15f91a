// Byte quantities. An offset is not a length, and neither is a bare integer.

/// A distance from the start of a volume or region, in bytes.
public struct ByteOffset: Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible {
    public let bytes: UInt64
    @inlinable public init(_ bytes: UInt64) { self.bytes = bytes }
    @inlinable public static func < (left: ByteOffset, right: ByteOffset) -> Bool {
        left.bytes < right.bytes
    }
    @inlinable public static func + (left: ByteOffset, right: ByteCount) -> ByteOffset {
        ByteOffset(left.bytes + right.bytes)
    }
    @inlinable public static func - (left: ByteOffset, right: ByteOffset) -> ByteCount {
        ByteCount(left.bytes - right.bytes)
    }
    public var description: String { String(bytes) }
}

/// An amount of memory or data, in bytes.
public struct ByteCount: Hashable, Comparable, Sendable, BitwiseCopyable {
    public let bytes: UInt64
    @inlinable public init(_ bytes: UInt64) { self.bytes = bytes }
    @inlinable public static var zero: ByteCount { ByteCount(0) }
    @inlinable public static func kibibytes(_ count: UInt64) -> ByteCount { ByteCount(count << 10) }
    @inlinable public static func mebibytes(_ count: UInt64) -> ByteCount { ByteCount(count << 20) }
    @inlinable public static func gibibytes(_ count: UInt64) -> ByteCount { ByteCount(count << 30) }
    @inlinable public static func < (left: ByteCount, right: ByteCount) -> Bool {
        left.bytes < right.bytes
    }
    @inlinable public static func + (left: ByteCount, right: ByteCount) -> ByteCount {
        ByteCount(left.bytes + right.bytes)
    }
    @inlinable public static func - (left: ByteCount, right: ByteCount) -> ByteCount {
        ByteCount(left.bytes - right.bytes)
    }
}

extension ByteCount {
    /// Reads `4096`, `64K`, `512M`, `1G`, `2T`; the suffixes are powers of 1024, in either case.
    ///
    /// Nil when `text` is anything else, or more than 2^63 bytes.
    public init?(parsing text: some StringProtocol) {
        guard let last = Array(text.utf8).last else { return nil }
        let shift: UInt64
        switch last {
        case UInt8(ascii: "K"), UInt8(ascii: "k"): shift = 10
        case UInt8(ascii: "M"), UInt8(ascii: "m"): shift = 20
        case UInt8(ascii: "G"), UInt8(ascii: "g"): shift = 30
        case UInt8(ascii: "T"), UInt8(ascii: "t"): shift = 40
        default: shift = 0
        }
        let digits = shift == 0 ? text[...] : text.dropLast()
        guard !digits.isEmpty, digits.allSatisfy({ $0.isASCII && $0.isNumber }),
            let number = UInt64(digits), number <= (UInt64(1) << 63) >> shift
        else { return nil }
        self.init(number << shift)
    }
}

extension ByteCount: CustomStringConvertible {
    /// For people: one decimal place and a binary unit, such as `1.5 GiB`.
    public var description: String {
        var value = Double(bytes)
        for unit in ["bytes", "KiB", "MiB", "GiB"] {
            // (1023.96 would be written as 1024.0.)
            if value < (unit == "bytes" ? 1024 : 1023.95) {
                return unit == "bytes" ? "\(bytes) bytes" : "\(Self.oneDecimal(value)) \(unit)"
            }
            value /= 1024
        }
        return "\(Self.oneDecimal(value)) TiB"
    }

    private static func oneDecimal(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}

/// A span of bytes of a volume or region: `start` up to, not including, `end`.
public struct ByteRange: Hashable, Sendable, BitwiseCopyable {
    public let start: ByteOffset
    public let count: ByteCount
    @inlinable public init(start: ByteOffset, count: ByteCount) {
        self.start = start
        self.count = count
    }
    @inlinable public var end: ByteOffset { start + count }
    @inlinable public var isEmpty: Bool { count.bytes == 0 }
    @inlinable public func overlaps(_ other: ByteRange) -> Bool {
        start < other.end && other.start < end && !isEmpty && !other.isEmpty
    }
    /// The part of this range inside `other`; empty when they do not meet.
    @inlinable public func intersection(_ other: ByteRange) -> ByteRange {
        let low = max(start, other.start)
        let high = min(end, other.end)
        return ByteRange(start: low, count: low < high ? high - low : .zero)
    }
}
