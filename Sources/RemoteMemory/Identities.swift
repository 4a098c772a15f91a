// Names of the things a client device deals with. Each is a type of its own, so that the compiler
// refuses a region where a volume is meant and a member where an extent is meant.

/// A 128-bit random identifier, written as 32 hexadecimal digits.
///
/// 128 random bits make a collision between independently chosen identifiers a non-event, so that
/// appliances and client devices may choose them without asking anybody.
public struct Identifier: Hashable, Sendable, CustomStringConvertible {
    public let high: UInt64
    public let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// A fresh identifier from `generator`; the simulator passes a seeded one.
    public static func random(using generator: inout some RandomNumberGenerator) -> Identifier {
        Identifier(high: generator.next(), low: generator.next())
    }

    /// A fresh identifier from the system's generator.
    public static func random() -> Identifier {
        var generator = SystemRandomNumberGenerator()
        return random(using: &generator)
    }

    /// Reads back `description`; nil unless `text` is 32 hexadecimal digits.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count == 32, text.allSatisfy({ $0.isASCII && $0.isHexDigit }),
            let high = UInt64(text.prefix(16), radix: 16),
            let low = UInt64(text.suffix(16), radix: 16)
        else { return nil }
        self.init(high: high, low: low)
    }

    public var description: String {
        Self.hexadecimal(high) + Self.hexadecimal(low)
    }

    private static func hexadecimal(_ value: UInt64) -> String {
        let digits = String(value, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }
}

/// Identifies a region for as long as it exists.
public struct RegionID: Hashable, Sendable, CustomStringConvertible {
    public let value: Identifier
    public init(_ value: Identifier) { self.value = value }
    public var description: String { value.description }
}

/// Identifies a resiliency set, whatever its user-facing name.
public struct VolumeID: Hashable, Sendable, CustomStringConvertible {
    public let value: Identifier
    public init(_ value: Identifier) { self.value = value }
    public var description: String { value.description }
}

/// Identifies one life of an appliance's memory: new whenever that memory was lost.
public struct Incarnation: Hashable, Sendable, CustomStringConvertible {
    public let value: Identifier
    public init(_ value: Identifier) { self.value = value }
    public var description: String { value.description }
}

/// Identifies one run of a client device process.
public struct OwnerID: Hashable, Sendable, CustomStringConvertible {
    public let value: Identifier
    public init(_ value: Identifier) { self.value = value }
    public var description: String { value.description }
}

/// The number that grows with every change of a set's owner or membership.
///
/// Appliances refuse accesses of older epochs, so an owner that was replaced can do no harm.
public struct Epoch:
    Hashable, Comparable, Sendable, BitwiseCopyable, Codable, CustomStringConvertible
{
    public let number: UInt64
    public init(_ number: UInt64) { self.number = number }
    public var next: Epoch { Epoch(number + 1) }
    public static func < (left: Epoch, right: Epoch) -> Bool { left.number < right.number }
    public var description: String { String(number) }
}

/// A member's place in its set: 0 up to `MemberIndex.limit - 1`; or that member's twin.
///
/// A twin is a second region with the bytes of the same place, while an erasure set is copied (a move, a
/// snapshot). It has the place's number and `limit` more. Only the owner of the set knows of it: no
/// registry, intent or dirty map names one.
public struct MemberIndex: Hashable, Comparable, Sendable, BitwiseCopyable, CustomStringConvertible
{
    /// The most members a set may have at once, replacements included.
    @inlinable public static var limit: Int { 16 }
    /// How many indices there are, twins included.
    @inlinable public static var count: Int { 2 * limit }
    @usableFromInline let byte: UInt8
    @inlinable public var number: Int { Int(byte) }
    @inlinable public init(_ number: Int) {
        precondition(number >= 0 && number < Self.count, "a member index is within its limit")
        byte = UInt8(truncatingIfNeeded: number)
    }
    /// Whether it is a twin's.
    @inlinable public var isTwin: Bool { number >= Self.limit }
    /// The place whose bytes it holds: itself, but for a twin.
    @inlinable public var place: MemberIndex { MemberIndex(number % Self.limit) }
    /// The twin of this place.
    @inlinable public var twin: MemberIndex { MemberIndex(number % Self.limit + Self.limit) }
    @inlinable public static func < (left: MemberIndex, right: MemberIndex) -> Bool {
        left.byte < right.byte
    }
    /// The number of its place; a twin's has an apostrophe.
    public var description: String { isTwin ? "\(place.number)'" : String(number) }
}
