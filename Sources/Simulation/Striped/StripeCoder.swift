// The code of an erasure set on tags: each stands for eight bytes, and the code works byte by byte.

import ErasureCoding
import RemoteMemory

/// Works out shards from others with the reference codec.
final class StripeCoder {
    let stripes: StripeGeometry
    private let codec: ReferenceCodec
    private let shards = Shards()
    private var buffers: [UnsafeMutableBufferPointer<UInt64>]

    init(_ stripes: StripeGeometry) {
        self.stripes = stripes
        guard
            let code = try? ErasureCode(
                dataShards: stripes.dataShards, parityShards: stripes.parityShards)
        else { preconditionFailure("a layout and its code have the same limits") }
        codec = ReferenceCodec(code)
        let words = Int(stripes.chunk.bytes / 8)
        buffers = (0..<stripes.memberCount).map { _ in
            let buffer = UnsafeMutableBufferPointer<UInt64>.allocate(capacity: words)
            buffer.initialize(repeating: 0)
            return buffer
        }
        for shard in 0..<stripes.memberCount {
            shards[ShardIndex(shard)] = UnsafeMutableRawPointer(buffers[shard].baseAddress)
        }
    }

    deinit { for buffer in buffers { buffer.deallocate() } }

    /// What shard `wanted` of a row is, from at least K that are known.
    func shard(_ wanted: Int, from known: [Int: [UInt64]]) -> [UInt64] {
        if let tags = known[wanted] { return tags }
        let sources = known.sorted { $0.key < $1.key }.prefix(stripes.dataShards)
        guard let count = sources.first?.value.count, sources.count == stripes.dataShards else {
            preconditionFailure("K shards are known")
        }
        for (shard, tags) in sources { load(tags, shard) }
        codec.reconstruct(
            ShardSet(ShardIndex(wanted)), from: ShardSet(sources.map { ShardIndex($0.key) }),
            in: shards, count: count * 8)
        return Array(buffers[wanted][..<count])
    }

    /// The parity of K data shards.
    func parity(of data: [[UInt64]]) -> [[UInt64]] {
        let count = data[0].count
        for (shard, tags) in data.enumerated() { load(tags, shard) }
        codec.encode(shards, count: count * 8)
        return (stripes.dataShards..<stripes.memberCount).map { Array(buffers[$0][..<count]) }
    }

    private func load(_ tags: [UInt64], _ shard: Int) {
        for (index, tag) in tags.enumerated() { buffers[shard][index] = tag }
    }
}

/// Some bytes of a member's region, as they were fetched or worked out.
struct StripedPart {
    var span: ByteRange
    var tags: [UInt64]

    /// The tags of a range within.
    func tags(of range: ByteRange) -> [UInt64] {
        let first = Int((range.start.bytes - span.start.bytes) / SimulatedRegion.granule)
        return Array(tags[first..<first + Int(range.count.bytes / SimulatedRegion.granule)])
    }

    mutating func put(_ other: [UInt64], at range: ByteRange) {
        let first = Int((range.start.bytes - span.start.bytes) / SimulatedRegion.granule)
        for (index, tag) in other.enumerated() { tags[first + index] = tag }
    }

    init(span: ByteRange, tags: [UInt64]) {
        self.span = span
        self.tags = tags
    }

    /// Zeroes.
    init(span: ByteRange) {
        self.span = span
        tags = Array(repeating: 0, count: Int(span.count.bytes / SimulatedRegion.granule))
    }
}

/// What the bytes of a write are: its id, and which block it is, so that a block in the wrong place is seen.
enum StripedTag {
    /// The tags of `range` of the volume as write `id` leaves them.
    static func pattern(_ id: UInt64, _ range: ByteRange) -> [UInt64] {
        SimulatedRegion.granules(range).map { granule in
            let block = UInt64(granule) * SimulatedRegion.granule / Scenario.blockSize
            return id == 0 ? 0 : id | (block + 1) << 32
        }
    }

    /// The id of the write that a tag of `block` tells of; nil when it is of no write to that block.
    static func write(_ tag: UInt64, block: Int) -> UInt64? {
        if tag == 0 { return 0 }
        return tag >> 32 == UInt64(block) + 1 ? tag & 0xffff_ffff : nil
    }
}
