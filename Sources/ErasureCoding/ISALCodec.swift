// The code by ISA-L, which multiplies 32 or 64 bytes at a time by two look-ups of half a byte each.
//
// Nothing is allocated, and no matrix is worked out, in a call: the tables of the code are made once, those
// of recent patterns of loss are remembered. A codec belongs to one thread.
//
// Source: J. S. Plank, K. M. Greenan and E. L. Miller, "Screaming Fast Galois Field Arithmetic Using Intel
// SIMD Instructions", FAST 2013.

import CISAL

/// Encodes, updates and reconstructs stripes with ISA-L; the same bytes as `ReferenceCodec`.
@safe
public final class ISALCodec {
    /// How much of a change is worked out at a time, in bytes: it stays in the first cache.
    static let deltaSize = 4096

    public let code: ErasureCode
    /// ISA-L's tables of all coefficients, parity by parity.
    private let tables: UnsafeMutablePointer<UInt8>
    private var recovery: RecoveryCache
    /// Shards in the order a call wants them.
    private let sources = Shards()
    private let targets = Shards()
    private let delta: UnsafeMutablePointer<UInt8>

    public init(_ code: ErasureCode) {
        self.code = code
        unsafe tables = .allocate(
            capacity: code.coefficients.count * RecoveryCache.tableSize)
        for (index, coefficient) in code.coefficients.enumerated() {
            unsafe gf_vect_mul_init(coefficient, tables + index * RecoveryCache.tableSize)
        }
        recovery = RecoveryCache(of: code)
        unsafe delta = .allocate(capacity: Self.deltaSize)
    }

    deinit {
        unsafe tables.deallocate()
        unsafe delta.deallocate()
    }

    /// How many times a matrix had to be inverted.
    package var inversions: Int { recovery.misses }

    /// Computes all parity shards from all data shards; each has `count` bytes.
    public func encode(_ shards: borrowing Shards, count: Int) {
        checkAll(of: code.data, in: shards)
        checkAll(of: code.parity, in: shards)
        unsafe ec_encode_data(
            Int32(count), Int32(code.dataShards), Int32(code.parityShards), tables,
            shards.table, shards.table + code.dataShards)
    }

    /// Changes those parity shards that are somewhere by what a data shard changes from and to.
    ///
    ///     new parity = old parity + coefficient · (new + old)
    public func update(
        _ shards: borrowing Shards, changing shard: ShardIndex,
        from old: UnsafeRawPointer, to new: UnsafeRawPointer, count: Int
    ) {
        precondition(code.data.contains(shard), "parity follows from data")
        var done = 0
        while done < count {
            let step = min(Self.deltaSize, count - done)
            unsafe Self.difference(of: old + done, and: new + done, into: delta, count: step)
            addDelta(to: shards, at: done, of: shard, count: step)
            done += step
        }
    }

    /// Computes the wanted shards, data or parity, from K others.
    public func reconstruct(
        _ wanted: ShardSet, from survivors: ShardSet, in shards: borrowing Shards, count: Int
    ) {
        code.checkRecovery(of: wanted, from: survivors)
        gather(survivors, of: shards, into: sources)
        gather(wanted, of: shards, into: targets)
        unsafe ec_encode_data(
            Int32(count), Int32(code.dataShards), Int32(wanted.count),
            recovery.tables(for: wanted, from: survivors), sources.table, targets.table)
    }

    /// Adds the change of one data shard to the parity from byte `offset` on.
    private func addDelta(
        to shards: borrowing Shards, at offset: Int, of shard: ShardIndex, count: Int
    ) {
        let width = code.dataShards
        var next = 0
        while next < code.parityShards {
            // Parity shards next to each other are changed at once.
            var run = 0
            while next + run < code.parityShards,
                let target = unsafe shards.table[width + next + run]
            {
                unsafe targets.table[run] = target + offset
                run += 1
            }
            if run > 0 {
                unsafe ec_encode_data_update(
                    Int32(count), Int32(width), Int32(run), Int32(shard.number),
                    tables + next * width * RecoveryCache.tableSize, delta, targets.table)
            }
            next += run + 1
        }
    }

    private func gather(_ set: ShardSet, of shards: borrowing Shards, into list: borrowing Shards) {
        for (index, shard) in set.enumerated() {
            unsafe list.table[index] = shards.bytes(of: shard)
        }
    }

    private func checkAll(of set: ShardSet, in shards: borrowing Shards) {
        for shard in set { _ = unsafe shards.bytes(of: shard) }
    }

    /// The sum of two runs of bytes, which is also their difference.
    private static func difference(
        of old: UnsafeRawPointer, and new: UnsafeRawPointer,
        into place: UnsafeMutablePointer<UInt8>, count: Int
    ) {
        let target = UnsafeMutableRawPointer(place)
        // (Words, which the compiler turns into vectors; its own vector types are slow here.)
        let words = count / 8
        for word in 0..<words {
            let sum =
                unsafe old.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self)
                ^ new.loadUnaligned(fromByteOffset: word * 8, as: UInt64.self)
            unsafe target.storeBytes(of: sum, toByteOffset: word * 8, as: UInt64.self)
        }
        var index = words * 8
        while index < count {
            unsafe place[index] =
                old.load(fromByteOffset: index, as: UInt8.self)
                ^ new.load(fromByteOffset: index, as: UInt8.self)
            index += 1
        }
    }
}
