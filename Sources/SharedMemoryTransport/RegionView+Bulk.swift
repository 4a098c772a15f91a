// Operations on whole ranges that know what is allocated: freeing, copying, comparing.
//
// A page of a memfd that was never written costs nothing until somebody loads from it through a mapping:
// even that allocates it. So nothing here touches what is not allocated: holes are found by asking the
// file, and compared through `pread`, which reads them without filling them.

import CLinux
import Glibc
public import RemoteMemory

extension RegionView {
    /// The granule in which memory is allocated, in bytes.
    static var pageSize: UInt64 { 4096 }

    /// Makes a range read as zeroes and gives its memory back, unless it is to stay allocated.
    ///
    /// False when the kernel refuses, which leaves the range partly zeroed.
    public func zero(_ range: ByteRange, keepAllocated: Bool) -> Bool {
        guard !range.isEmpty else { return true }
        let place = unsafe bytes(range)
        if keepAllocated || isHuge {
            unsafe memset(place, 0, Int(range.count.bytes))
            return true
        }
        // Punching frees whole pages and zeroes the rest of the first and the last one.
        return fallocate(
            descriptor, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
            off_t(RegionLayout.dataStart.bytes + range.start.bytes), off_t(range.count.bytes)) == 0
    }

    /// Makes a range, which starts at a block, equal to that of `source`; what is unallocated there is
    /// freed here.
    public func copy(_ range: ByteRange, from source: RegionView) -> Bool {
        var rest = range
        while !rest.isEmpty {
            let (count, isAllocated) = source.firstRun(of: rest)
            let run = ByteRange(start: rest.start, count: count)
            if isAllocated {
                unsafe Self.store(
                    UnsafeRawPointer(source.bytes(run)), at: bytes(run), count: Int(count.bytes))
            } else {
                guard zero(run, keepAllocated: false) else { return false }
            }
            rest = ByteRange(start: run.end, count: rest.count - count)
        }
        return true
    }

    /// Loads what is allocated of `range`, which starts at a block and spans no boundary of 64 blocks; returns
    /// which of its blocks that is, one bit each.
    public func load(_ range: ByteRange, into place: UnsafeMutableRawPointer) -> UInt64 {
        let first = range.start.bytes / Self.pageSize
        let mask = allocatedBlocks(inSpan: Int(first / 64)) >> (first % 64)
        var rest = range
        while !rest.isEmpty {
            let (count, isAllocated) = firstRun(of: rest)
            let run = ByteRange(start: rest.start, count: count)
            if isAllocated {
                unsafe memcpy(
                    place + Int(run.start.bytes - range.start.bytes), bytes(run),
                    Int(count.bytes))
            }
            rest = ByteRange(start: run.end, count: rest.count - count)
        }
        return mask
    }

    /// How much is asked for ahead of a load, in bytes; once it has begun, the processor goes on by itself.
    private static let lead: UInt64 = 512

    /// Has the processor look for the start of `range`, which is loaded soon; allocates nothing.
    @inline(__always)
    public func prepareLoad(_ range: ByteRange) {
        unsafe clinux_prefetch(bytes(range), Int(min(range.count.bytes, Self.lead)))
    }

    /// Loads all of `range`, which allocates what is not.
    public func load(_ range: ByteRange, to place: UnsafeMutableRawPointer) {
        unsafe memcpy(place, bytes(range), Int(range.count.bytes))
    }

    /// Stores the bytes at `source`, as many as `range` has.
    public func store(_ range: ByteRange, from source: UnsafeRawPointer) {
        unsafe Self.store(source, at: bytes(range), count: Int(range.count.bytes))
    }

    /// Whether a range of at most 256 KiB equals the bytes at `other` (nil: zeroes), without allocating
    /// anything; nil when that cannot be told.
    public func equals(
        _ range: ByteRange, _ other: UnsafeRawPointer?, using scratch: ScratchBuffer
    ) -> Bool? {
        let count = Int(range.count.bytes)
        precondition(count <= ScratchBuffer.half, "a range fits the buffer it is compared through")
        let offset = off_t(RegionLayout.dataStart.bytes + range.start.bytes)
        guard unsafe pread(descriptor, scratch.first, count, offset) == count else { return nil }
        if let other = unsafe other { return unsafe memcmp(scratch.first, other, count) == 0 }
        unsafe memset(scratch.second, 0, count)
        return unsafe memcmp(scratch.first, scratch.second, count) == 0
    }

    /// How far the start of `range` goes on being allocated, or not, within one span of blocks.
    public func firstRun(of range: ByteRange) -> (count: ByteCount, isAllocated: Bool) {
        let first = range.start.bytes / Self.pageSize
        let mask = allocatedBlocks(inSpan: Int(first / 64)) >> (first % 64)
        let isAllocated = mask & 1 != 0
        let run = min(
            UInt64((isAllocated ? ~mask : mask).trailingZeroBitCount), 64 - first % 64)
        let end = min((first + run) * Self.pageSize, range.end.bytes)
        return (ByteCount(end - range.start.bytes), isAllocated)
    }

    /// Whether a range equals that of `other`, without allocating anything in either.
    public func equals(_ range: ByteRange, in other: RegionView, using scratch: ScratchBuffer)
        -> Bool?
    {
        var position = range.start
        while position < range.end {
            let count = min(Int((range.end - position).bytes), ScratchBuffer.half)
            let offset = off_t(RegionLayout.dataStart.bytes + position.bytes)
            guard unsafe pread(descriptor, scratch.first, count, offset) == count,
                unsafe pread(other.descriptor, scratch.second, count, offset) == count
            else { return nil }
            guard unsafe memcmp(scratch.first, scratch.second, count) == 0 else { return false }
            position = position + ByteCount(UInt64(count))
        }
        return true
    }

    /// Which of the 64 blocks of the data's `span`-th 256 KiB are allocated, one bit each.
    ///
    /// What is in memory is told for all of them by one call. What is not may still be in swap: that
    /// the file tells, block by block. (Asking the file for the next hole would be simpler, but it
    /// looks through everything allocated on the way: milliseconds in a full region.)
    func allocatedBlocks(inSpan span: Int) -> UInt64 {
        let span = ByteRange(
            start: ByteOffset(UInt64(span) * Self.spanSize), count: ByteCount(Self.spanSize)
        ).intersection(ByteRange(start: ByteOffset(0), count: dataSize))
        guard !span.isEmpty else { return 0 }
        guard !isHuge else { return .max }
        let blocks = (span.count.bytes + Self.pageSize - 1) / Self.pageSize
        var residency = InlineArray<64, UInt8>(repeating: 0)
        var residencySpan = residency.mutableSpan
        let isKnown = unsafe residencySpan.withUnsafeMutableBufferPointer {
            unsafe mincore(bytes(span), Int(span.count.bytes), $0.baseAddress) == 0
        }
        let base = RegionLayout.dataStart.bytes + span.start.bytes
        var mask: UInt64 = 0
        var block: UInt64 = 0
        while block < blocks {
            if isKnown, residency[Int(block)] & 1 != 0 {
                mask |= 1 << block
                block += 1
                continue
            }
            let found = lseek(descriptor, off_t(base + block * Self.pageSize), SEEK_DATA)
            if found < 0 {
                // Nothing but a hole up to the end; any other error: the file cannot tell.
                return errno == ENXIO ? mask : .max
            }
            let next = (UInt64(found) - base) / Self.pageSize
            if next == block { mask |= 1 << block }
            block = max(block + 1, min(next, blocks))
        }
        return mask
    }

    /// 64 blocks, in bytes.
    static var spanSize: UInt64 { 64 * pageSize }
}

/// Two buffers to compare through.
@safe
public final class ScratchBuffer {
    static let half = 256 << 10
    let first: UnsafeMutableRawPointer
    let second: UnsafeMutableRawPointer

    public init() {
        unsafe first = UnsafeMutableRawPointer.allocate(byteCount: Self.half, alignment: 4096)
        unsafe second = UnsafeMutableRawPointer.allocate(byteCount: Self.half, alignment: 4096)
    }

    deinit {
        unsafe first.deallocate()
        unsafe second.deallocate()
    }
}
