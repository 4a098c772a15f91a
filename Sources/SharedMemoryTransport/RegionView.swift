// The operations of the client-side access contract, on mapped memory.

import CLinux
import Glibc
public import RemoteMemory

/// A trivially copyable way into a `MappedRegion`, for the hot path; valid as long as that lives.
///
/// Every access is checked against the size of the region, so a view cannot reach beside it.
///
/// It may pass between threads: it never changes, and who stores where at which time is decided by the
/// owner of the set, not by the address.
@safe
public struct RegionView: @unchecked Sendable, BitwiseCopyable {
    let base: UnsafeMutableRawPointer
    public let dataSize: ByteCount
    public let descriptor: Int32
    /// Backed by the huge page pool: freed memory would go back to a pool that others drain.
    let isHuge: Bool

    /// Copies of at least this many bytes bypass the cache: the copies of a write are not read soon,
    /// and three of them would push everything else out. (Measured: pays from 32 KiB up.)
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

    /// Stores the intent, the data, and the landed mark, in this order.
    @inline(__always)
    public func write(slot: UInt8, _ intent: Intent, from payload: UnsafeRawPointer) {
        let place = unsafe bytes(intent.range)
        announce(slot: slot, intent)
        unsafe Self.store(payload, at: place, count: Int(intent.range.count.bytes))
        land(slot: slot, intent)
    }

    /// Stores the record of an upcoming multi-write.
    @inline(__always)
    public func announce(slot: UInt8, _ intent: Intent) {
        let words = intent.words
        let place = unsafe slotAddress(slot)
        // The old record stops checking with the first word that changes, and the new one checks only
        // with the last: a writer killed in between has announced nothing, and stored no data yet.
        for index in 0..<Intent.recordWords where index != Intent.completedWord {
            unsafe clinux_store_word(place + index * 8, words[index])
        }
    }

    /// Stores the mark that this member holds all of the multi-write.
    @inline(__always)
    public func land(slot: UInt8, _ intent: Intent) {
        unsafe clinux_store_word(slotAddress(slot) + Intent.landedWord * 8, intent.sequence)
    }

    /// Stores the mark that all members hold all of the multi-write.
    public func complete(slot: UInt8, sequence: UInt64) {
        unsafe clinux_store_word(slotAddress(slot) + Intent.completedWord * 8, sequence)
    }

    /// What stands in a slot of the observer area; nil for nothing whole.
    public func intentSlot(_ slot: UInt8) -> IntentSlot? {
        var words = InlineArray<8, UInt64>(repeating: 0)
        for index in 0..<8 { words[index] = unsafe clinux_load_word(slotAddress(slot) + index * 8) }
        return IntentSlot(words: words)
    }

    /// Stores who this region is.
    public func writeLabel(_ label: RegionLabel) {
        let words = label.words
        for index in 0..<RegionLabel.wordCount {
            unsafe clinux_store_word(base + index * 8, words[index])
        }
    }

    /// Who this region says it is; nil when it was never labelled.
    public func readLabel() -> RegionLabel? {
        var words = InlineArray<9, UInt64>(repeating: 0)
        for index in 0..<RegionLabel.wordCount {
            words[index] = unsafe clinux_load_word(base + index * 8)
        }
        return RegionLabel(words: words)
    }

    @inline(__always)
    private func slotAddress(_ slot: UInt8) -> UnsafeMutableRawPointer {
        precondition(Int(slot) < RegionLayout.intentSlotCount, "a slot lies in the observer area")
        return unsafe base + Int(RegionLayout.observerArea.start.bytes)
            + Int(slot) * RegionLayout.intentSlotSize
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
