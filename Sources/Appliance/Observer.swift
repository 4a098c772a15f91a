// The appliance's own view of the multi-writes of one region: told by the client device's stores alone.

import CLinux
import Glibc
public import RemoteMemory

/// What a region's observer sees.
public struct Observation: Codable, Hashable, Sendable {
    /// One multi-write of which the observer was told.
    public struct MultiWrite: Codable, Hashable, Sendable {
        public var sequence: UInt64
        public var epoch: Epoch
        /// In bytes of the volume.
        public var offset: UInt64
        public var length: UInt64
        /// This region holds all of it.
        public var landed: Bool
        /// All regions of the set hold all of it.
        public var completed: Bool
    }

    /// By slot, oldest first; a newer multi-write through a slot tells that the older is complete.
    public var multiWrites: [MultiWrite]
    /// The set this region belongs to.
    public var cluster: ResiliencyCluster?

    init(slots: [IntentSlot], cluster: ResiliencyCluster?) {
        multiWrites = slots.map { slot in
            MultiWrite(
                sequence: slot.intent.sequence, epoch: slot.intent.epoch,
                offset: slot.intent.range.start.bytes, length: slot.intent.range.count.bytes,
                landed: slot.landed, completed: slot.completed)
        }.sorted { $0.sequence < $1.sequence }
        self.cluster = cluster
    }
}

/// Reads the observer area of a region's memory.
@safe
struct Observer: ~Copyable {
    private let header: UnsafeMutableRawPointer

    /// Nil when the area cannot be mapped.
    init?(descriptor: Int32) {
        guard
            let base = unsafe mmap(
                nil, Int(RegionLayout.dataStart.bytes), PROT_READ, MAP_SHARED, descriptor, 0),
            unsafe base != MAP_FAILED
        else { return nil }
        unsafe header = base
    }

    deinit { unsafe munmap(header, Int(RegionLayout.dataStart.bytes)) }

    /// The slots whose record is whole.
    var slots: [IntentSlot] {
        (0..<RegionLayout.intentSlotCount).compactMap { slot in
            let place =
                unsafe header + Int(RegionLayout.observerArea.start.bytes)
                + slot * RegionLayout.intentSlotSize
            var words = InlineArray<8, UInt64>(repeating: 0)
            for index in 0..<8 { words[index] = unsafe clinux_load_word(place + index * 8) }
            return IntentSlot(words: words)
        }
    }
}
