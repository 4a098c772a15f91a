// A view stores the record of a multi-write, its data and its marks where they belong, in this order, and
// nothing beside them.

import CLinux
import Glibc
import RemoteMemory
import SharedMemoryTransport
import Testing

@Suite struct RegionViewTests {
    static let size = ByteCount.kibibytes(256)

    static func intent(
        _ sequence: UInt64, _ range: ByteRange = ByteRange(0, 4096), kind: Intent.Kind = .write
    ) -> Intent {
        Intent(epoch: Epoch(7), sequence: sequence, range: range, kind: kind)
    }

    @Test func unusedSlotsHoldNothing() throws {
        let region = try TestRegion.make(Self.size)
        for slot in 0..<UInt8(RegionLayout.intentSlotCount) {
            #expect(region.view.intentSlot(slot) == nil)
        }
    }

    @Test(arguments: [Intent.Kind.write, .zero])
    func aMultiWriteIsAnnouncedThenLandsThenCompletes(_ kind: Intent.Kind) throws {
        let region = try TestRegion.make(Self.size)
        let view = region.view
        let intent = Self.intent(41, ByteRange(8192, 512), kind: kind)
        view.announce(slot: 3, intent)
        #expect(
            view.intentSlot(3) == IntentSlot(intent: intent, landed: false, completed: false))
        #expect(!view.isAllocated(2), "announcing stores no data")
        view.land(slot: 3, intent)
        #expect(view.intentSlot(3) == IntentSlot(intent: intent, landed: true, completed: false))
        view.complete(slot: 3, sequence: 41)
        #expect(view.intentSlot(3) == IntentSlot(intent: intent, landed: true, completed: true))
    }

    @Test func aNewRecordOutdatesOldMarks() throws {
        let region = try TestRegion.make(Self.size)
        let view = region.view
        let (old, new) = (Self.intent(1), Self.intent(2))
        view.announce(slot: 0, old)
        view.land(slot: 0, old)
        view.complete(slot: 0, sequence: 1)
        view.announce(slot: 0, new)
        #expect(view.intentSlot(0) == IntentSlot(intent: new, landed: false, completed: false))
        view.complete(slot: 0, sequence: 1)
        #expect(view.intentSlot(0)?.completed == false, "a mark that comes late counts for nothing")
    }

    @Test func writingLandsButDoesNotComplete() throws {
        let region = try TestRegion.make(Self.size)
        let intent = Self.intent(9, ByteRange(100, 5000))
        var random = Seeded(9)
        let payload = random.bytes(5000)
        region.view.write(slot: 63, intent, from: payload)
        #expect(region.view.contents(intent.range) == payload)
        #expect(
            region.view.intentSlot(63)
                == IntentSlot(intent: intent, landed: true, completed: false))
    }

    @Test func slotsAndLabelStandApart() throws {
        let region = try TestRegion.make(Self.size)
        let view = region.view
        #expect(view.readLabel() == nil)
        let label = RegionLabel(
            volume: VolumeID(.random()), region: RegionID(.random()), size: Self.size,
            epoch: Epoch(5))
        view.writeLabel(label)
        for slot in 0..<UInt64(RegionLayout.intentSlotCount) {
            view.announce(slot: UInt8(slot), Self.intent(slot + 1, ByteRange(slot * 64, slot)))
        }
        for slot in 0..<UInt64(RegionLayout.intentSlotCount) {
            let found = view.intentSlot(UInt8(slot))
            #expect(found?.intent == Self.intent(slot + 1, ByteRange(slot * 64, slot)))
        }
        #expect(view.readLabel() == label)
        let again = try TestRegion.again(region, isWritable: false)
        #expect(again.view.readLabel() == label, "the label is in the memory, not in the view")
    }

    /// Sizes below, at and above where copies begin to bypass the cache, at places it needs and others.
    @Test(arguments: [0, 1, 8, 15, 16, 17, 512, 4095, 4096, 4111] as [UInt64])
    func writesAreExact(at offset: UInt64) throws {
        let region = try TestRegion.make(Self.size)
        let view = region.view
        let all = ByteRange(start: ByteOffset(0), count: Self.size)
        var model = [UInt8](repeating: 0xEE, count: Int(Self.size.bytes))
        view.fill(all, 0xEE)
        var random = Seeded(offset)
        let source = random.bytes(140_000)
        let around = Array(4090...4102) as [UInt64]
        let sizes =
            [1, 2, 15, 16, 63, 64, 65, 127, 4032] + around + [4159, 4160, 8191, 8192, 131_073]
        for (number, size) in sizes.enumerated() {
            // The source's own alignment varies too.
            let payload = Array(source[number..<(number + Int(size))])
            view.write(
                slot: 0, Self.intent(UInt64(number + 1), ByteRange(offset, size)), from: payload)
            model.replaceSubrange(Int(offset)..<Int(offset + size), with: payload)
            #expect(view.contents(all) == model, "\(size) bytes at \(offset)")
        }
    }

    @Test func theLastByteCanBeWritten() throws {
        let region = try TestRegion.make(Self.size)
        let range = ByteRange(Self.size.bytes - 4097, 4097)
        region.view.write(slot: 0, Self.intent(1, range), from: [UInt8](repeating: 7, count: 4097))
        #expect(region.view.contents(range) == [UInt8](repeating: 7, count: 4097))
    }

    /// Another mapping watches: data is never there before its record, nor a landed mark before its data.
    @Test func storesBecomeVisibleInOrder() async throws {
        let region = try TestRegion.make(Self.size)
        let watcher = try TestRegion.again(region, isWritable: false)
        let writes: UInt64 = 30_000
        async let writer: Void = Self.write(writes, to: region)
        let words = watcher.view.bytes(ByteRange(0, 8192))
        var (landed, whole, failures): (UInt64, UInt64, [String]) = (0, 0, [])
        repeat {
            let last = clinux_load_word(words + 8184)
            if let slot = watcher.view.intentSlot(0) {
                if slot.intent.sequence < last { failures.append("data before its record") }
                if slot.landed {
                    landed = slot.intent.sequence
                    whole += 1
                    for word in 0..<1024 where clinux_load_word(words + word * 8) < landed {
                        failures.append("landed before word \(word)")
                    }
                }
            }
            await Task.yield()
        } while landed < writes && failures.isEmpty
        #expect(failures.isEmpty)
        #expect(whole > 0)
        await writer
    }

    @concurrent static func write(_ writes: UInt64, to region: MappedRegion) async {
        for sequence in 1...writes {
            let payload = [UInt64](repeating: sequence, count: 1024)
            region.view.write(slot: 0, intent(sequence, ByteRange(0, 8192)), from: payload)
        }
    }

    // MARK: Bounds

    @Test func accessesEndWithTheRegion() async {
        await #expect(processExitsWith: .signal(trap)) {
            let region = try TestRegion.make(Self.size)
            _ = region.view.bytes(ByteRange(Self.size.bytes - 10, 11))
        }
        await #expect(processExitsWith: .signal(trap)) {
            let region = try TestRegion.make(Self.size)
            _ = region.view.bytes(ByteRange(.max - 10, 100))
        }
        await #expect(processExitsWith: .signal(trap)) {
            let region = try TestRegion.make(Self.size)
            let payload = [UInt8](repeating: 0, count: 8192)
            region.view.write(
                slot: 0, Self.intent(1, ByteRange(Self.size.bytes - 4096, 8192)), from: payload)
        }
    }

    /// A slot beyond the area would overwrite what stands behind it.
    @Test func slotsEndWithTheObserverArea() async {
        await #expect(processExitsWith: .signal(trap)) {
            let region = try TestRegion.make(Self.size)
            region.view.announce(slot: 64, Self.intent(1))
        }
        await #expect(processExitsWith: .signal(trap)) {
            let region = try TestRegion.make(Self.size)
            _ = region.view.intentSlot(64)
        }
        await #expect(processExitsWith: .signal(trap)) {
            let region = try TestRegion.make(Self.size)
            region.view.complete(slot: 255, sequence: 1)
        }
    }
}
