// The operations of the client-side access contract, on mapped memory.

import CLinux
import Glibc
public import RemoteMemory

/// A trivially copyable way into a `MappedRegion`, for the hot path; valid as long as that lives.
///
/// Every access is checked against the size of the region, so a view cannot reach beside it.
///
/// (Sendable: it never changes, and who stores where at which time is decided by the owner of the set, not
/// by the address.)
@safe
public struct RegionView: @unchecked Sendable, BitwiseCopyable {
    let base: UnsafeMutableRawPointer
    public let dataSize: ByteCount
    public let descriptor: Int32
    /// Backed by the huge page pool: freed memory would go back to a pool that others drain.
    public let isHuge: Bool

    /// Copies of at least this many bytes bypass the cache: the copies of a write are not read soon,
    /// and three of them would push everything else out. (Measured at 4 KiB: a tenth more writes.)
    static var streamingSize: Int { 4 << 10 }

    init(base: UnsafeMutableRawPointer, dataSize: ByteCount, descriptor: Int32, isHuge: Bool) {
        unsafe self.base = base
        self.dataSize = dataSize
        self.descriptor = descriptor
        self.isHuge = isHuge
    }

    /// The bytes of `range`, in place.
    @inline(__always)
    public func bytes(_ range: ByteRange) -> UnsafeMutableRawPointer {
        precondition(range.end.bytes <= dataSize.bytes, "an access stays within its region")
        return unsafe base + Int(RegionLayout.dataStart.bytes + range.start.bytes)
    }

    @inline(__always)
    static func store(_ source: UnsafeRawPointer, at place: UnsafeMutableRawPointer, count: Int) {
        if count >= streamingSize, UInt(bitPattern: place) & 15 == 0 {
            unsafe clinux_stream_copy(place, source, count)
        } else {
            unsafe memcpy(place, source, count)
        }
    }
}

// The one processor that stores keeps the order of its stores (a streaming copy ends with a fence), so a
// barrier is nothing.
extension RegionView: RegionAccess {
    @inline(__always)
    public func storeWord(_ word: UInt64, at place: ByteOffset) {
        unsafe clinux_store_word(address(place), word)
    }

    @inline(__always)
    public func loadWord(at place: ByteOffset) -> UInt64 {
        unsafe clinux_load_word(address(place))
    }

    @inline(__always)
    public func storeData(
        _ payload: PayloadBytes, skipping skipped: ByteCount, at range: ByteRange
    ) {
        unsafe Self.store(
            payload.start + Int(skipped.bytes), at: bytes(range), count: Int(range.count.bytes))
    }

    public func storeAside(
        _ payload: PayloadBytes, skipping skipped: ByteCount, count: ByteCount
    ) {
        unsafe Self.store(
            payload.start + Int(skipped.bytes), at: base + Int(RegionLayout.redoData.start.bytes),
            count: Int(count.bytes))
    }

    public func restoreAside(at range: ByteRange) {
        unsafe Self.store(
            base + Int(RegionLayout.redoData.start.bytes), at: bytes(range),
            count: Int(range.count.bytes))
    }

    @inline(__always)
    public func barrier() {}

    /// Everything before the data, by its distance from the region's start.
    @inline(__always)
    private func address(_ place: ByteOffset) -> UnsafeMutableRawPointer {
        precondition(place < RegionLayout.dataStart, "words stand before the data")
        return unsafe base + Int(place.bytes)
    }
}

/// Where the bytes of a write are, for as long as it is carried out.
@safe
public struct PayloadBytes: BitwiseCopyable {
    let start: UnsafeRawPointer

    /// As many bytes as the write has must be there.
    @inline(__always)
    init(_ start: UnsafeRawPointer) { unsafe self.start = start }
}

extension RegionView {
    /// Stores the intent, the bytes at `payload`, and the landed mark, in this order.
    @inline(__always)
    public func write(slot: UInt8, _ intent: Intent, from payload: UnsafeRawPointer) {
        unsafe write(slot: slot, intent, from: PayloadBytes(payload))
    }

    /// The same by way of the redo area: for the last copy of a set.
    public func writeGuarded(slot: UInt8, _ intent: Intent, from payload: UnsafeRawPointer) {
        unsafe writeGuarded(slot: slot, intent, from: PayloadBytes(payload))
    }

    /// Stores the bytes at `payload` at `range` of the data.
    @inline(__always)
    public func storeData(_ payload: UnsafeRawPointer, at range: ByteRange) {
        unsafe storeData(PayloadBytes(payload), skipping: .zero, at: range)
    }

    /// The same of bytes that are loaded again soon: they stay in the cache.
    @inline(__always)
    public func storeCached(_ payload: UnsafeRawPointer, at range: ByteRange) {
        unsafe memcpy(bytes(range), payload, Int(range.count.bytes))
    }

    /// Stores `count` bytes at a place that lies, with all of them, before the data.
    public func storeBeforeData(_ payload: UnsafeRawPointer, at place: ByteOffset, count: Int) {
        precondition(
            place + ByteCount(UInt64(count)) <= RegionLayout.dataStart, "it ends before the data")
        unsafe Self.store(payload, at: base + Int(place.bytes), count: count)
    }

    /// Stores a piece in the redo area and then the record that makes it count.
    package func putAside(_ piece: ByteRange, from payload: UnsafeRawPointer) {
        unsafe putAside(piece, from: PayloadBytes(payload))
    }
}
