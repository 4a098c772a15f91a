// Where the bytes of an erasure set stand: every byte once, parity on everybody in turn, steps that end where
// stripes do.

import RemoteMemory
import Testing

/// A code, its chunk and a size that is no whole number of stripes.
struct GeometryCase: Sendable, CustomTestStringConvertible {
    var data: Int
    var parity: Int
    var chunk: UInt64
    var size: UInt64

    static let all = [
        GeometryCase(data: 2, parity: 1, chunk: 4096, size: 20 * 4096),
        GeometryCase(data: 2, parity: 1, chunk: 2048, size: 13 * 4096),
        GeometryCase(data: 3, parity: 2, chunk: 4096, size: 31 * 4096),
        GeometryCase(data: 4, parity: 2, chunk: 1024, size: 9 * 4096),
        GeometryCase(data: 4, parity: 2, chunk: 8192, size: 50 * 4096),
        GeometryCase(data: 8, parity: 2, chunk: 512, size: 7 * 4096),
        GeometryCase(data: 10, parity: 4, chunk: 2048, size: 21 * 4096),
    ]

    var geometry: StripeGeometry {
        get throws {
            try StripeGeometry(
                dataShards: data, parityShards: parity, chunk: ByteCount(chunk),
                size: ByteCount(size), redoSlotSize: ByteCount(chunk * 2), redoSlotCount: 4)
        }
    }

    var testDescription: String { "\(data)+\(parity) in chunks of \(chunk), \(size) bytes" }
}

private func range(_ start: UInt64, _ count: UInt64) -> ByteRange {
    ByteRange(start: ByteOffset(start), count: ByteCount(count))
}

@Suite struct StripeGeometryTests {
    @Test(arguments: GeometryCase.all)
    func `every byte of the volume stands in one place`(example: GeometryCase) throws {
        let geometry = try example.geometry
        var places = [Int](repeating: 0, count: Int(example.size / 512))
        for member in geometry.members {
            var taken: Set<UInt64> = []
            geometry.forEachPiece(of: range(0, example.size), on: member) { volume, span in
                #expect(volume.count == span.count)
                #expect(span.start.bytes >= geometry.redoArea.bytes)
                #expect(span.end.bytes <= geometry.regionDataSize.bytes)
                for part in 0..<volume.count.bytes / 512 {
                    places[Int(volume.start.bytes / 512 + part)] += 1
                    #expect(taken.insert(span.start.bytes + part * 512).inserted)
                }
            }
        }
        #expect(places.allSatisfy { $0 == 1 })
    }

    @Test(arguments: GeometryCase.all)
    func `roles and members belong together, and parity is on everybody in turn`(
        example: GeometryCase
    ) throws {
        let geometry = try example.geometry
        var parity = [Int](repeating: 0, count: geometry.memberCount)
        for stripe in 0..<UInt64(geometry.memberCount) {
            for shard in 0..<geometry.memberCount {
                let member = geometry.member(of: shard, in: stripe)
                #expect(geometry.shard(of: member, in: stripe) == shard)
                if shard >= example.data { parity[member.number] += 1 }
                #expect(
                    geometry.parityMembers(of: stripe).contains(member) == (shard >= example.data))
            }
        }
        #expect(parity.allSatisfy { $0 == example.parity })
    }

    @Test(arguments: GeometryCase.all)
    func `a read asks those that hold its bytes`(example: GeometryCase) throws {
        let geometry = try example.geometry
        for start in stride(from: 0, to: example.size, by: 1536) {
            for count in [1, 512, 4096, 9000] as [UInt64] where start + count <= example.size {
                let asked = range(start, count)
                var holders = MemberSet()
                for member in geometry.members {
                    geometry.forEachPiece(of: asked, on: member) { _, _ in holders.insert(member) }
                }
                #expect(geometry.holders(of: asked) == holders)
            }
        }
    }

    @Test(arguments: GeometryCase.all)
    func `steps cover a range, and break no block`(example: GeometryCase) throws {
        let geometry = try example.geometry
        for start in stride(from: 0, to: example.size, by: 3584) {
            var rest = range(start, example.size - start)
            while !rest.isEmpty {
                let step = geometry.step(of: rest, runLimit: geometry.runLimit)
                #expect(step.start == rest.start)
                #expect(!step.isEmpty)
                #expect(step.end.bytes % 4096 == 0)
                check(step, geometry)
                rest = ByteRange(
                    start: step.end, count: ByteCount(rest.count.bytes - step.count.bytes))
            }
        }
    }

    /// What a step changes lies in its window, which fits a redo slot; parity changes wherever data does.
    private func check(_ step: ByteRange, _ geometry: StripeGeometry) {
        let window = geometry.window(of: step)
        #expect(window.count <= geometry.redoSlotSize)
        var data = MemberSet()
        for member in geometry.members {
            let span = geometry.span(of: step, on: member)
            #expect(span.isEmpty != geometry.touched(by: step).contains(member))
            #expect(span.isEmpty || span.intersection(window) == span)
            geometry.forEachPiece(of: step, on: member) { _, piece in
                data.insert(member)
                #expect(piece.intersection(span) == piece)
            }
        }
        for stripe in geometry.stripes(of: step) {
            #expect(
                geometry.touched(by: step).isSuperset(of: geometry.parityMembers(of: stripe)))
        }
        #expect(geometry.touched(by: step).isSuperset(of: data))
    }

    @Test func `a part of one chunk has the columns of what is written as its window`() throws {
        let geometry = try StripeGeometry(
            dataShards: 4, parityShards: 2, size: .mebibytes(1))
        let part = range(16384 + 4096, 4096)
        #expect(geometry.window(of: part) == range(geometry.redoArea.bytes + 4096, 4096))
        #expect(geometry.touched(by: part) == MemberSet([1, 4, 5].map { MemberIndex($0) }))
        #expect(geometry.span(of: part, on: MemberIndex(0)).isEmpty)
        // One row on, everybody has moved on by one.
        let next = range(65536 + 16384 + 4096, 4096)
        #expect(geometry.touched(by: next) == MemberSet([0, 2, 5].map { MemberIndex($0) }))
    }

    @Test(arguments: [0, 256, 768, 5000, 1 << 18] as [UInt64])
    func `a chunk is a power of two within limits`(chunk: UInt64) {
        #expect(throws: StripeGeometryError.chunkOutOfRange(ByteCount(chunk))) {
            try StripeGeometry(
                dataShards: 4, parityShards: 2, chunk: ByteCount(chunk), size: .mebibytes(1))
        }
    }

    @Test func `a stripe holds whole blocks`() {
        let chunk = ByteCount(1024)
        #expect(throws: StripeGeometryError.stripeOfBrokenBlocks(chunk: chunk, dataShards: 10)) {
            try StripeGeometry(
                dataShards: 10, parityShards: 4, chunk: chunk, size: .mebibytes(1))
        }
    }

    @Test(arguments: GeometryCase.all)
    func `extents are whole stripes, and their bits fit the dirty map`(example: GeometryCase) throws
    {
        var geometry = try example.geometry
        #expect(geometry.extentSize.bytes % geometry.stripeSize.bytes == 0)
        geometry = try StripeGeometry(
            dataShards: example.data, parityShards: example.parity, chunk: ByteCount(example.chunk),
            size: RegionLayout.largestVolume)
        let extents = RegionLayout.largestVolume.bytes / geometry.extentSize.bytes
        #expect(extents <= UInt64(RegionLayout.mapWordLimit) * 64)
    }
}
