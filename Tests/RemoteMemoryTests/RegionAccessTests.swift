// The order of stores is the contract between an owner that dies and the next one: here it stands in full,
// word by word.

import RemoteMemory
import Testing

/// One thing that an access does to a region.
enum AccessEvent: Equatable, Sendable {
    /// Where a word goes, by its distance from the region's start, and what it is.
    case word(UInt64, UInt64)
    case data(skipping: UInt64, start: UInt64, count: UInt64)
    case aside(skipping: UInt64, count: UInt64)
    case restore(start: UInt64, count: UInt64)
    case barrier
}

/// A region that remembers in which order it was stored to; its data are of no interest.
private final class RecordingRegion: RegionAccess {
    let dataSize = ByteCount.mebibytes(8)
    var events: [AccessEvent] = []
    private var words: [UInt64: UInt64] = [:]

    init() {}

    /// The region after the first stores of `events`: where somebody died.
    init(after events: some Sequence<AccessEvent>) {
        for case .word(let place, let word) in events { words[place] = word }
    }

    func storeWord(_ word: UInt64, at place: ByteOffset) {
        words[place.bytes] = word
        events.append(.word(place.bytes, word))
    }

    func loadWord(at place: ByteOffset) -> UInt64 { words[place.bytes] ?? 0 }

    func storeData(_ payload: Int, skipping skipped: ByteCount, at range: ByteRange) {
        events.append(
            .data(skipping: skipped.bytes, start: range.start.bytes, count: range.count.bytes))
    }

    func storeAside(_ payload: Int, skipping skipped: ByteCount, count: ByteCount) {
        events.append(.aside(skipping: skipped.bytes, count: count.bytes))
    }

    func restoreAside(at range: ByteRange) {
        events.append(.restore(start: range.start.bytes, count: range.count.bytes))
    }

    func barrier() { events.append(.barrier) }
}

@Suite struct RegionAccessTests {
    static let intent = Intent(
        epoch: Epoch(3), sequence: 41,
        range: ByteRange(start: ByteOffset(0x10000), count: ByteCount(0x2000)), kind: .write)
    /// Slot 3 of the observer area.
    static let slot: UInt64 = 0x1000 + 3 * 64
    static let redo: UInt64 = 0x2000

    /// The record of `intent`: the word with the completed mark stays as it is.
    static func announcement(_ intent: Intent) -> [AccessEvent] {
        let words = intent.words.elements
        return [0, 1, 2, 3, 4, 6].map { .word(slot + 8 * UInt64($0), words[$0]) }
    }

    /// One piece of a guarded write.
    static func piece(skipping: UInt64, start: UInt64, count: UInt64) -> [AccessEvent] {
        let words = RedoRecord(ByteRange(start: ByteOffset(start), count: ByteCount(count))).words
        let record = (0..<3).map { AccessEvent.word(redo + 8 * UInt64($0), words[$0]) }
        return [.aside(skipping: skipping, count: count), .barrier] + record + [.barrier]
            + [.data(skipping: skipping, start: start, count: count), .barrier] + cleared
    }

    /// The check goes first.
    static let cleared: [AccessEvent] = [
        .word(redo + 16, 0), .word(redo + 8, 0), .word(redo, 0), .barrier,
    ]

    @Test func `a write stores its intent, then its data, then the landed mark`() {
        let region = RecordingRegion()
        region.write(slot: 3, Self.intent, from: 0)
        #expect(
            region.events == Self.announcement(Self.intent) + [
                .barrier, .data(skipping: 0, start: 0x10000, count: 0x2000),
                .word(Self.slot + 56, 41),
            ])
    }

    @Test func `a guarded write goes aside before it goes in place`() {
        let region = RecordingRegion()
        region.writeGuarded(slot: 3, Self.intent, from: 0)
        #expect(
            region.events == Self.announcement(Self.intent) + [.barrier]
                + Self.piece(skipping: 0, start: 0x10000, count: 0x2000)
                + [.word(Self.slot + 56, 41)])
    }

    @Test func `a guarded write larger than the redo area goes in pieces of whole blocks`() {
        let region = RecordingRegion()
        var intent = Self.intent
        intent.range = ByteRange(start: ByteOffset(0x1801), count: ByteCount(0x1e_0000))
        region.writeGuarded(slot: 3, intent, from: 0)
        // The area takes 0xf0000 bytes; the first piece ends as if it had started with its block.
        #expect(
            region.events == Self.announcement(intent) + [.barrier]
                + Self.piece(skipping: 0, start: 0x1801, count: 0xe_f7ff)
                + Self.piece(skipping: 0xe_f7ff, start: 0xf_1000, count: 0xf_0000)
                + Self.piece(skipping: 0x1d_f7ff, start: 0x1e_1000, count: 0x801)
                + [.word(Self.slot + 56, 41)])
    }

    @Test func `marks are one word each`() {
        let region = RecordingRegion()
        region.land(slot: 3, Self.intent)
        region.complete(slot: 3, sequence: 41)
        #expect(region.events == [.word(Self.slot + 56, 41), .word(Self.slot + 40, 41)])
    }

    @Test func `a repair takes the old landed mark back before its intent, which has no check`() {
        let region = RecordingRegion()
        var checked = Self.intent
        checked.dataCheck = 0x1234
        region.announceRepair(slot: 3, checked)
        #expect(
            region.events == [.word(Self.slot + 56, 0), .barrier]
                + Self.announcement(Self.intent) + [.barrier])
    }

    @Test func `an intent that is withdrawn reads as never seen, and as never landed`() {
        let region = RecordingRegion()
        region.withdraw(slot: 3)
        #expect(region.events == [.word(Self.slot + 8, 0), .word(Self.slot + 56, 0), .barrier])
    }

    @Test func `a replay stores in place, then clears the record`() {
        let region = RecordingRegion()
        let piece = ByteRange(start: ByteOffset(0x3000), count: ByteCount(0x1000))
        region.putAside(piece, from: 0)
        region.events = []
        #expect(region.replayRedo() == piece.count)
        #expect(
            region.events == [.restore(start: 0x3000, count: 0x1000), .barrier] + Self.cleared)
        #expect(region.replayRedo() == .zero)
    }

    @Test func `a label is stored from front to back`() {
        let region = RecordingRegion()
        let label = RegionLabelTests.example
        region.writeLabel(label)
        let words = label.words.elements
        #expect(
            region.events == (0..<9).map { .word(8 * UInt64($0), words[$0]) } + [.barrier])
        #expect(region.readLabel() == label)
    }
}

@Suite struct StoredMapTests {
    static let region = RegionID(Identifier(high: 7, low: 8))
    static let other = RegionID(Identifier(high: 7, low: 9))
    static let member = MemberIndex(5)
    /// Where the map of member 5 stands.
    static let place: UInt64 = 0x10_0000 + 5 * 0x1_0000
    /// Of a header for the words 10, 11 and 12.
    static let check: UInt64 = 0xb23f_9fb7_8914_a2b9

    static func content(_ words: [UInt64]) -> DirtyMapContent {
        DirtyMapContent(extentSize: .kibibytes(256), words: words)
    }

    @Test func `a map counts for nothing until its words are there`() {
        let region = RecordingRegion()
        region.storeMap(of: Self.member, region: Self.region, Self.content([10, 11, 12]))
        let header = region.events.suffix(6)
        #expect(
            region.events.dropLast(6) == [
                .word(Self.place + 24, 0), .barrier, .word(Self.place + 64, 10),
                .word(Self.place + 72, 11), .word(Self.place + 80, 12), .barrier,
            ])
        #expect(
            Array(header.prefix(3)) == [
                .word(Self.place, 7), .word(Self.place + 8, 8), .word(Self.place + 16, 3),
            ])
        guard case .word(Self.place + 24, let check) = header.dropFirst(3).first else {
            Issue.record("a check follows")
            return
        }
        #expect(check == Self.check)
        #expect(header.dropFirst(4).first == .word(Self.place + 32, 256 << 10))
        #expect(header.last == .barrier)
        #expect(
            region.loadMap(of: Self.member, region: Self.region) == Self.content([10, 11, 12]))
    }

    @Test(arguments: [256, 512] as [UInt64])
    func `a half-stored map is none, and never a mixture`(extentSize: UInt64) {
        let old = RecordingRegion()
        let before = DirtyMapContent(
            extentSize: .kibibytes(extentSize), words: [1, 2, 3, 4])
        let after = Self.content([10, 11, 12])
        old.storeMap(of: Self.member, region: Self.region, before)
        let new = RecordingRegion()
        new.storeMap(of: Self.member, region: Self.region, after)
        // Whole with the check, behind which stands the size of extents; that may be there already.
        let whole = new.events.count - (before.extentSize == after.extentSize ? 2 : 1)
        for stores in 0...new.events.count {
            let found = RecordingRegion(after: old.events + new.events.prefix(stores))
                .loadMap(of: Self.member, region: Self.region)
            #expect(found == (stores == 0 ? before : stores >= whole ? after : nil))
        }
    }

    @Test func `a map tells how large its extents are, or is none`() {
        let region = RecordingRegion()
        let large = DirtyMapContent(extentSize: .kibibytes(512), words: [10, 11, 12])
        region.storeMap(of: Self.member, region: Self.region, large)
        #expect(region.loadMap(of: Self.member, region: Self.region) == large)
        // What says otherwise beside a check that was made of something else.
        for size in [0, 256 << 10, UInt64.max] {
            region.storeWord(size, at: ByteOffset(Self.place + 32))
            #expect(region.loadMap(of: Self.member, region: Self.region) == nil)
        }
    }

    @Test func `a header that does not tell it is none`() {
        let region = RecordingRegion()
        // As the version before stored it.
        let words: [UInt64] = [7, 8, 3, 0xbd7a_5501_2d25_b146]
        for (index, word) in words.enumerated() {
            region.storeWord(word, at: ByteOffset(Self.place + UInt64(index) * 8))
        }
        #expect(region.loadMap(of: Self.member, region: Self.region) == nil)
        region.storeWord(256 << 10, at: ByteOffset(Self.place + 32))
        #expect(region.loadMap(of: Self.member, region: Self.region) == nil)
    }

    @Test func `a map is of one member's one region`() {
        let region = RecordingRegion()
        region.storeMap(of: Self.member, region: Self.region, Self.content([10, 11, 12]))
        #expect(region.loadMap(of: Self.member, region: Self.other) == nil)
        #expect(region.loadMap(of: MemberIndex(4), region: Self.region) == nil)
        region.storeMap(of: MemberIndex(4), region: Self.other, Self.content([]))
        #expect(region.loadMap(of: MemberIndex(4), region: Self.other) == Self.content([]))
        #expect(
            region.loadMap(of: Self.member, region: Self.region) == Self.content([10, 11, 12]))
        region.dropMap(of: Self.member)
        #expect(region.loadMap(of: Self.member, region: Self.region) == nil)
    }

    @Test func `a word of a map is one store`() {
        let region = RecordingRegion()
        region.storeMap(of: Self.member, region: Self.region, Self.content([10, 11, 12]))
        region.events = []
        region.storeMapWord(99, 1, of: Self.member)
        #expect(region.events == [.word(Self.place + 72, 99)])
        #expect(
            region.loadMap(of: Self.member, region: Self.region) == Self.content([10, 99, 12]))
    }

    @Test func `the largest maps of all members stand side by side, before the data`() {
        let region = RecordingRegion()
        let limit = RegionLayout.mapWordLimit
        for number in 0..<MemberIndex.limit {
            region.storeMap(
                of: MemberIndex(number), region: Self.region,
                Self.content(Array(repeating: UInt64(number), count: limit)))
        }
        for number in 0..<MemberIndex.limit {
            let map = region.loadMap(of: MemberIndex(number), region: Self.region)
            #expect(map?.words == Array(repeating: UInt64(number), count: limit))
        }
        let area = RegionLayout.dirtyMaps
        let isInside = region.events.allSatisfy { event in
            guard case .word(let place, _) = event else { return true }
            return place >= area.start.bytes && place + 8 <= area.end.bytes
        }
        #expect(isInside)
    }

    @Test func `a word beyond a member's map is refused`() async {
        await #expect(processExitsWith: .failure) {
            RecordingRegion().storeMapWord(1, RegionLayout.mapWordLimit, of: MemberIndex(0))
        }
    }

    @Test func `a header that names more words than there can be is none`() {
        let region = RecordingRegion()
        region.storeMap(of: Self.member, region: Self.region, Self.content([1]))
        for count in [0, 2, UInt64(RegionLayout.mapWordLimit) + 1, .max] {
            region.storeWord(count, at: ByteOffset(Self.place + 16))
            #expect(region.loadMap(of: Self.member, region: Self.region) == nil)
        }
    }
}
