// An input, read as decisions: whatever it holds it makes some sense, so that little of it is wasted.

/// Takes numbers off an input; zeroes when it is used up.
struct InputReader {
    private var rest: ArraySlice<UInt8>

    init(_ input: [UInt8]) { rest = input[...] }

    var isEmpty: Bool { rest.isEmpty }

    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

    mutating func number<Value: FixedWidthInteger & UnsignedInteger>(
        _ type: Value.Type = Value.self
    ) -> Value {
        (0..<MemoryLayout<Value>.size).reduce(0) { value, _ in value << 8 | Value(byte()) }
    }

    /// A number that is likely to be near something: small, near `edge`, or anything at all.
    mutating func place(near edge: UInt64) -> UInt64 {
        switch byte() & 7 {
        case 0: 0
        case 1: edge &- UInt64(number(UInt16.self))
        case 2: edge &+ UInt64(byte())
        case 3: number(UInt64.self)
        case 4: UInt64(number(UInt16.self)) &* 4096
        default: UInt64(number(UInt32.self)) % max(edge, 1)
        }
    }

    mutating func takeRest() -> [UInt8] {
        defer { rest = [] }
        return Array(rest)
    }
}

extension [UInt8] {
    /// Appends an integer, most significant byte first.
    mutating func append<Value: FixedWidthInteger>(network value: Value) {
        Swift.withUnsafeBytes(of: value.bigEndian) { append(contentsOf: $0) }
    }

    /// Appends an integer, least significant byte first.
    mutating func append<Value: FixedWidthInteger>(little value: Value) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }
}
