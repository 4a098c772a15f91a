// How lost shards follow from K that are left: the rows to multiply these by.
//
// The K survivors are K rows of the code's matrix times the data. Inverting these rows gives the data from
// the survivors; a lost parity is its own row of the code's matrix times that data.
//
//     survivors = A · data     ⇒     data = A⁻¹ · survivors     parity row r = r · A⁻¹ · survivors

import RemoteMemory

/// Room to work one out, used again for each.
struct RecoveryMatrix: ~Copyable {
    private let code: ErasureCode
    /// A, turned into ones on the diagonal step by step; K × K.
    private let rest: FixedArray<UInt8>
    /// What started as ones on the diagonal and becomes A⁻¹; K × K.
    private let inverse: FixedArray<UInt8>
    /// The result: for each wanted shard, what the survivors are multiplied by; M × K at most.
    let rows: FixedArray<UInt8>

    init(of code: ErasureCode) {
        self.code = code
        let width = code.dataShards
        rest = FixedArray(repeating: 0, count: width * width)
        inverse = FixedArray(repeating: 0, count: width * width)
        rows = FixedArray(repeating: 0, count: code.parityShards * width)
    }

    /// Fills `rows` for the wanted shards, lowest first, from the K survivors, lowest first.
    func solve(for wanted: ShardSet, from survivors: ShardSet) {
        load(survivors)
        invert()
        let width = code.dataShards
        for (row, shard) in wanted.enumerated() {
            for column in 0..<width {
                rows[row * width + column] = coefficient(of: shard, from: column)
            }
        }
    }

    private func load(_ survivors: ShardSet) {
        let width = code.dataShards
        for (row, shard) in survivors.enumerated() {
            for column in 0..<width {
                rest[row * width + column] = generator(shard, column)
                inverse[row * width + column] = row == column ? 1 : 0
            }
        }
    }

    /// The code's whole matrix.
    private func generator(_ shard: ShardIndex, _ column: Int) -> UInt8 {
        let row = shard.number - code.dataShards
        guard row >= 0 else { return shard.number == column ? 1 : 0 }
        return code.coefficients[row * code.dataShards + column]
    }

    private func coefficient(of shard: ShardIndex, from survivor: Int) -> UInt8 {
        let width = code.dataShards
        guard shard.number >= width else { return inverse[shard.number * width + survivor] }
        return (0..<width).reduce(0) { sum, data in
            sum
                ^ GaloisField.product(
                    generator(shard, data), inverse[data * width + survivor])
        }
    }

    /// Gauss-Jordan elimination, on both sides at once.
    private func invert() {
        let width = code.dataShards
        for pivot in 0..<width {
            guard let source = (pivot..<width).first(where: { rest[$0 * width + pivot] != 0 })
            else { preconditionFailure("any K rows of the code can be inverted") }
            if source != pivot { add(row: source, times: 1, to: pivot) }
            scale(row: pivot, by: GaloisField.inverse(rest[pivot * width + pivot]))
            for row in 0..<width where row != pivot {
                add(row: pivot, times: rest[row * width + pivot], to: row)
            }
        }
    }

    private func scale(row: Int, by factor: UInt8) {
        let width = code.dataShards
        for place in row * width..<(row + 1) * width {
            rest[place] = GaloisField.product(factor, rest[place])
            inverse[place] = GaloisField.product(factor, inverse[place])
        }
    }

    private func add(row source: Int, times factor: UInt8, to target: Int) {
        let width = code.dataShards
        for column in 0..<width {
            rest[target * width + column] ^=
                GaloisField.product(factor, rest[source * width + column])
            inverse[target * width + column] ^=
                GaloisField.product(factor, inverse[source * width + column])
        }
    }
}
