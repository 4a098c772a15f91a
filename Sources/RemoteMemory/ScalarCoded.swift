// How identities and quantities stand in messages: as the one number or string they are.

/// A type that is coded as a single value.
public protocol ScalarCoded: Codable {
    associatedtype Scalar: Codable
    /// Nil when `scalar` is out of range.
    init?(scalar: Scalar)
    var scalar: Scalar { get }
    /// What a value looks like, for whoever wrote something else.
    static var notation: String { get }
}

extension ScalarCoded {
    public static var notation: String { "a number in range" }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let value = Self(scalar: try container.decode(Scalar.self)) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "it is written \(Self.notation)")
        }
        self = value
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(scalar)
    }
}

extension ByteCount: ScalarCoded {
    public init(scalar: UInt64) { self.init(scalar) }
    public var scalar: UInt64 { bytes }
}

extension ByteOffset: ScalarCoded {
    public init(scalar: UInt64) { self.init(scalar) }
    public var scalar: UInt64 { bytes }
}

extension Epoch: ScalarCoded {
    public init(scalar: UInt64) { self.init(scalar) }
    public var scalar: UInt64 { number }
}

extension MemberIndex: ScalarCoded {
    public init?(scalar: Int) {
        guard scalar >= 0, scalar < Self.limit else { return nil }
        self.init(scalar)
    }
    public var scalar: Int { number }
}

extension Identifier: ScalarCoded {
    public init?(scalar: String) { self.init(scalar) }
    public var scalar: String { description }
    public static var notation: String { "as 32 hexadecimal digits" }
}

extension RegionID: ScalarCoded {
    public init(scalar: Identifier) { self.init(scalar) }
    public var scalar: Identifier { value }
}

extension VolumeID: ScalarCoded {
    public init(scalar: Identifier) { self.init(scalar) }
    public var scalar: Identifier { value }
}

extension Incarnation: ScalarCoded {
    public init(scalar: Identifier) { self.init(scalar) }
    public var scalar: Identifier { value }
}

extension OwnerID: ScalarCoded {
    public init(scalar: Identifier) { self.init(scalar) }
    public var scalar: Identifier { value }
}

extension Layout: ScalarCoded {
    public init?(scalar: String) { self.init(scalar) }
    public var scalar: String { description }
    public static var notation: String { "mirror:N or erasure:K+M" }
}
