// One member's memory: the real layout, with the data told by tags.
//
//     label ─ intent slots ─ redo record ─ redo area ─ dirty maps       words, as in a region
//     data                                                              one tag for every 64 bytes
//
// A tag is the id of the write that stored the granule (0: never written), so whatever is read tells
// where it comes from. Accesses go through the same RegionAccess code as in the product; every store of a
// word or granule can be the last one of whoever stores (`StoreBudget`).

import RemoteMemory

/// How many more stores somebody makes before dying in the middle of them.
final class StoreBudget {
    /// `Int.max` for somebody who lives on.
    var left = Int.max
    /// How many were made; counted only while `left` is finite or `isCounting`.
    var made = 0
    var isCounting = false

    /// Whether the next store still happens.
    @inline(__always)
    func spend() -> Bool {
        if left == .max, !isCounting { return true }
        made += 1
        if left == .max { return true }
        guard left > 0 else { return false }
        left -= 1
        return true
    }

    var isSpent: Bool { left == 0 }
}

/// A region, as it lies in an appliance.
final class SimulatedRegion {
    /// What one tag stands for, in bytes: what a processor or NIC stores at once.
    static let granule: UInt64 = 64

    let id: RegionID
    private(set) var dataSize: ByteCount
    /// The tags of the data.
    private(set) var tags: [UInt64]
    private var label = [UInt64](repeating: 0, count: RegionLabel.wordCount)
    private var slots = [UInt64](
        repeating: 0, count: RegionLayout.intentSlotCount * RegionLayout.intentSlotSize / 8)
    private var redo = [UInt64](repeating: 0, count: RedoRecord.wordCount)
    private var aside: [UInt64] = []
    private var maps = [UInt64](repeating: 0, count: MemberIndex.limit * SimulatedRegion.mapStride)
    private static let mapStride = 16

    /// The channel that may access it; all others are refused.
    var channel: Int?
    /// The newest epoch it was opened at.
    var epoch = Epoch(0)

    init(id: RegionID, dataSize: ByteCount) {
        self.id = id
        self.dataSize = dataSize
        tags = Array(repeating: 0, count: Int(dataSize.bytes / Self.granule))
    }

    /// Holds as much from now on, unless it does already; what is new reads as zeroes.
    func grow(to dataSize: ByteCount) {
        guard dataSize > self.dataSize else { return }
        self.dataSize = dataSize
        let count = Int(dataSize.bytes / Self.granule) - tags.count
        tags += Array(repeating: 0, count: count)
    }

    static func granules(_ range: ByteRange) -> Range<Int> {
        Int(range.start.bytes / granule)..<Int(range.end.bytes / granule)
    }

    /// The tags of a range.
    func read(_ range: ByteRange) -> ArraySlice<UInt64> { tags[Self.granules(range)] }

    /// Makes a range what `tags` say.
    func overwrite(_ range: ByteRange, with tags: [UInt64]) {
        for (granule, tag) in zip(Self.granules(range), tags) { self.tags[granule] = tag }
    }

    /// Whether a channel may access it.
    func grants(_ channel: Channel, mutation: Mutation?) -> Bool {
        self.channel == channel.id || mutation == .skipsFencing
    }

    // MARK: Words

    func word(at place: ByteOffset) -> UInt64 {
        switch place.bytes {
        case 0..<4096: label[Int(place.bytes / 8)]
        case 4096..<8192: slots[Int(place.bytes - 4096) / 8]
        case 8192..<65536: redo[Int(place.bytes - 8192) / 8]
        default: maps[Self.mapIndex(place)]
        }
    }

    func setWord(_ word: UInt64, at place: ByteOffset) {
        switch place.bytes {
        case 0..<4096: label[Int(place.bytes / 8)] = word
        case 4096..<8192: slots[Int(place.bytes - 4096) / 8] = word
        case 8192..<65536: redo[Int(place.bytes - 8192) / 8] = word
        default: maps[Self.mapIndex(place)] = word
        }
    }

    private static func mapIndex(_ place: ByteOffset) -> Int {
        let distance = Int(place.bytes - (1 << 20))
        let size = (1 << 20) / MemberIndex.limit
        precondition(distance % size / 8 < mapStride, "a small map is enough for a small volume")
        return distance / size * mapStride + distance % size / 8
    }

    func setTag(_ tag: UInt64, at granule: Int) { tags[granule] = tag }

    /// Stores one tag in a run of granules.
    func fill(_ granules: Range<Int>, _ tag: UInt64) {
        for granule in granules { tags[granule] = tag }
    }

    func setAside(_ tag: UInt64, at granule: Int) {
        while aside.count <= granule { aside.append(0) }
        aside[granule] = tag
    }

    func asideTag(_ granule: Int) -> UInt64 { granule < aside.count ? aside[granule] : 0 }
}

/// What the simulated bytes of a write are: one tag, or the tags copied from another member.
enum TagPayload {
    case uniform(UInt64)
    case copied([UInt64])

    @inline(__always)
    func tag(_ granule: Int) -> UInt64 {
        switch self {
        case .uniform(let tag): tag
        case .copied(let tags): tags[granule]
        }
    }

    /// A check of the data, as an intent carries it where placement has no order.
    func check(count: Int) -> UInt32 {
        switch self {
        case .uniform(let tag): Self.check(repeatElement(tag, count: count))
        case .copied(let tags): Self.check(tags)
        }
    }

    static func check(_ tags: some Sequence<UInt64>) -> UInt32 {
        var value: UInt64 = 0x9e37_79b9
        for tag in tags {
            value = (value ^ tag) &* 0xff51_afd7_ed55_8ccd
            value ^= value >> 32
        }
        return UInt32(truncatingIfNeeded: value) | 1
    }
}

/// Stores into a region one after the other, as long as there is a budget: shared memory, and an appliance
/// that carries a message out.
struct OrderedAccess: RegionAccess {
    let region: SimulatedRegion
    let budget: StoreBudget

    var dataSize: ByteCount { region.dataSize }

    @inline(__always)
    func storeWord(_ word: UInt64, at place: ByteOffset) {
        if budget.spend() { region.setWord(word, at: place) }
    }

    func loadWord(at place: ByteOffset) -> UInt64 { region.word(at: place) }

    @inline(__always)
    func storeData(_ payload: TagPayload, skipping skipped: ByteCount, at range: ByteRange) {
        let granules = SimulatedRegion.granules(range)
        let first = Int(skipped.bytes / SimulatedRegion.granule)
        if budget.left == .max, !budget.isCounting, case .uniform(let tag) = payload {
            return region.fill(granules, tag)
        }
        for (index, granule) in granules.enumerated() where budget.spend() {
            region.setTag(payload.tag(first + index), at: granule)
        }
    }

    func storeAside(_ payload: TagPayload, skipping skipped: ByteCount, count: ByteCount) {
        let first = Int(skipped.bytes / SimulatedRegion.granule)
        for index in 0..<Int(count.bytes / SimulatedRegion.granule) where budget.spend() {
            region.setAside(payload.tag(first + index), at: index)
        }
    }

    func restoreAside(at range: ByteRange) {
        for (index, granule) in SimulatedRegion.granules(range).enumerated()
        where budget.spend() {
            region.setTag(region.asideTag(index), at: granule)
        }
    }

    func barrier() {}
}
