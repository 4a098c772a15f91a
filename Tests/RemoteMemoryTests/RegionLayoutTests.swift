// Places in a region, for every size there can be; its label and redo record, whole or not at all.

import RemoteMemory
import Testing

@Suite struct RegionLayoutTests {
    static let areas = [
        RegionLayout.label, RegionLayout.observerArea, RegionLayout.redoRecord,
        RegionLayout.redoData, RegionLayout.dirtyMaps,
    ]

    /// Sizes from the smallest to the largest: around every power of two, and some between.
    static let sizes: [ByteCount] = {
        let granule = RegionLayout.volumeGranularity.bytes
        let largest = RegionLayout.largestVolume.bytes
        var generator = SeededGenerator(seed: 7)
        var sizes = [granule, largest - granule, largest]
        var power = granule
        while power <= largest {
            sizes += [power - granule, power, power + granule]
            sizes.append(UInt64.random(in: 1...power, using: &generator) / granule * granule)
            power *= 2
        }
        return sizes.filter { $0 > 0 && $0 <= largest }.map { ByteCount($0) }
    }()

    @Test func `areas follow each other without overlap, before the data`() {
        for (area, next) in zip(Self.areas, Self.areas.dropFirst()) {
            #expect(area.end <= next.start, "\(area) and \(next)")
        }
        #expect(Self.areas.allSatisfy { $0.end <= RegionLayout.dataStart && !$0.isEmpty })
    }

    @Test func `areas hold what they are for`() {
        #expect(RegionLayout.label.count.bytes >= UInt64(8 * RegionLabel.wordCount))
        #expect(RegionLayout.redoRecord.count.bytes == UInt64(8 * RedoRecord.wordCount))
        #expect(
            RegionLayout.observerArea.count.bytes
                == UInt64(RegionLayout.intentSlotCount * RegionLayout.intentSlotSize))
        #expect(RegionLayout.redoData.count.bytes % RegionLayout.redoBlock.bytes == 0)
    }

    @Test func `slots are cache lines, and the data starts at a huge page`() {
        #expect(RegionLayout.intentSlotSize == 64)
        #expect(RegionLayout.observerArea.start.bytes % 64 == 0)
        #expect(RegionLayout.redoRecord.start.bytes % 64 == 0)
        #expect(RegionLayout.redoData.start.bytes % 4096 == 0)
        #expect(RegionLayout.dataStart.bytes % (2 << 20) == 0)
        // A slot's number travels in a byte.
        #expect(RegionLayout.intentSlotCount <= 256)
    }

    @Test func `places are those of version 1`() {
        // Regions outlive the process that laid them out: a moved area needs a new version.
        #expect(RegionLabel.version == 1)
        #expect(Self.areas.map(\.start.bytes) == [0, 0x1000, 0x2000, 0x10000, 0x100000])
        #expect(Self.areas.map(\.count.bytes) == [0x1000, 0x1000, 24, 0xf0000, 0x100000])
        #expect(RegionLayout.dataStart.bytes == 0x200000)
    }

    @Test(arguments: sizes)
    func `a region holds its data, and wastes less than a huge page`(size: ByteCount) {
        let region = RegionLayout.regionSize(forDataOf: size).bytes
        #expect(region % (2 << 20) == 0)
        #expect(region >= RegionLayout.dataStart.bytes + size.bytes)
        #expect(region < RegionLayout.dataStart.bytes + size.bytes + (2 << 20))
    }

    @Test(arguments: sizes)
    func `a dirty map has a bit for every extent`(size: ByteCount) {
        let extent = RegionLayout.extentSize(forDataOf: size).bytes
        let bits = UInt64(RegionLayout.mapWordLimit) * 64
        #expect((size.bytes + extent - 1) / extent <= bits)
        #expect(extent.nonzeroBitCount == 1)
        #expect(extent >= 256 << 10)
        // No larger than need be: half of it would not do.
        #expect(extent == 256 << 10 || size.bytes > extent / 2 * bits)
    }

    @Test func `extents grow just when the map is full`() {
        let full = UInt64(RegionLayout.mapWordLimit) * 64 * (256 << 10)
        #expect(RegionLayout.extentSize(forDataOf: ByteCount(full)) == .kibibytes(256))
        #expect(RegionLayout.extentSize(forDataOf: ByteCount(full + 1)) == .kibibytes(512))
        #expect(RegionLayout.extentSize(forDataOf: RegionLayout.largestVolume) == .mebibytes(256))
    }
}

@Suite struct RegionLabelTests {
    static let example = RegionLabel(
        volume: VolumeID(Identifier(high: 1, low: 2)),
        region: RegionID(Identifier(high: 3, low: 4)), size: .gibibytes(1), epoch: Epoch(5))

    static func random(_ generator: inout SeededGenerator) -> RegionLabel {
        RegionLabel(
            volume: VolumeID(.random(using: &generator)),
            region: RegionID(.random(using: &generator)), size: ByteCount(generator.next() >> 18),
            epoch: Epoch(generator.next() >> 40))
    }

    static func read(_ words: [UInt64]) -> RegionLabel? {
        RegionLabel(words: InlineArray<9, UInt64> { words[$0] })
    }

    @Test func `a label stands in memory as in version 1`() {
        #expect(
            Self.example.words.elements == [
                0x484f_4c44_4641_5354, 1, 1, 2, 3, 4, 1 << 30, 5, 0xbdb4_87e4_67b2_9ed3,
            ])
        #expect(RegionLabel.wordCount == 9)
    }

    @Test func `what is written is read back`() {
        var generator = SeededGenerator(seed: 8)
        for _ in 0..<1000 {
            let label = Self.random(&generator)
            #expect(Self.read(label.words.elements) == label)
        }
    }

    @Test(arguments: 0..<9)
    func `a single wrong word is noticed`(word: Int) {
        var generator = SeededGenerator(seed: 9)
        for _ in 0..<100 {
            let words = Self.random(&generator).words.elements
            for wrong in corruptions(of: words[word], with: &generator) {
                var corrupted = words
                corrupted[word] = wrong
                #expect(Self.read(corrupted) == nil, "\(words[word]) became \(wrong)")
            }
        }
    }

    @Test func `a half-written label is never read as the new one`() {
        var generator = SeededGenerator(seed: 10)
        for round in 0..<1000 {
            let old = Self.random(&generator)
            var new = Self.random(&generator)
            // As in life: an owner changes nothing but the epoch.
            if round % 2 == 0 {
                new = old
                new.epoch = old.epoch.next
            }
            for written in 0..<RegionLabel.wordCount {
                let words =
                    new.words.elements.prefix(written) + old.words.elements.dropFirst(written)
                let label = Self.read(Array(words))
                #expect(label == nil || label == old, "\(written) words written")
            }
        }
    }

    @Test func `memory that was never labelled is no region`() {
        #expect(Self.read(Array(repeating: 0, count: 9)) == nil)
        #expect(Self.read(Array(repeating: .max, count: 9)) == nil)
    }
}

@Suite struct RedoRecordTests {
    static let example = RedoRecord(
        ByteRange(start: ByteOffset(0x10000), count: ByteCount(0x2000)))

    static func random(_ generator: inout SeededGenerator) -> RedoRecord {
        RedoRecord(
            ByteRange(
                start: ByteOffset(generator.next() >> 18),
                count: ByteCount(.random(in: 1...960 << 10, using: &generator))))
    }

    static func read(_ words: [UInt64]) -> RedoRecord? {
        RedoRecord(words: InlineArray<3, UInt64> { words[$0] })
    }

    @Test func `a record stands in memory as in version 1`() {
        #expect(Self.example.words.elements == [0x10000, 0x2000, 0x49ff_9677_c2ae_88d8])
    }

    @Test func `what is written is read back`() {
        var generator = SeededGenerator(seed: 11)
        for _ in 0..<1000 {
            let record = Self.random(&generator)
            #expect(Self.read(record.words.elements) == record)
        }
    }

    @Test(arguments: 0..<3)
    func `a single wrong word is noticed`(word: Int) {
        var generator = SeededGenerator(seed: 12)
        for _ in 0..<100 {
            let words = Self.random(&generator).words.elements
            for wrong in corruptions(of: words[word], with: &generator) {
                var corrupted = words
                corrupted[word] = wrong
                #expect(Self.read(corrupted) == nil, "\(words[word]) became \(wrong)")
            }
        }
    }

    @Test func `a half-written record is never read as the new one`() {
        var generator = SeededGenerator(seed: 13)
        for _ in 0..<1000 {
            let old = Self.random(&generator)
            let new = Self.random(&generator)
            for written in 0..<RedoRecord.wordCount {
                let words =
                    new.words.elements.prefix(written) + old.words.elements.dropFirst(written)
                let record = Self.read(Array(words))
                #expect(record == nil || record == old, "\(written) words written")
            }
        }
    }

    @Test func `no record is none`() {
        #expect(Self.read([0, 0, 0]) == nil)
        #expect(Self.read([.max, .max, .max]) == nil)
        // Rightly checked, but of nothing, or of what cannot be.
        let empty = RedoRecord(ByteRange(start: ByteOffset(4096), count: .zero))
        #expect(Self.read(empty.words.elements) == nil)
        let endless = RedoRecord(ByteRange(start: ByteOffset(.max - 1), count: ByteCount(2)))
        #expect(Self.read(endless.words.elements) == nil)
        let last = RedoRecord(ByteRange(start: ByteOffset(.max - 2), count: ByteCount(2)))
        #expect(Self.read(last.words.elements) == last)
    }
}
