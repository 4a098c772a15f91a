// The map never takes written data for zeroes, and asking it never allocates anything.

import Glibc
import RemoteMemory
import SharedMemoryTransport
import Testing

@Suite struct AllocationMapTests {
    /// Not a multiple of what is learnt at once.
    static let size = ByteCount(ByteCount.mebibytes(3).bytes + 5 * 4096)

    /// How far a model goes on being the same.
    static func firstRun(of range: ByteRange, _ model: [Bool]) -> (ByteCount, Bool) {
        var block = Int(range.start.bytes / TestRegion.block)
        let isAllocated = model[block]
        var end = range.start.bytes
        while end < range.end.bytes, model[block] == isAllocated {
            block += 1
            end = min(UInt64(block) * TestRegion.block, range.end.bytes)
        }
        return (ByteCount(end - range.start.bytes), isAllocated)
    }

    /// Writes, frees and questions against a model, on a file that was written to before.
    @Test(arguments: 1...20 as ClosedRange<UInt64>)
    func agreesWithAModel(seed: UInt64) throws {
        var random = Seeded(seed)
        let region = try TestRegion.make(Self.size)
        let view = region.view
        var model = [Bool](repeating: false, count: Int(view.blockCount))
        for _ in 0..<Int.random(in: 0...30, using: &random) {
            let first = UInt64.random(in: 0..<view.blockCount, using: &random)
            let end = min(first + UInt64.random(in: 1...70, using: &random), view.blockCount)
            view.fill(ByteRange(blocks: first..<end), 1)
            for block in first..<end { model[Int(block)] = true }
        }
        var map = AllocationMap(deviceSize: Self.size)
        for step in 0..<400 {
            let start = UInt64.random(in: 0..<Self.size.bytes, using: &random)
            let longest = min(
                Self.size.bytes - start, 1 << UInt64.random(in: 8...20, using: &random))
            let range = ByteRange(start, UInt64.random(in: 1...longest, using: &random))
            switch Int.random(in: 0..<4, using: &random) {
            case 0:
                map.insert(range)
                view.fill(range, 2)
                let last = (range.end.bytes - 1) / TestRegion.block
                for block in (start / TestRegion.block)...last { model[Int(block)] = true }
            case 1:
                try #require(view.zero(range, keepAllocated: false))
                map.remove(range)
                let first = (start + TestRegion.block - 1) / TestRegion.block
                let end = range.end.bytes / TestRegion.block
                if first < end { for block in first..<end { model[Int(block)] = false } }
            default:
                let resident = view.resident
                let found = map.firstRun(of: range, in: view)
                let expected = Self.firstRun(of: range, model)
                #expect(found == expected, "step \(step): \(range)")
                #expect(view.resident == resident)
            }
        }
    }

    @Test func askingAboutAllOfItAllocatesNothing() throws {
        let region = try TestRegion.make(Self.size)
        let view = region.view
        view.fill(ByteRange(blocks: 64..<65), 1)
        view.fill(ByteRange(blocks: 772..<773), 1)
        var map = AllocationMap(deviceSize: Self.size)
        var runs: [UInt64] = []
        var start: UInt64 = 0
        while start < Self.size.bytes {
            let run = map.firstRun(of: ByteRange(start, Self.size.bytes - start), in: view)
            #expect(run.isAllocated == (runs.count % 2 == 1))
            runs.append(run.count.bytes / TestRegion.block)
            start += run.count.bytes
        }
        #expect(runs == [64, 1, 707, 1])
        #expect(view.resident == 2 * TestRegion.block)
    }

    @Test func whatIsInsertedStaysWhenTheRestIsLearnt() throws {
        let region = try TestRegion.make(Self.size)
        region.view.fill(ByteRange(blocks: 3..<4), 1)
        var map = AllocationMap(deviceSize: Self.size)
        // Remembered before it is written: the file does not have it yet.
        map.insert(ByteRange(blocks: 1..<2))
        let runs = (0..<5).map {
            map.firstRun(of: ByteRange(blocks: $0..<($0 + 1)), in: region.view).isAllocated
        }
        #expect(runs == [false, true, false, true, false])
    }

    @Test func theFileIsAskedOnce() throws {
        let region = try TestRegion.make(Self.size)
        var map = AllocationMap(deviceSize: Self.size)
        let block = ByteRange(blocks: 5..<6)
        #expect(!map.firstRun(of: block, in: region.view).isAllocated)
        region.view.fill(block, 1)
        #expect(!map.firstRun(of: block, in: region.view).isAllocated, "nobody told the map")
        map.insert(block)
        #expect(map.firstRun(of: block, in: region.view).isAllocated)
    }

    /// Freeing all of what is learnt at once tells the map all; freeing less leaves the file to be asked.
    @Test func freeingIsKnowledge() throws {
        let region = try TestRegion.make(Self.size)
        region.view.fill(ByteRange(start: ByteOffset(0), count: Self.size), 1)
        var map = AllocationMap(deviceSize: Self.size)
        map.remove(ByteRange(blocks: 64..<128))
        map.remove(ByteRange(blocks: 128..<191))
        #expect(!map.firstRun(of: ByteRange(blocks: 64..<65), in: region.view).isAllocated)
        #expect(map.firstRun(of: ByteRange(blocks: 128..<129), in: region.view).isAllocated)
    }

    @Test func blocksFreedInPartStay() throws {
        let region = try TestRegion.make(Self.size)
        var map = AllocationMap(deviceSize: Self.size)
        map.insert(ByteRange(blocks: 0..<64))
        map.remove(ByteRange(1, 8191))
        map.remove(ByteRange(8192, 4095))
        let first = map.firstRun(of: ByteRange(0, 262_144), in: region.view)
        #expect(first == (ByteCount(4096), true))
        #expect(
            map.firstRun(of: ByteRange(4096, 4096), in: region.view) == (ByteCount(4096), false))
        #expect(map.firstRun(of: ByteRange(8192, 1), in: region.view) == (ByteCount(1), true))
    }

    @Test func hugeMemoryIsAllAllocated() throws {
        let region = try TestRegion.make(Self.size, isHuge: true)
        var map = AllocationMap(deviceSize: Self.size)
        let all = ByteRange(start: ByteOffset(0), count: Self.size)
        #expect(map.firstRun(of: all, in: region.view) == (Self.size, true))
    }

    @Test func endsWithTheDevice() async {
        await #expect(processExitsWith: .signal(trap)) {
            var map = AllocationMap(deviceSize: .mebibytes(1))
            map.insert(ByteRange(1 << 20, 1))
        }
    }
}
