// Where the next request goes: random blocks from a small fast generator, or one after the other.

import RemoteMemory

/// xoroshiro128+ (Blackman and Vigna, 2018), seeded by splitmix64: 1 ns a number.
struct FastRandom {
    private var low: UInt64
    private var high: UInt64

    init(seed: UInt64) {
        low = Self.mixed(seed)
        high = Self.mixed(seed &+ 1)
    }

    @inline(__always)
    mutating func next() -> UInt64 {
        let sum = low &+ high
        let folded = high ^ low
        low = (low << 24 | low >> 40) ^ folded ^ (folded << 16)
        high = folded << 37 | folded >> 27
        return sum
    }

    /// The output function of splitmix64: different inputs give unrelated outputs.
    @inline(__always)
    static func mixed(_ value: UInt64) -> UInt64 {
        var mix = value &+ 0x9e37_79b9_7f4a_7c15
        mix = (mix ^ (mix >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mix = (mix ^ (mix >> 27)) &* 0x94d0_49bb_1331_11eb
        return mix ^ (mix >> 31)
    }
}

/// Offsets, aligned to the block size, of all the requests of one run.
struct OffsetStream {
    private let blockBytes: UInt64
    private let blockCount: UInt64
    private let isRandom: Bool
    private var random: FastRandom
    private var following: UInt64 = 0

    /// Covers as many whole blocks as fit into `volumeBytes`: at least one for each in flight.
    init(workload: Workload, volumeBytes: UInt64, seed: UInt64) throws(BenchError) {
        blockBytes = workload.block.bytes
        blockCount = volumeBytes / blockBytes
        isRandom = workload.order == .random
        random = FastRandom(seed: seed)
        guard blockCount >= UInt64(workload.depth) else {
            throw .volumeTooSmall(bytes: volumeBytes)
        }
    }

    @inline(__always)
    mutating func next() -> UInt64 {
        if isRandom {
            return random.next().multipliedFullWidth(by: blockCount).high &* blockBytes
        }
        let block = following
        following = block &+ 1 == blockCount ? 0 : block &+ 1
        return block &* blockBytes
    }
}
