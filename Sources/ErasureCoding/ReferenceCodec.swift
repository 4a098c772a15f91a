// The code as it is defined, a byte at a time: slow, short, and what the fast one is compared with.

import RemoteMemory

/// Encodes, updates and reconstructs stripes by the field's table of products alone.
public final class ReferenceCodec {
    public let code: ErasureCode
    private let recovery: RecoveryMatrix

    public init(_ code: ErasureCode) {
        self.code = code
        recovery = RecoveryMatrix(of: code)
    }

    /// Computes all parity shards from all data shards; each has `count` bytes.
    public func encode(_ shards: borrowing Shards, count: Int) {
        for parity in code.parity {
            let target = unsafe shards.bytes(of: parity)
            unsafe target.update(repeating: 0, count: count)
            for (data, coefficient) in zip(code.data, code.row(ofParity: parity)) {
                unsafe Self.add(
                    shards.bytes(of: data), times: coefficient, to: target, count: count)
            }
        }
    }

    /// Changes those parity shards that are somewhere by what a data shard changes from and to.
    ///
    ///     new parity = old parity + coefficient · (new + old)
    public func update(
        _ shards: borrowing Shards, changing shard: ShardIndex,
        from old: UnsafeRawPointer, to new: UnsafeRawPointer, count: Int
    ) {
        precondition(code.data.contains(shard), "parity follows from data")
        for parity in code.parity {
            guard let target = unsafe shards.table[parity.number] else { continue }
            let coefficient = code.coefficients[
                (parity.number - code.dataShards) * code.dataShards + shard.number]
            unsafe Self.add(
                old.assumingMemoryBound(to: UInt8.self), times: coefficient, to: target,
                count: count)
            unsafe Self.add(
                new.assumingMemoryBound(to: UInt8.self), times: coefficient, to: target,
                count: count)
        }
    }

    /// Computes the wanted shards, data or parity, from K others.
    public func reconstruct(
        _ wanted: ShardSet, from survivors: ShardSet, in shards: borrowing Shards, count: Int
    ) {
        code.checkRecovery(of: wanted, from: survivors)
        recovery.solve(for: wanted, from: survivors)
        for (row, shard) in wanted.enumerated() {
            let target = unsafe shards.bytes(of: shard)
            unsafe target.update(repeating: 0, count: count)
            for (column, survivor) in survivors.enumerated() {
                unsafe Self.add(
                    shards.bytes(of: survivor),
                    times: recovery.rows[row * code.dataShards + column], to: target,
                    count: count)
            }
        }
    }

    /// Adds a multiple of some bytes to others.
    private static func add(
        _ source: UnsafePointer<UInt8>, times coefficient: UInt8,
        to target: UnsafeMutablePointer<UInt8>, count: Int
    ) {
        for index in 0..<count {
            unsafe target[index] ^= GaloisField.product(coefficient, source[index])
        }
    }
}

extension ErasureCode {
    /// What only a mistake of ours could break: asking for shards that cannot be computed so.
    func checkRecovery(of wanted: ShardSet, from survivors: ShardSet) {
        precondition(survivors.count == dataShards, "exactly K shards give the others")
        precondition(!wanted.isEmpty, "there is something to reconstruct")
        precondition(wanted.isDisjoint(with: survivors), "what is lost is not what is left")
        let all = ShardSet(0..<shardCount)
        precondition(
            all.isSuperset(of: wanted) && all.isSuperset(of: survivors), "shards of this stripe")
    }
}
