// One bit an extent.

public import RemoteMemory

/// Which extents of a device have some property, such as being missing on a member.
public struct ExtentMap: ~Copyable {
    public let extentSize: ByteCount
    public let deviceSize: ByteCount
    public let extentCount: Int
    public private(set) var setCount: Int
    private var words: [UInt64]

    /// A map with all extents set, or none.
    public init(deviceSize: ByteCount, extentSize: ByteCount, allSet: Bool) {
        self.deviceSize = deviceSize
        self.extentSize = extentSize
        let unit = extentSize.bytes
        extentCount = Int((deviceSize.bytes + unit - 1) / unit)
        words = Array(repeating: allSet ? .max : 0, count: (extentCount + 63) / 64)
        setCount = allSet ? extentCount : 0
        if allSet, extentCount % 64 != 0 {
            words[words.count - 1] = (1 << UInt64(extentCount % 64)) - 1
        }
    }

    @inline(__always)
    public func contains(_ extent: Int) -> Bool {
        words[extent >> 6] & (1 << UInt64(extent & 63)) != 0
    }

    public mutating func remove(_ extent: Int) {
        guard contains(extent) else { return }
        words[extent >> 6] &= ~(1 << UInt64(extent & 63))
        setCount -= 1
    }

    public mutating func insert(_ extent: Int) {
        guard !contains(extent) else { return }
        words[extent >> 6] |= 1 << UInt64(extent & 63)
        setCount += 1
    }

    /// The first set extent at or after `start`.
    public func next(from start: Int) -> Int? {
        guard start < extentCount else { return nil }
        var word = start >> 6
        var bits = words[word] & (.max << UInt64(start & 63))
        while bits == 0 {
            word += 1
            guard word < words.count else { return nil }
            bits = words[word]
        }
        return word << 6 + bits.trailingZeroBitCount
    }

    /// Whether every extent that `range` touches is set.
    @inline(__always)
    public func containsAll(of range: ByteRange) -> Bool {
        guard !range.isEmpty else { return true }
        let first = Int(range.start.bytes / extentSize.bytes)
        let last = Int((range.end.bytes - 1) / extentSize.bytes)
        for extent in first...last where !contains(extent) { return false }
        return true
    }

    /// The bytes of an extent; the last one of a device may be short.
    public func range(of extent: Int) -> ByteRange {
        let start = UInt64(extent) * extentSize.bytes
        return ByteRange(
            start: ByteOffset(start),
            count: ByteCount(min(extentSize.bytes, deviceSize.bytes - start)))
    }
}
