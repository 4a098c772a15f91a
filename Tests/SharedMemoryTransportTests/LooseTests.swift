// Writes that share a fence: each is what it would be alone, and none lands before its data.

import CLinux
import RemoteMemory
import SharedMemoryTransport
import Testing

@Suite struct LooseTests {
    static let size = ByteCount.kibibytes(256)

    static func intent(_ sequence: UInt64, _ range: ByteRange) -> Intent {
        Intent(epoch: Epoch(7), sequence: sequence, range: range, kind: .write)
    }

    /// Sizes and places for wide stores, for narrow ones, and for neither.
    @Test(arguments: [0, 1, 16, 64, 4096] as [UInt64])
    func aLooseWriteStoresWhatAUsualOneDoes(at offset: UInt64) throws {
        let plain = try TestRegion.make(Self.size)
        let loose = try TestRegion.make(Self.size)
        let all = ByteRange(start: ByteOffset(0), count: Self.size)
        for region in [plain, loose] { region.view.fill(all, 0xEE) }
        var random = Seeded(offset)
        let source = random.bytes(140_000)
        for (number, size) in [1, 64, 4095, 4096, 4097, 4159, 8192, 131_073].enumerated() {
            // The source's own alignment varies too.
            let payload = Array(source[number..<(number + size)])
            let intent = Self.intent(UInt64(number + 1), ByteRange(offset, UInt64(size)))
            plain.view.write(slot: 5, intent, from: payload)
            loose.view.storeLoosely(slot: 5, intent, from: payload)
            #expect(
                loose.view.intentSlot(5)
                    == IntentSlot(intent: intent, landed: false, completed: false))
            RegionView.fence()
            loose.view.land(slot: 5, intent)
            #expect(loose.view.contents(all) == plain.view.contents(all), "\(size) at \(offset)")
            #expect(loose.view.intentSlot(5) == plain.view.intentSlot(5))
        }
    }

    @Test func looseWritesStayWithinTheRegion() async {
        await #expect(processExitsWith: .signal(trap)) {
            let region = try TestRegion.make(Self.size)
            let payload = [UInt8](repeating: 0, count: 8192)
            region.view.storeLoosely(
                slot: 0, Self.intent(1, ByteRange(Self.size.bytes - 4096, 8192)), from: payload)
        }
    }

    /// Another mapping watches two writes that share a fence: no data is there before its record, and no
    /// landed mark before the data of either.
    @Test func storesBecomeVisibleInOrder() async throws {
        let region = try TestRegion.make(Self.size)
        let watcher = try TestRegion.again(region, isWritable: false)
        let groups: UInt64 = 30_000
        async let writer: Void = Self.write(groups, to: region)
        let words = watcher.view.bytes(ByteRange(0, 16_384))
        var (landed, seen, failures): (UInt64, UInt64, [String]) = (0, 0, [])
        repeat {
            for slot in 0..<2 {
                let data = words + slot * 8192
                let last = clinux_load_word(data + 8184)
                guard let found = watcher.view.intentSlot(UInt8(slot)) else { continue }
                if found.intent.sequence < last { failures.append("data before its record") }
                guard found.landed else { continue }
                landed = found.intent.sequence
                seen += 1
                // Both writes of the group: they share the fence.
                for word in 0..<2048 where clinux_load_word(words + word * 8) < landed {
                    failures.append("\(slot) landed before word \(word)")
                }
            }
            await Task.yield()
        } while landed < groups && failures.isEmpty
        #expect(failures.isEmpty)
        #expect(seen > 0)
        await writer
    }

    @concurrent static func write(_ groups: UInt64, to region: MappedRegion) async {
        let ranges = [ByteRange(0, 8192), ByteRange(8192, 8192)]
        for sequence in 1...groups {
            let payload = [UInt64](repeating: sequence, count: 1024)
            for (slot, range) in ranges.enumerated() {
                region.view.storeLoosely(
                    slot: UInt8(slot), intent(sequence, range), from: payload)
            }
            RegionView.fence()
            for (slot, range) in ranges.enumerated() {
                region.view.land(slot: UInt8(slot), intent(sequence, range))
            }
        }
    }
}
