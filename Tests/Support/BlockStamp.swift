// What the verifying writer writes: blocks that say what they are.
//
//     word  0      1      2        3     4         5 … 511
//           magic  block  version  seed  checksum  words derived from all of these
//
// Every word follows from the first four, so a block made of parts of two writes, however it was
// cut, is told from both of them.

/// The number of a 4 KiB block of the volume.
package typealias BlockNumber = Int

/// What a block of the volume was found to hold.
package enum BlockContent: Equatable, Sendable {
    /// Zeros: never written, or zeroed.
    case zero
    /// Exactly what the write with this version put there.
    case version(UInt64)
    /// Nothing one write put there; the sentence says what is there instead.
    case foreign(String)
}

/// Fills and recognises blocks of one run.
package struct BlockStamp: Sendable {
    /// Bytes in a block, the unit in which writes are atomic to the checker.
    package static let blockSize = 4096

    private static let magic: UInt64 = 0x484f_4c44_4641_5354
    private static let words = blockSize / 8
    private static let headerWords = 5

    private let seed: UInt64

    /// Stamps of another seed are foreign to this one.
    package init(seed: UInt64) {
        self.seed = seed
    }

    /// Writes the stamp of `block` in `version` over the first block of `target`.
    package func fill(
        _ target: UnsafeMutableRawBufferPointer, block: BlockNumber, version: UInt64
    ) {
        let target = target.bindMemory(to: UInt64.self)
        let checksum = checksum(block: UInt64(block), version: version)
        target[0] = Self.magic
        target[1] = UInt64(block)
        target[2] = version
        target[3] = seed
        target[4] = checksum
        for index in Self.headerWords..<Self.words {
            target[index] = Self.word(index, after: checksum)
        }
    }

    /// Says what the first block of `source`, read from `block`, holds.
    package func recognise(_ source: UnsafeRawBufferPointer, block: BlockNumber) -> BlockContent {
        let source = source.bindMemory(to: UInt64.self)
        guard source[0] == Self.magic else {
            return source[..<Self.words].allSatisfy { $0 == 0 }
                ? .zero : .foreign("it starts with neither a stamp nor only zeros")
        }
        let version = source[2]
        guard source[1] == UInt64(block) else {
            return .foreign("it has the stamp of block \(source[1]), version \(version)")
        }
        guard source[3] == seed else { return .foreign("it has the stamp of another run") }
        let checksum = checksum(block: UInt64(block), version: version)
        guard source[4] == checksum else { return .foreign("its stamp is torn") }
        for index in Self.headerWords..<Self.words
        where source[index] != Self.word(index, after: checksum) {
            return .foreign("it is torn: version \(version) up to byte \(index * 8)")
        }
        return .version(version)
    }

    private func checksum(block: UInt64, version: UInt64) -> UInt64 {
        Self.mix(Self.mix(Self.mix(seed) ^ block) ^ version)
    }

    private static func word(_ index: Int, after checksum: UInt64) -> UInt64 {
        (checksum &+ UInt64(truncatingIfNeeded: index)) &* 0x9e37_79b9_7f4a_7c15
    }

    /// The finaliser of SplitMix64: every bit of the result depends on every bit of `value`.
    private static func mix(_ value: UInt64) -> UInt64 {
        var value = value &+ 0x9e37_79b9_7f4a_7c15
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}

/// A generator that repeats its numbers when given the same seed (SplitMix64).
package struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64

    package init(seed: UInt64) {
        state = seed
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }
}
