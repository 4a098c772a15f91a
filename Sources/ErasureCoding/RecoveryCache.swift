// Tables for reconstruction, remembered for each pattern of loss.
//
// Inverting a matrix takes longer than reconstructing a block of 4 KiB. A lost member is another shard in
// each rotation of the layout, and a read wants another subset of the lost ones than a rebuild does: some
// dozens of patterns at a time. So the tables are kept, in sets of a few ways each:
//
//     pattern (survivors, wanted) ─ hash → set │ way 0 │ way 1 │ way 2 │ way 3 │   the next to go: in turn
//
// A hit costs one hash and up to four comparisons of words. A miss costs the inversion, in memory that is
// there already: neither allocates.

import CISAL
import RemoteMemory

/// The tables of ISA-L for each recent pattern of loss.
@safe
struct RecoveryCache: ~Copyable {
    /// How many patterns are remembered.
    ///
    /// A set of 14 that lost a member has some dozens. At 10+4 they take 320 KiB.
    static let patternLimit = 256
    private static let ways = 4
    private static let sets = patternLimit / ways
    /// The size of ISA-L's table for one coefficient, in bytes.
    static let tableSize = 32

    private let code: ErasureCode
    private let matrix: RecoveryMatrix
    /// The pattern of each entry; zero, which is none, where there is nothing.
    private let patterns: FixedArray<UInt32>
    /// Which way of each set is overwritten next.
    private let nextWays: FixedArray<UInt8>
    private let tables: UnsafeMutablePointer<UInt8>
    private let entrySize: Int
    /// How many times a matrix had to be inverted.
    private(set) var misses = 0

    init(of code: ErasureCode) {
        self.code = code
        matrix = RecoveryMatrix(of: code)
        patterns = FixedArray(repeating: 0, count: Self.patternLimit)
        nextWays = FixedArray(repeating: 0, count: Self.sets)
        entrySize = code.parityShards * code.dataShards * Self.tableSize
        unsafe tables = .allocate(capacity: Self.patternLimit * entrySize)
    }

    deinit { unsafe tables.deallocate() }

    /// What `ec_encode_data` needs to make the wanted shards from the survivors.
    mutating func tables(
        for wanted: ShardSet, from survivors: ShardSet
    ) -> UnsafeMutablePointer<UInt8> {
        let pattern = UInt32(survivors.bits) << 16 | UInt32(wanted.bits)
        // Fibonacci hashing: the upper bits of a product with 2^32 / φ.
        let set = Int((pattern &* 0x9e37_79b9) >> 16) % Self.sets
        for entry in set * Self.ways..<(set + 1) * Self.ways where patterns[entry] == pattern {
            return unsafe tables + entry * entrySize
        }
        let entry = set * Self.ways + Int(nextWays[set])
        nextWays[set] = (nextWays[set] + 1) % UInt8(Self.ways)
        fill(entry, for: wanted, from: survivors)
        patterns[entry] = pattern
        return unsafe tables + entry * entrySize
    }

    private mutating func fill(_ entry: Int, for wanted: ShardSet, from survivors: ShardSet) {
        misses += 1
        matrix.solve(for: wanted, from: survivors)
        var place = unsafe tables + entry * entrySize
        for coefficient in 0..<wanted.count * code.dataShards {
            unsafe gf_vect_mul_init(matrix.rows[coefficient], place)
            unsafe place += Self.tableSize
        }
    }
}
