// Stripes to try codecs on: every shard somewhere awkward, with bytes around it that must stay as they are.

import ErasureCoding
import Testing

/// The codes the tests are run with, from the smallest to the widest that is usual.
struct CodeShape: Hashable, Sendable, CustomTestStringConvertible {
    let dataShards: Int
    let parityShards: Int

    static let all = [(2, 1), (3, 2), (4, 2), (8, 2), (10, 4)].map {
        CodeShape(dataShards: $0.0, parityShards: $0.1)
    }
    var testDescription: String { "\(dataShards)+\(parityShards)" }
    var code: ErasureCode {
        get throws(ErasureCodingError) {
            try ErasureCode(dataShards: dataShards, parityShards: parityShards)
        }
    }
}

/// Owns the bytes of one stripe.
final class TestStripe {
    private static let guardSize = 64
    private static let guardByte: UInt8 = 0xa5

    let code: ErasureCode
    let count: Int
    private let shards = Shards()
    private let memory: UnsafeMutableRawBufferPointer
    private let pitch: Int
    private let misalignment: Int

    /// Data at random, parity of nothing yet.
    init(_ code: ErasureCode, count: Int, misalignment: Int, seed: UInt64) {
        self.code = code
        self.count = count
        self.misalignment = misalignment
        pitch = (Self.guardSize * 2 + count + misalignment + 63) / 64 * 64
        memory = .allocate(byteCount: pitch * code.shardCount, alignment: 64)
        memory.initializeMemory(as: UInt8.self, repeating: Self.guardByte)
        var generator = SeededGenerator(seed: seed)
        for shard in code.data { self[shard] = generator.bytes(count) }
        for shard in code.parity { self[shard] = [UInt8](repeating: 0, count: count) }
    }

    deinit { memory.deallocate() }

    private func place(of shard: ShardIndex) -> Int {
        shard.number * pitch + Self.guardSize + misalignment
    }

    subscript(shard: ShardIndex) -> [UInt8] {
        get { Array(memory[place(of: shard)..<place(of: shard) + count]) }
        set {
            for (index, byte) in newValue.enumerated() { memory[place(of: shard) + index] = byte }
        }
    }

    // (Compared here: a test that shows both sides of a difference of kilobytes takes minutes over it.)
    func holds(_ contents: [[UInt8]]) -> Bool { self.contents == contents }
    func holds(_ bytes: [UInt8], in shard: ShardIndex) -> Bool { self[shard] == bytes }

    var contents: [[UInt8]] { ShardSet(0..<code.shardCount).map { self[$0] } }

    /// The stripe's shards as a codec wants them, without `missing`.
    func withShards(without missing: ShardSet = ShardSet(), _ body: (borrowing Shards) -> Void) {
        for shard in ShardSet(0..<code.shardCount) {
            shards[shard] =
                missing.contains(shard)
                ? nil : memory.baseAddress.map { $0 + place(of: shard) }
        }
        body(shards)
    }

    func forget(_ lost: ShardSet) {
        for shard in lost { self[shard] = [UInt8](repeating: 0xee, count: count) }
    }

    /// Whether everything between the shards is as it was.
    var isIntactAround: Bool {
        var rest = Array(memory)
        for shard in ShardSet(0..<code.shardCount) {
            let place = place(of: shard)
            rest.replaceSubrange(
                place..<place + count, with: repeatElement(Self.guardByte, count: count))
        }
        return rest.allSatisfy { $0 == Self.guardByte }
    }
}

/// SplitMix64: a different, repeatable sequence for every seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }
}

/// All subsets of `count` of the shards below `limit`.
func combinations(of count: Int, below limit: Int) -> [ShardSet] {
    (0..<UInt32(1) << UInt32(limit)).filter { $0.nonzeroBitCount == count }.map { bits in
        ShardSet((0..<limit).filter { bits >> UInt32($0) & 1 == 1 }.map { ShardIndex($0) })
    }
}
