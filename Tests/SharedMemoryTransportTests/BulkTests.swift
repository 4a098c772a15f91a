// Freeing, copying and comparing know what is allocated: memory comes back, holes stay holes, and looking
// at a hole does not fill it.

import CLinux
import Glibc
import RemoteMemory
import SharedMemoryTransport
import Testing

@Suite struct ZeroTests {
    static let size = ByteCount.mebibytes(1)

    @Test func givesMemoryBack() throws {
        let region = try TestRegion.make(Self.size)
        try check(region.view, ByteRange(blocks: 10..<30), freed: 20)
    }

    /// The blocks that a range covers in part stay, zeroed in part.
    @Test(
        arguments: [
            (ByteRange(8192 + 100, 5 * 4096), 4), (ByteRange(8192, 4096 + 1), 1),
            (ByteRange(8191, 4097), 1), (ByteRange(100, 200), 0), (ByteRange(4095, 2), 0),
            (ByteRange((1 << 20) - 1, 1), 0), (ByteRange(1, (1 << 20) - 1), 255),
        ] as [(ByteRange, UInt64)])
    func zeroesUnalignedEdges(_ range: ByteRange, freed: UInt64) throws {
        let region = try TestRegion.make(Self.size)
        try check(region.view, range, freed: freed)
    }

    private func check(_ view: RegionView, _ range: ByteRange, freed: UInt64) throws {
        let all = ByteRange(start: ByteOffset(0), count: Self.size)
        view.fill(all, 0xC3)
        let before = view.resident
        #expect(before == Self.size.bytes)
        try #require(view.zero(range, keepAllocated: false))
        #expect(before - view.resident == freed * TestRegion.block)
        var model = [UInt8](repeating: 0xC3, count: Int(Self.size.bytes))
        for index in range.start.bytes..<range.end.bytes { model[Int(index)] = 0 }
        #expect(view.contents(all) == model)
    }

    @Test(arguments: [(true, false), (false, true)])
    func keepsMemoryWhenAskedOrHuge(keepAllocated: Bool, isHuge: Bool) throws {
        let region = try TestRegion.make(Self.size, isHuge: isHuge)
        let view = region.view
        view.fill(ByteRange(start: ByteOffset(0), count: Self.size), 1)
        let range = ByteRange(4096 + 7, 100_000)
        #expect(view.zero(range, keepAllocated: keepAllocated))
        #expect(view.resident == Self.size.bytes)
        #expect(view.contents(range) == [UInt8](repeating: 0, count: 100_000))
        #expect(view.contents(ByteRange(4096, 7)) == [UInt8](repeating: 1, count: 7))
        #expect(view.contents(ByteRange(104_103, 9)) == [UInt8](repeating: 1, count: 9))
    }

    @Test func keepingAllocatedFillsHoles() throws {
        let region = try TestRegion.make(Self.size)
        #expect(region.view.zero(ByteRange(blocks: 3..<8), keepAllocated: true))
        #expect(region.view.resident == 5 * TestRegion.block)
    }

    @Test func nothingIsDoneForNothing() throws {
        let region = try TestRegion.make(Self.size)
        region.view.fill(ByteRange(blocks: 0..<1), 1)
        #expect(region.view.zero(ByteRange(0, 0), keepAllocated: false))
        #expect(region.view.contents(ByteRange(0, 1)) == [1])
    }

    @Test func tellsThatTheKernelRefuses() throws {
        let region = try TestRegion.make(Self.size)
        region.view.fill(ByteRange(blocks: 0..<1), 1)
        let reader = try TestRegion.again(region, isWritable: false)
        #expect(!reader.view.zero(ByteRange(blocks: 0..<1), keepAllocated: false))
        #expect(region.view.contents(ByteRange(0, 1)) == [1])
    }

    @Test func staysWithinTheRegion() async {
        await #expect(processExitsWith: .signal(trap)) {
            let region = try TestRegion.make(Self.size)
            _ = region.view.zero(ByteRange(Self.size.bytes - 1, 2), keepAllocated: false)
        }
    }
}

@Suite struct CopyTests {
    static let size = ByteCount.mebibytes(1)
    static let all = ByteRange(start: ByteOffset(0), count: size)

    /// Random runs of blocks on both sides; afterwards one is like the other, holes included.
    @Test(arguments: 1...12 as ClosedRange<UInt64>)
    func takesOverDataAndHoles(seed: UInt64) throws {
        var random = Seeded(seed)
        let (source, target) = (try TestRegion.make(Self.size), try TestRegion.make(Self.size))
        for (view, count) in [(source.view, 12), (target.view, 20)] {
            for _ in 0..<count {
                let first = UInt64.random(in: 0..<256, using: &random)
                let run = UInt64.random(in: 1...40, using: &random)
                view.fill(
                    ByteRange(blocks: first..<min(first + run, 256)),
                    UInt8.random(in: 1...255, using: &random))
            }
        }
        let first = UInt64.random(in: 0..<200, using: &random)
        let count = UInt64.random(in: 1...(256 - first), using: &random)
        let range = ByteRange(blocks: first..<(first + count))
        let before = (source.view.resident, target.view.contents(Self.all))
        let allocated = (0..<256).map { target.view.isAllocated($0) }
        try #require(target.view.copy(range, from: source.view))
        #expect(source.view.resident == before.0, "copying allocates nothing in the source")
        var model = before.1
        model.replaceSubrange(
            Int(range.start.bytes)..<Int(range.end.bytes), with: source.view.contents(range))
        #expect(target.view.contents(Self.all) == model)
        for block in 0..<UInt64(256) {
            let isInside = block >= first && block < first + count
            #expect(
                target.view.isAllocated(block)
                    == (isInside ? source.view.isAllocated(block) : allocated[Int(block)]),
                "block \(block) of \(range)")
        }
    }

    /// The volume's last extent may end within a block.
    @Test(arguments: [true, false])
    func endsWhereItShould(isAllocated: Bool) throws {
        let (source, target) = (try TestRegion.make(Self.size), try TestRegion.make(Self.size))
        if isAllocated { source.view.fill(Self.all, 0x11) }
        target.view.fill(Self.all, 0x22)
        let range = ByteRange(262_144 - 4096, 4096 + 8192 + 10)
        #expect(target.view.copy(range, from: source.view))
        let expected = [UInt8](repeating: isAllocated ? 0x11 : 0, count: Int(range.count.bytes))
        #expect(target.view.contents(range) == expected)
        #expect(target.view.contents(ByteRange(range.end.bytes, 1)) == [0x22])
        #expect(target.view.contents(ByteRange(range.start.bytes - 1, 1)) == [0x22])
    }

    @Test func tellsThatHolesCannotBeMade() throws {
        let (source, target) = (try TestRegion.make(Self.size), try TestRegion.make(Self.size))
        let reader = try TestRegion.again(target, isWritable: false)
        #expect(!reader.view.copy(Self.all, from: source.view))
    }
}

@Suite struct EqualsTests {
    static let size = ByteCount.mebibytes(1)
    static let all = ByteRange(start: ByteOffset(0), count: size)

    @Test(arguments: [0, 1, 4095, 262_143, 262_144, 524_288, (1 << 20) - 1] as [UInt64])
    func findsOneFlippedByte(at offset: UInt64) throws {
        let (left, right) = (try TestRegion.make(Self.size), try TestRegion.make(Self.size))
        let scratch = ScratchBuffer()
        left.view.fill(Self.all, 0x77)
        right.view.fill(Self.all, 0x77)
        #expect(left.view.equals(Self.all, in: right.view, using: scratch) == true)
        let flipped = ByteRange(offset, 1)
        right.view.fill(flipped, 0x76)
        #expect(left.view.equals(Self.all, in: right.view, using: scratch) == false)
        #expect(right.view.equals(flipped, in: left.view, using: scratch) == false)
        // Beside it all is well.
        let before = ByteRange(0, offset)
        let after = ByteRange(offset + 1, Self.size.bytes - offset - 1)
        #expect(left.view.equals(before, in: right.view, using: scratch) == true)
        #expect(left.view.equals(after, in: right.view, using: scratch) == true)
    }

    @Test func holesEqualZeroesAndStayHoles() throws {
        let (left, right) = (try TestRegion.make(Self.size), try TestRegion.make(Self.size))
        right.view.fill(ByteRange(blocks: 10..<20), 0)
        #expect(left.view.equals(Self.all, in: right.view, using: ScratchBuffer()) == true)
        right.view.fill(ByteRange(15 * 4096, 1), 1)
        #expect(left.view.equals(Self.all, in: right.view, using: ScratchBuffer()) == false)
        #expect(left.view.resident == 0)
        #expect(right.view.resident == 10 * TestRegion.block)
    }

    @Test func doesNotKnowWhatIsBeyondTheFile() throws {
        let (left, right) = (try TestRegion.make(Self.size), try TestRegion.make(.mebibytes(4)))
        let range = ByteRange((2 << 20) - 4096, 8192)
        #expect(left.view.equals(range, in: right.view, using: ScratchBuffer()) == nil)
        #expect(right.view.equals(range, in: left.view, using: ScratchBuffer()) == nil)
    }
}
