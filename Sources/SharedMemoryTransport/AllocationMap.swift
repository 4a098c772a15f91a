// Which blocks of a set may hold anything but zeroes.
//
// A read of a block that was never written must not go to the region: loading from a hole of a memfd
// allocates it, and a sparse volume would fill up by being read. So one bit a block (4 KiB) remembers
// what may be allocated, learnt from the file one extent at a time when that is first asked about:
//
//     known, clear  →  zeroes on every member           unknown  →  ask the file first
//
// 1 TiB of volume takes 32 MiB of map, untouched until used.

import Glibc
public import RemoteMemory

/// What of a volume is allocated, as far as it is known.
public struct AllocationMap: ~Copyable {
    static var block: UInt64 { RegionView.pageSize }
    /// How many blocks are learnt at once: one word of bits.
    static var blocksPerWord: UInt64 { 64 }

    private var allocated: ZeroedWords
    private var known: ZeroedWords
    private let deviceSize: ByteCount

    /// A map that knows nothing yet.
    public init(deviceSize: ByteCount) {
        self.deviceSize = deviceSize
        let words = Int((deviceSize.bytes + Self.wordBytes - 1) / Self.wordBytes)
        allocated = ZeroedWords(count: words)
        known = ZeroedWords(count: (words + 63) / 64)
    }

    private static var wordBytes: UInt64 { block * blocksPerWord }

    /// Remembers that `range` is about to be written.
    @inline(__always)
    public mutating func insert(_ range: ByteRange) {
        guard !range.isEmpty else { return }
        var first = range.start.bytes / Self.block
        let last = (range.end.bytes - 1) / Self.block
        while first <= last {
            let end = min(last, first | 63)
            let mask = (UInt64.max << (first & 63)) & (UInt64.max >> (63 - (end & 63)))
            allocated[Int(first >> 6)] |= mask
            first = end + 1
        }
    }

    /// Remembers that the memory of `range` was given back on every member.
    public mutating func remove(_ range: ByteRange) {
        var first = (range.start.bytes + Self.block - 1) / Self.block
        let end = range.end.bytes / Self.block
        while first < end {
            let last = min(end - 1, first | 63)
            let mask = (UInt64.max << (first & 63)) & (UInt64.max >> (63 - (last & 63)))
            allocated[Int(first >> 6)] &= ~mask
            if mask == .max { known[Int(first >> 12)] |= 1 << ((first >> 6) & 63) }
            first = last + 1
        }
    }

    /// How far the start of `range` goes on being allocated, or not; `region` is asked at most once for
    /// every 256 KiB.
    ///
    /// What is not allocated reads as zeroes on every member.
    @inline(__always)
    public mutating func firstRun(
        of range: ByteRange, in region: RegionView
    ) -> (count: ByteCount, isAllocated: Bool) {
        let first = range.start.bytes / Self.block
        let last = (range.end.bytes - 1) / Self.block
        let isAllocated = contains(first, region)
        var block = first
        while block < last, contains(block + 1, region) == isAllocated { block += 1 }
        let end = min((block + 1) * Self.block, range.end.bytes)
        return (ByteCount(end - range.start.bytes), isAllocated)
    }

    /// The same without a region to ask: what is not known counts as allocated.
    public func firstRun(of range: ByteRange) -> (count: ByteCount, isAllocated: Bool) {
        let first = range.start.bytes / Self.block
        let last = (range.end.bytes - 1) / Self.block
        let isAllocated = mayContain(first)
        var block = first
        while block < last, mayContain(block + 1) == isAllocated { block += 1 }
        let end = min((block + 1) * Self.block, range.end.bytes)
        return (ByteCount(end - range.start.bytes), isAllocated)
    }

    private func mayContain(_ block: UInt64) -> Bool {
        let word = Int(block >> 6)
        let isKnown = known[word >> 6] & (1 << UInt64(word & 63)) != 0
        return !isKnown || allocated[word] & (1 << (block & 63)) != 0
    }

    @inline(__always)
    private mutating func contains(_ block: UInt64, _ region: RegionView) -> Bool {
        let word = Int(block >> 6)
        if known[word >> 6] & (1 << UInt64(word & 63)) == 0 { learn(word, from: region) }
        return allocated[word] & (1 << (block & 63)) != 0
    }

    private mutating func learn(_ word: Int, from region: RegionView) {
        allocated[word] |= region.allocatedBlocks(inSpan: word)
        known[word >> 6] |= 1 << UInt64(word & 63)
    }
}

/// Words that cost no memory until they are touched.
@safe
@usableFromInline
struct ZeroedWords: ~Copyable {
    private let words: UnsafeMutablePointer<UInt64>
    private let count: Int

    init(count: Int) {
        self.count = max(count, 1)
        guard let memory = unsafe calloc(self.count, 8) else {
            preconditionFailure("no memory for a map of \(count) words")
        }
        unsafe words = memory.bindMemory(to: UInt64.self, capacity: self.count)
    }

    deinit { unsafe free(words) }

    @inline(__always)
    subscript(index: Int) -> UInt64 {
        get {
            precondition(index >= 0 && index < count, "an index within the map")
            return unsafe words[index]
        }
        set {
            precondition(index >= 0 && index < count, "an index within the map")
            unsafe words[index] = newValue
        }
    }
}
