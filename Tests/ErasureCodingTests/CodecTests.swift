// ISA-L beside the reference: the same bytes for every length, every place and every pattern of loss.

import ErasureCoding
import Testing

@Suite struct CodecTests {
    /// Around the widths of vector registers, blocks, and the piece a change is worked out in.
    static let counts = [
        1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 129, 511, 4095, 4096, 4097, 8192, 12_345,
    ]

    @Test(arguments: CodeShape.all, [0, 1, 8, 31])
    func `encodes as the reference does, and touches nothing else`(
        shape: CodeShape, misalignment: Int
    ) throws {
        let code = try shape.code
        let (reference, fast) = (ReferenceCodec(code), ISALCodec(code))
        for count in Self.counts {
            let expected = TestStripe(code, count: count, misalignment: 0, seed: UInt64(count))
            expected.withShards { reference.encode($0, count: count) }
            let found = TestStripe(
                code, count: count, misalignment: misalignment, seed: UInt64(count))
            found.withShards { fast.encode($0, count: count) }
            try #require(found.holds(expected.contents), "\(count) bytes")
            #expect(found.isIntactAround, "\(count) bytes")
        }
    }

    @Test(arguments: CodeShape.all, [1, 33, 96])
    func `reconstructs every pattern of loss as the reference does`(
        shape: CodeShape, count: Int
    ) throws {
        let code = try shape.code
        let (reference, fast) = (ReferenceCodec(code), ISALCodec(code))
        let stripe = TestStripe(code, count: count, misalignment: 3, seed: UInt64(count))
        stripe.withShards { reference.encode($0, count: count) }
        let whole = stripe.contents
        for lostCount in 1...shape.parityShards {
            for lost in combinations(of: lostCount, below: code.shardCount) {
                // Of more survivors than it takes, the first or the last.
                let rest = Array(ShardSet(0..<code.shardCount).subtracting(lost))
                for survivors in [
                    rest.prefix(shape.dataShards), rest.suffix(shape.dataShards),
                ].map({ ShardSet($0) }) {
                    for isReference in [true, false] {
                        stripe.forget(lost)
                        stripe.withShards {
                            if isReference {
                                reference.reconstruct(lost, from: survivors, in: $0, count: count)
                            } else {
                                fast.reconstruct(lost, from: survivors, in: $0, count: count)
                            }
                        }
                        try #require(stripe.holds(whole), "lost \(Array(lost))")
                    }
                }
            }
        }
        #expect(stripe.isIntactAround)
    }

    @Test(arguments: CodeShape.all, counts)
    func `reconstructs at every length`(shape: CodeShape, count: Int) throws {
        let code = try shape.code
        let fast = ISALCodec(code)
        let stripe = TestStripe(code, count: count, misalignment: 5, seed: UInt64(count))
        stripe.withShards { fast.encode($0, count: count) }
        let whole = stripe.contents
        // One shard of each kind, where the code can do without both.
        let lost = ShardSet(
            [ShardIndex(0), ShardIndex(code.shardCount - 1)].prefix(shape.parityShards))
        let survivors = ShardSet(
            ShardSet(0..<code.shardCount).subtracting(lost).prefix(shape.dataShards))
        stripe.forget(lost)
        stripe.withShards { fast.reconstruct(lost, from: survivors, in: $0, count: count) }
        #expect(stripe.holds(whole))
        #expect(stripe.isIntactAround)
    }

    @Test(arguments: CodeShape.all, [0, 9])
    func `a change of one shard changes the parity as encoding anew does`(
        shape: CodeShape, misalignment: Int
    ) throws {
        let code = try shape.code
        let (reference, fast) = (ReferenceCodec(code), ISALCodec(code))
        for count in Self.counts {
            let start = TestStripe(code, count: count, misalignment: 0, seed: UInt64(count))
            start.withShards { reference.encode($0, count: count) }
            let slow = TestStripe(code, count: count, misalignment: 0, seed: 0)
            let quick = TestStripe(code, count: count, misalignment: misalignment, seed: 0)
            var generator = SeededGenerator(seed: UInt64(count) + 1)
            for shard in code.data {
                for stripe in [slow, quick] {
                    for other in ShardSet(0..<code.shardCount) { stripe[other] = start[other] }
                }
                let (old, new) = (start[shard], generator.bytes(count))
                slow.withShards {
                    reference.update($0, changing: shard, from: old, to: new, count: count)
                }
                quick.withShards {
                    fast.update($0, changing: shard, from: old, to: new, count: count)
                }
                start[shard] = new
                start.withShards { reference.encode($0, count: count) }
                for parity in code.parity {
                    try #require(
                        slow.holds(start[parity], in: parity), "\(count) bytes of shard \(shard)")
                    try #require(
                        quick.holds(start[parity], in: parity), "\(count) bytes of shard \(shard)")
                }
                #expect(quick.isIntactAround)
            }
        }
    }

    @Test(arguments: CodeShape.all)
    func `a change reaches those parity shards that are there`(shape: CodeShape) throws {
        let code = try shape.code
        let (reference, fast) = (ReferenceCodec(code), ISALCodec(code))
        let count = 5000
        var generator = SeededGenerator(seed: 5)
        let new = generator.bytes(count)
        for lostCount in 1...shape.parityShards {
            for lost in combinations(of: lostCount, below: shape.parityShards) {
                let missing = ShardSet(lost.map { ShardIndex($0.number + shape.dataShards) })
                let stripe = TestStripe(code, count: count, misalignment: 0, seed: 4)
                stripe.withShards { reference.encode($0, count: count) }
                let before = stripe.contents
                let changed = ShardIndex(shape.dataShards - 1)
                let old = stripe[changed]
                stripe.withShards(without: missing) {
                    fast.update($0, changing: changed, from: old, to: new, count: count)
                }
                let after = stripe.contents
                stripe[changed] = new
                stripe.withShards { reference.encode($0, count: count) }
                for parity in code.parity {
                    let expected =
                        missing.contains(parity) ? before[parity.number] : stripe[parity]
                    let isRight = after[parity.number] == expected
                    #expect(isRight, "parity \(parity)")
                }
            }
        }
    }
}
