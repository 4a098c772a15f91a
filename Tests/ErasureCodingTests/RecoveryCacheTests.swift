// Matrices are inverted once for each pattern of loss, as long as there are not too many patterns.

import ErasureCoding
import Testing

@Suite struct RecoveryCacheTests {
    private let stripe: TestStripe
    private let codec: ISALCodec
    private let patterns: [ShardSet]

    init() throws {
        let code = try ErasureCode(dataShards: 10, parityShards: 4)
        stripe = TestStripe(code, count: 64, misalignment: 0, seed: 9)
        codec = ISALCodec(code)
        patterns = combinations(of: 4, below: code.shardCount)
        stripe.withShards { codec.encode($0, count: 64) }
    }

    /// Reconstructs what each pattern lost; false when it is not what it was.
    private func reconstruct(_ patterns: some Sequence<ShardSet>) -> Bool {
        let whole = stripe.contents
        return patterns.allSatisfy { lost in
            stripe.forget(lost)
            let survivors = ShardSet(0..<stripe.code.shardCount).subtracting(lost)
            stripe.withShards { codec.reconstruct(lost, from: survivors, in: $0, count: 64) }
            return stripe.holds(whole)
        }
    }

    @Test func `a pattern that was met before inverts nothing`() {
        for _ in 0..<10 { #expect(reconstruct(patterns.prefix(1))) }
        #expect(codec.inversions == 1)
    }

    @Test func `the patterns of one lost member in every rotation stay`() {
        let single = combinations(of: 1, below: 14).map { lost in
            // With the last of the rest, so that exactly ten are left.
            ShardSet(
                Array(lost)
                    + ShardSet(0..<14).subtracting(lost).suffix(3))
        }
        #expect(reconstruct(single))
        let before = codec.inversions
        for _ in 0..<3 { #expect(reconstruct(single)) }
        #expect(codec.inversions == before)
    }

    @Test func `more patterns than are remembered are still right`() {
        #expect(patterns.count > 1000)
        #expect(reconstruct(patterns))
        #expect(reconstruct(patterns.reversed()))
        #expect(codec.inversions > patterns.count)
    }

    @Test func `wanting less of the same loss is another pattern`() {
        let code = stripe.code
        let whole = stripe.contents
        let lost = ShardSet(2..<6)
        let survivors = ShardSet(0..<code.shardCount).subtracting(lost)
        for wanted in [ShardSet(2..<3), ShardSet(5..<6), ShardSet(3..<5), lost] {
            stripe.forget(wanted)
            stripe.withShards { codec.reconstruct(wanted, from: survivors, in: $0, count: 64) }
            #expect(stripe.holds(whole))
        }
        #expect(codec.inversions == 4)
    }
}

@Suite struct MisuseTests {
    @Test func `too few survivors are fatal`() async {
        await #expect(processExitsWith: .failure) {
            let codec = ISALCodec(try ErasureCode(dataShards: 4, parityShards: 2))
            codec.reconstruct(ShardSet(0..<1), from: ShardSet(1..<4), in: Shards(), count: 1)
        }
    }

    @Test func `reconstructing a survivor is fatal`() async {
        await #expect(processExitsWith: .failure) {
            let codec = ISALCodec(try ErasureCode(dataShards: 4, parityShards: 2))
            codec.reconstruct(ShardSet(0..<1), from: ShardSet(0..<4), in: Shards(), count: 1)
        }
    }

    @Test func `a shard that is nowhere is fatal`() async {
        await #expect(processExitsWith: .failure) {
            ISALCodec(try ErasureCode(dataShards: 4, parityShards: 2)).encode(Shards(), count: 1)
        }
    }
}
