// Encoding, updating and reconstructing allocate nothing, whether the pattern of loss was met before or not.

import CAllocationCounter
import ErasureCoding
import Testing

@Suite(.serialized) struct ErasureCodingAllocationTests {
    @Test func `a codec allocates nothing`() throws {
        let code = try ErasureCode(dataShards: 4, parityShards: 2)
        let codec = ISALCodec(code)
        let shards = Shards()
        let count = 6000
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: count * code.shardCount, alignment: 64)
        defer { memory.deallocate() }
        memory.initializeMemory(as: UInt8.self, repeating: 7, count: count * code.shardCount)
        for shard in ShardSet(0..<code.shardCount) {
            shards[shard] = memory + shard.number * count
        }
        func work(losing lost: Int) {
            codec.encode(shards, count: count)
            codec.update(
                shards, changing: ShardIndex(lost), from: memory, to: memory + count, count: count)
            let wanted = ShardSet(lost..<lost + 2)
            codec.reconstruct(
                wanted, from: ShardSet(0..<code.shardCount).subtracting(wanted), in: shards,
                count: count)
        }
        // (The first call makes the tables of the field.)
        work(losing: 0)
        allocation_counter_watch_this_thread()
        allocation_counter_start()
        for round in 0..<400 { work(losing: round % 4) }
        let allocations = allocation_counter_stop()
        if allocations > 0 { allocation_counter_print() }
        #expect(allocations == 0)
    }
}
