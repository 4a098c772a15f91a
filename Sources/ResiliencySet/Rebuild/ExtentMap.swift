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

    private init(copying other: borrowing ExtentMap) {
        extentSize = other.extentSize
        deviceSize = other.deviceSize
        extentCount = other.extentCount
        setCount = other.setCount
        words = other.words
    }

    /// The map of the same device when that has grown, perhaps with larger extents: what is new is not set, and an
    /// extent is if any part of it was.
    public func grown(to size: ByteCount, extentSize: ByteCount) -> ExtentMap {
        var map = ExtentMap(deviceSize: size, extentSize: extentSize, allSet: false)
        map.merge(DirtyMapContent(extentSize: self.extentSize, words: words))
        return map
    }

    /// The same extents once more.
    public func copy() -> ExtentMap { ExtentMap(copying: self) }

    /// How many 64-bit words the map has.
    public var wordCount: Int { words.count }
    /// The extents from 64 times `index` on, one bit each.
    public func word(_ index: Int) -> UInt64 { words[index] }
    /// All words, as they stand in a region.
    public var allWords: [UInt64] { words }

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

    /// Sets every extent that `range` touches.
    public mutating func insertAll(of range: ByteRange) {
        guard let extents = extents(of: range) else { return }
        let (first, last) = (extents.lowerBound >> 6, extents.upperBound >> 6)
        for word in first...last {
            var bits = UInt64.max
            if word == first { bits &= .max << UInt64(extents.lowerBound & 63) }
            if word == last { bits &= .max >> UInt64(63 - extents.upperBound & 63) }
            insert(bits, in: word)
        }
    }

    @inline(__always)
    private mutating func insert(_ bits: UInt64, in word: Int) {
        setCount += (bits & ~words[word]).nonzeroBitCount
        words[word] |= bits
    }

    /// Sets every extent that is set in `other`, which has the words of a map of the same device and grain.
    public mutating func merge(_ other: [UInt64]) {
        for word in 0..<min(words.count, other.count) {
            let extents = extentCount - word << 6
            insert(other[word] & (extents < 64 ? 1 << UInt64(extents) - 1 : .max), in: word)
        }
    }

    /// Sets every extent of which a part is set in `other`, a map of the same device, however large extents are there.
    public mutating func merge(_ other: DirtyMapContent) {
        guard other.extentSize != extentSize else { return merge(other.words) }
        for (index, word) in other.words.enumerated() {
            var bits = word
            while bits != 0 {
                let extent = UInt64(index << 6 + bits.trailingZeroBitCount)
                let (start, isAbsurd) = extent.multipliedReportingOverflow(
                    by: other.extentSize.bytes)
                bits &= bits - 1
                guard !isAbsurd, start < deviceSize.bytes else { return }
                insertAll(
                    of: ByteRange(
                        start: ByteOffset(start),
                        count: ByteCount(min(other.extentSize.bytes, deviceSize.bytes - start))))
            }
        }
    }

    /// The extents that `range` touches; nil for none.
    public func extents(of range: ByteRange) -> ClosedRange<Int>? {
        guard !range.isEmpty else { return nil }
        let first = Int(range.start.bytes / extentSize.bytes)
        let last = Int((range.end.bytes - 1) / extentSize.bytes)
        return first...last
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
        guard let extents = extents(of: range) else { return true }
        for extent in extents where !contains(extent) { return false }
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
