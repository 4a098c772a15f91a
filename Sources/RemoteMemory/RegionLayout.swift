// What stands where in a region. All of it is written by client-side access, so that a region needs
// no code beside it: the same layout works behind shared memory, a TCP interface and a bare NIC.
//
//     0        4 KiB       8 KiB       64 KiB    1 MiB            2 MiB                  2 MiB + size
//     ├ label ─┼ observer ─┼ redo rec. ┼ redo ───┼ dirty maps ────┼ data ────────────────┤
//                 64 slots of 64 bytes             one a member,     2 MiB aligned
//                                                  1 bit an extent
//
// Data starts at a 2 MiB boundary so that huge pages and NIC page tables cover it without a seam.

/// The fixed places of a region.
public enum RegionLayout {
    /// Where the label stands: who this region is.
    public static let label = ByteRange(start: ByteOffset(0), count: .kibibytes(4))
    /// Where the intent slots stand: what multi-writes are upcoming.
    public static let observerArea = ByteRange(
        start: ByteOffset(4 << 10), count: ByteCount(UInt64(intentSlotCount * intentSlotSize)))
    /// Where the record of the redo area stands.
    public static let redoRecord = ByteRange(start: ByteOffset(8 << 10), count: ByteCount(24))
    /// Where data is put aside before it overwrites the last copy.
    public static let redoData = ByteRange(
        start: ByteOffset(64 << 10), count: .kibibytes(960))
    /// What is old or new, never both, after a writer was killed.
    public static let redoBlock = ByteCount.kibibytes(4)
    /// Where the dirty maps stand: which extents each lost or rebuilding member misses.
    public static let dirtyMaps = ByteRange(start: ByteOffset(1 << 20), count: .mebibytes(1))
    /// The part of one member's map: a header of one cache line, then one bit an extent.
    @usableFromInline static let dirtyMapSize: UInt64 = (1 << 20) / UInt64(MemberIndex.limit)
    @usableFromInline static let dirtyMapHeaderSize: UInt64 = 64
    /// How many 64-bit words a member's map may have.
    public static let mapWordLimit = Int((dirtyMapSize - dirtyMapHeaderSize) / 8)
    /// Where the data starts; everything before it is overhead of the region.
    public static let dataStart = ByteOffset(2 << 20)

    /// How many multi-writes of a set may be in flight at once: one slot each.
    ///
    /// It bounds what a takeover must repair. More would not help: a slot is held for the time of one
    /// write, and 64 of them keep any network busy.
    @inlinable public static var intentSlotCount: Int { 64 }
    /// The size of a slot in bytes: one cache line.
    @inlinable public static var intentSlotSize: Int { 64 }

    /// The largest volume: its extents of the largest size must fit the dirty map.
    public static let largestVolume = ByteCount.gibibytes(64 << 10)
    /// What the size of a volume must be a multiple of.
    public static let volumeGranularity = ByteCount.kibibytes(4)

    /// The size of a region that holds a full copy of a volume of `size`.
    public static func regionSize(forDataOf size: ByteCount) -> ByteCount {
        let unit = ByteCount.mebibytes(2).bytes
        return ByteCount(dataStart.bytes + (size.bytes + unit - 1) / unit * unit)
    }

    /// The granule of rebuild and dirty tracking for a volume of `size`: 256 KiB, or the power of two
    /// that keeps the dirty map within its area.
    ///
    /// 256 KiB takes some 25 µs to copy: short enough to be done between two batches of requests.
    public static func extentSize(forDataOf size: ByteCount) -> ByteCount {
        let extents = UInt64(mapWordLimit) * 64
        var extent = ByteCount.kibibytes(256).bytes
        while size.bytes > extent * extents { extent *= 2 }
        return ByteCount(extent)
    }
}

// MARK: Places

extension RegionLayout {
    /// Where an intent slot starts.
    @inlinable @inline(__always)
    static func intentSlot(_ slot: UInt8) -> ByteOffset {
        precondition(Int(slot) < intentSlotCount, "a slot lies in the observer area")
        return ByteOffset((4 << 10) + UInt64(slot) * UInt64(intentSlotSize))
    }

    @usableFromInline
    static func redoWord(_ index: Int) -> ByteOffset {
        redoRecord.start + ByteCount(UInt64(index) * 8)
    }

    @usableFromInline
    static func mapHeaderWord(_ index: Int, of member: MemberIndex) -> ByteOffset {
        precondition(!member.isTwin, "no region keeps the map of a twin")
        return dirtyMaps.start
            + ByteCount(UInt64(member.number) * dirtyMapSize + UInt64(index) * 8)
    }

    @usableFromInline
    static func mapWord(_ index: Int, of member: MemberIndex) -> ByteOffset {
        precondition(index < mapWordLimit, "a map word lies in its member's map")
        return mapHeaderWord(0, of: member)
            + ByteCount(dirtyMapHeaderSize + UInt64(index) * 8)
    }
}

/// The first words of a region: they tell a region that is what it should be from any other.
public struct RegionLabel: Hashable, Sendable {
    public var volume: VolumeID
    public var region: RegionID
    /// The volume's, when the region was labelled; it may have grown since.
    public var size: ByteCount
    public var epoch: Epoch

    /// How many 64-bit words a label has, its check included.
    public static let wordCount = 9
    static let magic: UInt64 = 0x484f_4c44_4641_5354  // "HOLDFAST"
    /// The version of the layout of regions this code reads and writes.
    public static let version: UInt64 = 1

    public init(volume: VolumeID, region: RegionID, size: ByteCount, epoch: Epoch) {
        self.volume = volume
        self.region = region
        self.size = size
        self.epoch = epoch
    }

    /// The label as it stands in memory; the last word checks the others.
    public var words: InlineArray<9, UInt64> {
        var words = InlineArray<9, UInt64>(repeating: 0)
        words[0] = Self.magic
        words[1] = Self.version
        words[2] = volume.value.high
        words[3] = volume.value.low
        words[4] = region.value.high
        words[5] = region.value.low
        words[6] = size.bytes
        words[7] = epoch.number
        var check = Check()
        for index in 0..<8 { check.add(words[index]) }
        words[8] = check.value
        return words
    }

    /// Reads a label back; nil when the words are not a whole label of this version.
    public init?(words: InlineArray<9, UInt64>) {
        var check = Check()
        for index in 0..<8 { check.add(words[index]) }
        guard words[0] == Self.magic, words[1] == Self.version, words[8] == check.value else {
            return nil
        }
        self.init(
            volume: VolumeID(Identifier(high: words[2], low: words[3])),
            region: RegionID(Identifier(high: words[4], low: words[5])),
            size: ByteCount(words[6]), epoch: Epoch(words[7]))
    }
}

/// A 64-bit check of a few words, against torn and stale ones (not against malice).
///
/// Each step is a bijection of the state for a given word and of the word for a given state
/// (a multiplication by an odd number and a shift-xor), so a single changed word never goes unseen.
@usableFromInline
struct Check {
    @usableFromInline var value: UInt64
    @inlinable init() { value = 0x9e37_79b9_7f4a_7c15 }
    @inlinable mutating func add(_ word: UInt64) {
        value ^= word
        value &*= 0xff51_afd7_ed55_8ccd
        value ^= value >> 32
    }
}

/// The record of the redo area: which piece of the data stands there, whole.
public struct RedoRecord: Hashable, Sendable {
    public var piece: ByteRange

    /// How many 64-bit words a record has, its check included.
    public static let wordCount = 3

    public init(_ piece: ByteRange) { self.piece = piece }

    /// The record as it stands in memory; the last word checks the others.
    public var words: InlineArray<3, UInt64> {
        var check = Check()
        check.add(piece.start.bytes)
        check.add(piece.count.bytes)
        return [piece.start.bytes, piece.count.bytes, check.value]
    }

    /// Reads a record back; nil when there is none, or a half-written one.
    public init?(words: InlineArray<3, UInt64>) {
        let piece = ByteRange(start: ByteOffset(words[0]), count: ByteCount(words[1]))
        var check = Check()
        check.add(words[0])
        check.add(words[1])
        guard words[1] != 0, words[2] == check.value, words[0] <= .max - words[1] else {
            return nil
        }
        self.piece = piece
    }
}

/// A dirty map as it stands in a region.
public struct DirtyMapContent: Hashable, Sendable {
    /// What one bit stands for; it may be another when the volume has grown.
    public var extentSize: ByteCount
    /// One bit an extent, lowest first.
    public var words: [UInt64]

    public init(extentSize: ByteCount, words: [UInt64]) {
        self.extentSize = extentSize
        self.words = words
    }
}

/// The header of a member's dirty map: whose it is, how to read it, and that it is whole.
///
/// It names the region rather than the member, whose index may be used again.
struct DirtyMapHeader {
    var region: RegionID
    var mapWordCount: Int
    var extentSize: ByteCount

    static let wordCount = 5
    /// Where the check stands: what has another one is no header.
    static let checkWord = 3

    init(region: RegionID, wordCount: Int, extentSize: ByteCount) {
        self.region = region
        mapWordCount = wordCount
        self.extentSize = extentSize
    }

    var words: InlineArray<5, UInt64> {
        [region.value.high, region.value.low, UInt64(mapWordCount), check, extentSize.bytes]
    }

    private var check: UInt64 {
        var check = Check()
        check.add(region.value.high)
        check.add(region.value.low)
        check.add(UInt64(mapWordCount))
        check.add(extentSize.bytes)
        return check.value
    }

    init?(words: InlineArray<5, UInt64>) {
        guard let count = Int(exactly: words[2]), words[4] > 0 else { return nil }
        region = RegionID(Identifier(high: words[0], low: words[1]))
        mapWordCount = count
        extentSize = ByteCount(words[4])
        guard check == words[Self.checkWord] else { return nil }
    }
}
