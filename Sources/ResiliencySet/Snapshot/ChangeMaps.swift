// What was changed since each snapshot: a backup copies that, and nothing else.
//
//     cut A               cut B               cut C
//       ├──── map of A ─────┼──── map of B ─────┼──── map of C ───▶ now
//
//     changed since A        =  A ∪ B ∪ C
//     changed from A to B    =  A, for good
//     B is deleted           ⇒  the map of A becomes A ∪ B
//
// An extent is marked when a change of it starts, before anybody is asked to carry it out. No change is under way
// at a cut, and those that are held for it start behind it. So what differs from a snapshot is marked behind it,
// and what is marked was written to, if not changed. Where there is no map, all counts as changed.

public import RemoteMemory

/// Bytes that were changed, or were not.
public struct ChangeRun: Hashable, Sendable {
    public var count: ByteCount
    public var isChanged: Bool

    public init(count: ByteCount, isChanged: Bool) {
        self.count = count
        self.isChanged = isChanged
    }
}

/// The maps between the cuts of one device; without snapshots there are none.
struct ChangeMaps: ~Copyable {
    private static let leastExtent = ByteCount.kibibytes(64)
    /// What a map may have, for 128 KiB of memory; extents of larger devices are larger.
    private static let mostExtents: UInt64 = 1 << 20

    /// What was changed from a snapshot on until the next.
    private struct Era {
        let cut: Epoch
        /// Nil when it is not known, and in the last era, which is the one of `current`.
        var words: [UInt64]?
    }

    private(set) var deviceSize: ByteCount
    private(set) var extentSize: ByteCount
    /// In order of their cuts.
    private var eras: [Era] = []
    /// What was changed in the last era; of no size unless it is known.
    private var current: ExtentMap
    /// The last era is known.
    private(set) var isMarking = false

    init(deviceSize: ByteCount, extentSize: ByteCount?) {
        self.deviceSize = deviceSize
        self.extentSize = extentSize ?? Self.usualExtentSize(of: deviceSize)
        current = Self.none(self.extentSize)
    }

    private static func usualExtentSize(of deviceSize: ByteCount) -> ByteCount {
        var extent = leastExtent.bytes
        while (deviceSize.bytes + extent - 1) / extent > mostExtents { extent *= 2 }
        return ByteCount(extent)
    }

    private static func none(_ extentSize: ByteCount) -> ExtentMap {
        ExtentMap(deviceSize: .zero, extentSize: extentSize, allSet: false)
    }

    private func empty() -> ExtentMap {
        ExtentMap(deviceSize: deviceSize, extentSize: extentSize, allSet: false)
    }

    /// A change of `range` starts; only while `isMarking`.
    @inline(__always)
    mutating func mark(_ range: ByteRange) { current.insertAll(of: range) }

    /// A snapshot was cut: the era of the one before it is over.
    mutating func cut(at epoch: Epoch) {
        if isMarking { eras[eras.count - 1].words = current.allWords }
        eras.append(Era(cut: epoch, words: nil))
        current = empty()
        isMarking = true
    }

    /// The device has grown, and perhaps its extents: what is new is in no snapshot, so it was changed.
    mutating func grow(to size: ByteCount, extentSize wanted: ByteCount?) {
        let grain = wanted ?? Self.usualExtentSize(of: size)
        for index in eras.indices {
            guard let words = eras[index].words else { continue }
            var map = ExtentMap(deviceSize: size, extentSize: grain, allSet: false)
            map.merge(DirtyMapContent(extentSize: extentSize, words: words))
            eras[index].words = map.allWords
        }
        if isMarking {
            current = current.grown(to: size, extentSize: grain)
            current.insertAll(
                of: ByteRange(start: ByteOffset(deviceSize.bytes), count: size - deviceSize))
        } else {
            current = Self.none(grain)
        }
        deviceSize = size
        extentSize = grain
    }

    /// A snapshot was deleted: what was changed behind it was changed behind the one before it.
    mutating func forget(_ cut: Epoch) {
        guard let index = eras.firstIndex(where: { $0.cut == cut }) else { return }
        let isLast = index == eras.count - 1
        if index == 0 {
            if isLast { endMarking() }
        } else if let words = eras[index - 1].words {
            if isLast {
                if isMarking { current.merge(words) }
                eras[index - 1].words = nil
            } else {
                eras[index - 1].words = eras[index].words.map { union(words, $0) }
            }
        } else if isLast {
            endMarking()
        }
        eras.remove(at: index)
    }

    private func union(_ left: [UInt64], _ right: [UInt64]) -> [UInt64] {
        zip(left, right).map { $0 | $1 }
    }

    private mutating func endMarking() {
        current = Self.none(extentSize)
        isMarking = false
    }

    /// Begins with snapshots that were cut at `cuts`, and what was `saved` of their maps, if anything was.
    ///
    /// (What was saved of snapshots that are not there any more belongs to those before them.)
    mutating func restore(_ cuts: [Epoch], saved: [SnapshotChanges]) {
        precondition(eras.isEmpty, "maps are restored before anything is cut")
        let known = Set(saved.map(\.cut))
        let isUsable = !cuts.isEmpty && cuts.allSatisfy(known.contains)
        guard isUsable else {
            eras = cuts.sorted().map { Era(cut: $0, words: nil) }
            return
        }
        eras = saved.sorted { $0.cut < $1.cut }.map { Era(cut: $0.cut, words: words(of: $0)) }
        if let words = eras.last?.words {
            current = empty()
            current.merge(words)
            isMarking = true
            eras[eras.count - 1].words = nil
        }
        for cut in known.subtracting(cuts) { forget(cut) }
    }

    /// Nil for a map of another grain or device.
    private func words(of changes: SnapshotChanges) -> [UInt64]? {
        let extents = (deviceSize.bytes + extentSize.bytes - 1) / extentSize.bytes
        guard changes.extentSize == extentSize, let words = changes.words,
            words.count == Int((extents + 63) / 64)
        else { return nil }
        return words
    }

    /// All there is to know, to be restored by whoever has the device next.
    var saved: [SnapshotChanges] {
        eras.indices.map {
            SnapshotChanges(cut: eras[$0].cut, extentSize: extentSize, words: words(in: $0))
        }
    }

    private func words(in index: Int) -> [UInt64]? {
        index == eras.count - 1 ? (isMarking ? current.allWords : nil) : eras[index].words
    }

    /// What of `range` was changed from a cut on, until another or now: from its start on, at most so many runs.
    func runs(
        of range: ByteRange, from cut: Epoch, until end: Epoch?, atMost limit: Int
    ) -> [ChangeRun] {
        guard let extents = current.extents(of: range), let maps = known(from: cut, until: end)
        else { return [ChangeRun(count: range.count, isChanged: true)] }
        // (All eras at once, before runs are looked for: there may be many of both.)
        let first = extents.lowerBound >> 6
        let words = (first...extents.upperBound >> 6).map { word($0, maps) }
        var runs: [ChangeRun] = []
        var place = extents.lowerBound
        var start = range.start.bytes
        while start < range.end.bytes, runs.count < limit {
            let isChanged = words[place >> 6 - first] >> UInt64(place & 63) & 1 == 1
            while place <= extents.upperBound {
                let others = words[place >> 6 - first] ^ (isChanged ? .max : 0)
                let ahead = others & (.max << UInt64(place & 63))
                place = place & ~63 + ahead.trailingZeroBitCount
                if ahead != 0 { break }
            }
            let reached = min(UInt64(place) * extentSize.bytes, range.end.bytes)
            runs.append(ChangeRun(count: ByteCount(reached - start), isChanged: isChanged))
            start = reached
        }
        return runs
    }

    /// The eras between two cuts; nil unless all of them are known.
    private func known(from cut: Epoch, until end: Epoch?) -> Range<Int>? {
        guard let first = eras.firstIndex(where: { $0.cut == cut }) else { return nil }
        var last = eras.count
        if let end {
            guard let found = eras.firstIndex(where: { $0.cut == end }) else { return nil }
            last = found
        }
        guard first < last else { return nil }
        for index in first..<last {
            let isKnown = index == eras.count - 1 ? isMarking : eras[index].words != nil
            guard isKnown else { return nil }
        }
        return first..<last
    }

    /// 64 extents in all of these eras together.
    private func word(_ index: Int, _ maps: Range<Int>) -> UInt64 {
        var bits: UInt64 = 0
        for era in maps {
            bits |= era == eras.count - 1 ? current.word(index) : eras[era].words?[index] ?? .max
        }
        return bits
    }
}

extension ResiliencySet {
    /// What of `range`, which is not empty, was changed from the snapshot on that was cut at `cut`, until the one of
    /// `end` or until now: from its start on, at most `limit` runs, by turns changed and not.
    ///
    /// What is not known counts as changed.
    public func changes(
        in range: ByteRange, since cut: Epoch, until end: Epoch? = nil, atMost limit: Int = .max
    ) -> [ChangeRun] {
        precondition(!range.isEmpty, "there are bytes to be changed")
        return changeMaps.runs(of: range, from: cut, until: end, atMost: limit)
    }

    /// What is known of changes since each snapshot; all of it as soon as nothing is in flight.
    public var savedChanges: [SnapshotChanges] { changeMaps.saved }

    /// Begins with snapshots that were cut at `cuts`, and with what an earlier owner `saved`: of this device, and
    /// nobody may have changed anything since.
    ///
    /// To be called before the first request.
    public mutating func restoreChanges(since cuts: [Epoch], saved: [SnapshotChanges]) {
        changeMaps.restore(cuts, saved: saved)
    }

    /// The snapshot that was cut at `cut` is deleted.
    public mutating func forgetSnapshot(cutAt cut: Epoch) { changeMaps.forget(cut) }
}
