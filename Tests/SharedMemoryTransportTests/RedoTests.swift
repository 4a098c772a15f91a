// A write to the last copy is stored aside first. Whatever a killed writer leaves, each block is old or
// new after the replay: a whole record brings the new one back, and anything else counts for nothing.

import CLinux
import Glibc
import RemoteMemory
import SharedMemoryTransport
import Testing

@Suite struct RedoTests {
    static let size = ByteCount.mebibytes(4)
    static let all = ByteRange(start: ByteOffset(0), count: size)

    /// The words of the record, in place.
    static func record(_ region: MappedRegion) throws -> UnsafeMutablePointer<UInt64> {
        let base = try #require(region.bytes.baseAddress)
        let place = base + Int(RegionLayout.redoRecord.start.bytes)
        return UnsafeMutablePointer(mutating: place.assumingMemoryBound(to: UInt64.self))
    }

    @Test(arguments: [
        ByteRange(0, 1), ByteRange(5, 4091), ByteRange(4096, 4096), ByteRange(4095, 8194),
        ByteRange(0, 960 << 10), ByteRange(4096, (960 << 10) + 1), ByteRange(17, 960 << 10),
        ByteRange(777, (3 << 20) + 5), ByteRange(0, 4 << 20),
    ])
    func guardedWritesEqualPlainOnes(_ range: ByteRange) throws {
        let (plain, guarded) = (try TestRegion.make(Self.size), try TestRegion.make(Self.size))
        var random = Seeded(range.count.bytes)
        let payload = random.bytes(Int(range.count.bytes))
        let intent = Intent(epoch: Epoch(3), sequence: 5, range: range, kind: .write)
        for view in [plain.view, guarded.view] { view.fill(Self.all, 0xAB) }
        plain.view.write(slot: 2, intent, from: payload)
        guarded.view.writeGuarded(slot: 2, intent, from: payload)
        #expect(guarded.view.contents(range) == payload)
        #expect(plain.view.contents(Self.all) == guarded.view.contents(Self.all))
        let landed = IntentSlot(intent: intent, landed: true, completed: false)
        #expect(guarded.view.intentSlot(2) == landed)
        #expect(plain.view.intentSlot(2) == landed)
        #expect(guarded.view.replayRedo() == .zero, "nothing is left aside")
    }

    /// The writer dies after the record, before or while it stores the data in place.
    @Test(
        arguments: [ByteRange(8192, 4096), ByteRange(100, 50), ByteRange(4096, 960 << 10)],
        [0, 1, 2])
    func theNextOwnerFinishes(_ piece: ByteRange, halves: UInt64) throws {
        let region = try TestRegion.make(Self.size)
        region.view.fill(Self.all, 0xAB)
        var random = Seeded(piece.count.bytes)
        let payload = random.bytes(Int(piece.count.bytes))
        region.view.putAside(piece, from: payload)
        memcpy(region.view.bytes(piece), payload, Int(piece.count.bytes * halves / 2))
        let next = try TestRegion.again(region)
        #expect(next.view.replayRedo() == piece.count)
        var model = [UInt8](repeating: 0xAB, count: Int(Self.size.bytes))
        model.replaceSubrange(Int(piece.start.bytes)..<Int(piece.end.bytes), with: payload)
        #expect(next.view.contents(Self.all) == model)
        // What is written afterwards is not undone by another replay.
        next.view.fill(piece, 0xCD)
        #expect(next.view.replayRedo() == .zero)
        #expect(next.view.contents(piece) == [UInt8](repeating: 0xCD, count: payload.count))
    }

    /// The next owner dies after the replay, before the record is cleared.
    @Test func replayingTwiceIsHarmless() throws {
        let region = try TestRegion.make(Self.size)
        let piece = ByteRange(12_288, 8192)
        let payload = [UInt8](repeating: 0x42, count: 8192)
        region.view.putAside(piece, from: payload)
        let record = try Self.record(region)
        let words = (record[0], record[1], record[2])
        #expect(region.view.replayRedo() == piece.count)
        #expect((record[0], record[1], record[2]) == (0, 0, 0))
        (record[0], record[1], record[2]) = words
        let next = try TestRegion.again(region)
        #expect(next.view.replayRedo() == piece.count)
        #expect(next.view.contents(piece) == payload)
    }

    @Test(arguments: 0..<3)
    func aTornRecordReplaysNothing(word: Int) throws {
        let region = try TestRegion.make(Self.size)
        let old = [UInt8](repeating: 0xAB, count: 4096)
        let piece = ByteRange(4096, 4096)
        for bit in 0..<UInt64(64) {
            region.view.fill(piece, 0xAB)
            region.view.putAside(piece, from: [UInt8](repeating: 1, count: 4096))
            try Self.record(region)[word] ^= 1 << bit
            #expect(region.view.replayRedo() == .zero, "bit \(bit)")
            #expect(region.view.contents(piece) == old)
        }
        try Self.record(region)[word] = 0
        #expect(region.view.replayRedo() == .zero)
    }

    /// The writer dies while it stores or clears the record.
    @Test func aHalfStoredRecordReplaysNothing() throws {
        let region = try TestRegion.make(Self.size)
        let words = RedoRecord(ByteRange(4096, 4096)).words
        let record = try Self.record(region)
        for stored in 0..<3 {
            for word in 0..<3 { record[word] = word < stored ? words[word] : 0 }
            #expect(region.view.replayRedo() == .zero, "\(stored) words")
        }
        #expect(!region.view.isAllocated(1))
    }

    /// A record that is whole and yet cannot be ours: of another size of region, or of none.
    @Test(arguments: [
        ByteRange((4 << 20) - 4096, 4097), ByteRange(1 << 40, 4096), ByteRange(0, (960 << 10) + 1),
        ByteRange(.max - 4096, 4096),
    ])
    func aRecordBeyondTheRegionReplaysNothing(_ piece: ByteRange) throws {
        let region = try TestRegion.make(Self.size)
        let record = try Self.record(region)
        let words = RedoRecord(piece).words
        for word in 0..<3 { record[word] = words[word] }
        #expect(region.view.replayRedo() == .zero)
        #expect(region.view.contents(Self.all).allSatisfy { $0 == 0 })
    }

    @Test func anUntouchedRegionReplaysNothing() throws {
        let region = try TestRegion.make(Self.size)
        #expect(region.view.replayRedo() == .zero)
    }

    /// The largest piece ends where the dirty maps begin.
    @Test func theAreaIsNotLeft() async throws {
        let region = try TestRegion.make(Self.size)
        let count = Int(RegionLayout.redoData.count.bytes)
        let piece = ByteRange(0, UInt64(count))
        region.view.putAside(piece, from: [UInt8](repeating: 0xFF, count: count))
        let map = region.bytes[Int(RegionLayout.dirtyMaps.start.bytes)...].prefix(1 << 20)
        #expect(map.allSatisfy { $0 == 0 })
        #expect((0..<64).allSatisfy { region.view.intentSlot(UInt8($0)) == nil })
        await #expect(processExitsWith: .signal(trap)) {
            let region = try TestRegion.make(Self.size)
            let count = Int(RegionLayout.redoData.count.bytes) + 1
            region.view.putAside(
                ByteRange(0, UInt64(count)), from: [UInt8](repeating: 0, count: count))
        }
    }
}
