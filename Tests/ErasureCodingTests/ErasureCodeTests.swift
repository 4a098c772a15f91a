// The code itself: which shapes there are, that any K shards suffice, and that it never changes.

import ErasureCoding
import Testing

@Suite struct ErasureCodeTests {
    @Test(arguments: [(1, 1), (13, 2), (4, 0), (4, 5), (-1, 2), (0, 0), (.max, .max)])
    func `a shape outside the limits is refused in words`(data: Int, parity: Int) {
        let error = #expect(throws: ErasureCodingError.self) {
            try ErasureCode(dataShards: data, parityShards: parity)
        }
        #expect(error == .unsupported(dataShards: data, parityShards: parity))
        #expect(
            error?.description
                == "erasure:\(data)+\(parity) is not supported: choose 2 to 12 data and "
                + "1 to 4 parity regions.")
    }

    /// What memory holds outlives the version that wrote it.
    @Test(
        arguments: [
            (2, 1, [1, 1]),
            (3, 2, [1, 1, 1, 1, 196, 83]),
            (4, 2, [1, 1, 1, 1, 1, 217, 92, 172]),
            (8, 2, [1, 1, 1, 1, 1, 1, 1, 1, 1, 55, 39, 73, 84, 181, 225, 217]),
        ] as [(Int, Int, [UInt8])])
    func `coefficients are what they always were`(
        data: Int, parity: Int, coefficients: [UInt8]
    ) throws {
        let code = try ErasureCode(dataShards: data, parityShards: parity)
        #expect(code.coefficients == coefficients)
    }

    @Test(arguments: ErasureCode.dataShardRange, ErasureCode.parityShardRange)
    func `any K shards give back all others, in every shape`(data: Int, parity: Int) throws {
        let code = try ErasureCode(dataShards: data, parityShards: parity)
        let codec = ReferenceCodec(code)
        let stripe = TestStripe(code, count: 2, misalignment: 0, seed: UInt64(data * 16 + parity))
        stripe.withShards { codec.encode($0, count: 2) }
        let whole = stripe.contents
        for lost in combinations(of: parity, below: code.shardCount) {
            stripe.forget(lost)
            let survivors = ShardSet(0..<code.shardCount).subtracting(lost)
            stripe.withShards { codec.reconstruct(lost, from: survivors, in: $0, count: 2) }
            try #require(stripe.holds(whole), "lost \(Array(lost))")
        }
    }

    @Test(arguments: CodeShape.all)
    func `the first parity is the XOR of the data`(shape: CodeShape) throws {
        let code = try shape.code
        let stripe = TestStripe(code, count: 100, misalignment: 0, seed: 1)
        stripe.withShards { ReferenceCodec(code).encode($0, count: 100) }
        let sum = code.data.reduce(into: [UInt8](repeating: 0, count: 100)) { sum, shard in
            for (index, byte) in stripe[shard].enumerated() { sum[index] ^= byte }
        }
        #expect(stripe.holds(sum, in: ShardIndex(shape.dataShards)))
    }
}
