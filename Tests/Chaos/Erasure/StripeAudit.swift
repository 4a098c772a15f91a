// The members' memory of an erasure set, looked at from the outside: is the parity of every stripe that of its
// data? It is worked out by the reference codec, not by what the client device uses.

import ErasureCoding
import RemoteMemory
import TestSupport
import Testing

extension HoldfastUp {
    /// Expects that all stripes are whole, by what scrub says and by looking ourselves.
    ///
    /// Nothing may be writing.
    func expectStripesWhole(
        _ geometry: StripeGeometry, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let status = try waitUntilHealthy()
        let scrub = try cli("scrub", volume, "--json")
        #expect(scrub.succeeded, "\(scrub)", sourceLocation: sourceLocation)
        #expect(
            scrub.standardOutput.contains(/"mismatchedExtents" : 0/), "\(scrub)",
            sourceLocation: sourceLocation)
        let dumps = try RegionDump.members(of: status.volume(volume), in: status)
        #expect(dumps.count == geometry.memberCount, sourceLocation: sourceLocation)
        let broken = try firstBrokenStripe(geometry, dumps)
        #expect(broken == nil, sourceLocation: sourceLocation)
    }

    /// The first stripe whose parity is not that of its data.
    private func firstBrokenStripe(
        _ geometry: StripeGeometry, _ dumps: [RegionDump]
    ) throws -> UInt64? {
        let code = try ErasureCode(
            dataShards: geometry.dataShards, parityShards: geometry.parityShards)
        let codec = ReferenceCodec(code)
        let shards = Shards()
        let chunk = Int(geometry.chunk.bytes)
        let memory = UnsafeMutableRawPointer.allocate(
            byteCount: chunk * geometry.memberCount, alignment: 64)
        defer { memory.deallocate() }
        for shard in 0..<geometry.memberCount {
            shards[ShardIndex(shard)] = memory + shard * chunk
        }
        for stripe in 0..<geometry.stripeCount {
            var contents: [[UInt8]] = []
            for shard in 0..<geometry.memberCount {
                let member = geometry.member(of: shard, in: stripe)
                guard let dump = dumps.first(where: { $0.member.index == member.number }) else {
                    return stripe
                }
                contents.append(try dump.read(chunk, at: geometry.row(stripe).start.bytes))
                if shard < geometry.dataShards {
                    (memory + shard * chunk).copyMemory(from: contents[shard], byteCount: chunk)
                }
            }
            guard contents.contains(where: { $0.contains { $0 != 0 } }) else { continue }
            codec.encode(shards, count: chunk)
            for shard in geometry.dataShards..<geometry.memberCount {
                let expected = UnsafeRawBufferPointer(start: memory + shard * chunk, count: chunk)
                guard contents[shard].elementsEqual(expected) else { return stripe }
            }
        }
        return nil
    }
}
