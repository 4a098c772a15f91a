// Which of the kernel's NBD devices is meant: the N of /dev/nbdN.

/// The number of an NBD device.
public struct DeviceIndex: Hashable, Comparable, Sendable, CustomStringConvertible {
    /// The kernel numbers minor devices with a byte, and keeps room for partitions; more never exist.
    public static let limit: UInt32 = 1 << 20

    public let number: UInt32

    public init(_ number: UInt32) { self.number = number }

    /// The device of a path such as `/dev/nbd3`, or of its name.
    public init(path: String) throws(KernelDeviceError) {
        let name = path.hasPrefix("/dev/") ? path.dropFirst("/dev/".count) : Substring(path)
        guard let index = Self(name: name) else { throw .badDeviceName(path) }
        self = index
    }

    /// The device of a name such as `nbd3`; nil for what is none, partitions included.
    init?(name: some StringProtocol) {
        guard name.hasPrefix("nbd") else { return nil }
        let digits = name.dropFirst("nbd".count)
        guard digits.allSatisfy({ $0.isASCII && $0.isNumber }), let number = UInt32(digits),
            number < Self.limit, digits.count == 1 || digits.first != "0"
        else { return nil }
        self.number = number
    }

    public var name: String { "nbd\(number)" }
    public var path: String { "/dev/\(name)" }
    public var description: String { name }

    public static func < (one: DeviceIndex, other: DeviceIndex) -> Bool {
        one.number < other.number
    }
}
