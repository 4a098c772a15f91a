// The bounded set of intent slots: one for each multi-write in flight.

import RemoteMemory

/// Which slots are taken, and what was last written through each.
struct IntentSlots: ~Copyable {
    private var free: UInt64
    private let all: UInt64
    /// Slots whose last multi-write is complete on all members without its mark saying so.
    private var unmarked: UInt64 = 0
    private let sequences = FixedArray<UInt64>(
        repeating: 0, count: RegionLayout.intentSlotCount)
    private(set) var lastSequence: UInt64 = 0

    /// So many slots, at most all there are.
    init(count: Int) {
        all = UInt64.max >> UInt64(UInt64.bitWidth - count)
        free = all
    }

    /// Takes a slot and the next sequence; nil when all multi-writes that may be in flight are.
    ///
    /// The lowest free slot: few cache lines see all the traffic, and few stale intents stay behind.
    @inline(__always)
    mutating func take() -> (slot: UInt8, sequence: UInt64)? {
        guard free != 0 else { return nil }
        let slot = free.trailingZeroBitCount
        free &= free - 1
        unmarked &= ~(1 << UInt64(slot))
        lastSequence += 1
        sequences[slot] = lastSequence
        return (UInt8(slot), lastSequence)
    }

    /// The next sequence, for the next step through a slot that is taken.
    mutating func renew(_ slot: UInt8) -> UInt64 {
        lastSequence += 1
        sequences[Int(slot)] = lastSequence
        return lastSequence
    }

    @inline(__always)
    mutating func release(_ slot: UInt8) {
        precondition(free & (1 << UInt64(slot)) == 0, "a slot is released once")
        free |= 1 << UInt64(slot)
        unmarked |= 1 << UInt64(slot)
    }

    /// The next complete multi-write whose observers were not told so.
    mutating func nextToMark() -> (slot: UInt8, sequence: UInt64)? {
        guard unmarked != 0 else { return nil }
        let slot = unmarked.trailingZeroBitCount
        unmarked &= unmarked - 1
        return (UInt8(slot), sequences[slot])
    }

    /// Sequences go on behind the last one any member has seen.
    mutating func resume(after sequence: UInt64) {
        lastSequence = max(lastSequence, sequence)
    }

    var areAllFree: Bool { free == all }
    var hasFree: Bool { free != 0 }
    var hasUnmarked: Bool { unmarked != 0 }
}
