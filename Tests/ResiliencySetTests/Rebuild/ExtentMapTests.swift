import RemoteMemory
import ResiliencySet
import Testing

@Suite struct ExtentMapTests {
    @Test(arguments: [1, 63, 64, 65, 127, 128, 129, 1000], [false, true])
    func `it agrees with a plain set`(extents: Int, allSet: Bool) {
        var generator = SplitMix64(seed: UInt64(extents))
        let unit = ByteCount.kibibytes(256)
        let size = ByteCount(UInt64(extents - 1) * unit.bytes + 4096)
        var map = ExtentMap(deviceSize: size, extentSize: unit, allSet: allSet)
        var model = allSet ? Set(0..<extents) : []
        let count = map.extentCount
        #expect(count == extents)
        for _ in 0..<2000 {
            let extent = generator.below(extents)
            if generator.oneIn(2) {
                map.insert(extent)
                model.insert(extent)
            } else {
                map.remove(extent)
                model.remove(extent)
            }
            let setCount = map.setCount
            #expect(setCount == model.count)
            let start = generator.below(extents + 2)
            let next = map.next(from: start)
            #expect(next == model.filter { $0 >= start }.min())
            let first = generator.below(extents)
            let last = first + generator.below(extents - first)
            let range = ByteRange(
                start: ByteOffset(UInt64(first) * unit.bytes),
                count: ByteCount(UInt64(last - first) * unit.bytes + 1))
            let containsAll = map.containsAll(of: range)
            #expect(containsAll == model.isSuperset(of: first...last))
        }
    }

    @Test func `extents tile the device, the last one short`() {
        let map = ExtentMap(
            deviceSize: ByteCount(1_052_672), extentSize: .kibibytes(256), allSet: true)
        let ranges = (0..<map.extentCount).map { map.range(of: $0) }
        #expect(ranges.count == 5)
        #expect(ranges[0] == ByteRange(start: ByteOffset(0), count: .kibibytes(256)))
        #expect(ranges[4] == ByteRange(start: ByteOffset(1 << 20), count: .kibibytes(4)))
        let (next, containsNothing) = (
            map.next(from: 5), map.containsAll(of: ByteRange(start: ByteOffset(0), count: .zero))
        )
        #expect(next == nil && containsNothing)
    }

    /// A map of 130 extents of 4 KiB, some of them set.
    private func map(_ extents: Set<Int>) -> ExtentMap {
        var map = ExtentMap(
            deviceSize: .kibibytes(4 * 130), extentSize: .kibibytes(4), allSet: false)
        for extent in extents { map.insert(extent) }
        return map
    }

    private func words(_ words: UInt64...) -> DirtyMapContent {
        DirtyMapContent(extentSize: .kibibytes(4), words: words)
    }

    private func extents(_ map: borrowing ExtentMap) -> Set<Int> {
        var extents: Set<Int> = []
        for extent in 0..<map.extentCount where map.contains(extent) { extents.insert(extent) }
        return extents
    }

    @Test func `its words are those that stand in a region`() {
        let map = map([0, 63, 64, 129])
        let words = [UInt64(1) << 63 | 1, 1, 0b10]
        let (all, count) = (map.allWords, map.wordCount)
        #expect(all == words && count == 3)
        for index in 0..<3 {
            let word = map.word(index)
            #expect(word == words[index])
        }
    }

    @Test func `merging sets what either has`() {
        var map = map([0, 5, 129])
        map.merge(words(0b10_0010, 1 << 63))
        var (found, count) = (extents(map), map.setCount)
        #expect(found == [0, 1, 5, 127, 129] && count == 5)
        // Words too many, and bits beyond the last extent, are nobody's.
        map.merge(words(0, 0, 0b111, .max))
        (found, count) = (extents(map), map.setCount)
        #expect(found == [0, 1, 5, 127, 128, 129] && count == 6)
    }

    @Test(arguments: [
        (0, 1, [0]), (4095, 1, [0]), (4095, 2, [0, 1]), (4096, 4096, [1]), (4096, 4097, [1, 2]),
        (0, 0, []), (63 * 4096, 8192, [63, 64]),
    ])
    func `a range sets the extents it touches`(start: UInt64, count: UInt64, expected: [Int]) {
        let range = ByteRange(start: ByteOffset(start), count: ByteCount(count))
        var map = map([])
        let touched = map.extents(of: range)
        #expect(touched.map { Array($0) } ?? [] == expected)
        map.insertAll(of: range)
        let (found, setCount) = (extents(map), map.setCount)
        #expect(found == Set(expected) && setCount == expected.count)
        map.insertAll(of: range)
        let again = map.setCount
        #expect(again == expected.count)
    }

    @Test(arguments: [4, 8, 12, 64, 1024] as [UInt64])
    func `a larger device has what was set, and no more than extents make of it`(unit: UInt64) {
        var generator = SplitMix64(seed: unit)
        for _ in 0..<50 {
            let set = Set((0..<generator.below(20)).map { _ in generator.below(130) })
            let size = ByteCount.kibibytes(4 * UInt64(130 + generator.below(200)))
            let grown = map(set).grown(to: size, extentSize: .kibibytes(unit))
            let (found, count) = (extents(grown), grown.setCount)
            #expect(found == Set(set.map { $0 * 4 / Int(unit) }) && count == found.count)
            let (device, extent) = (grown.deviceSize, grown.extentSize)
            #expect(device == size && extent == .kibibytes(unit))
        }
    }

    @Test func `smaller extents are set wherever the larger one reaches`() {
        var map = map([])
        map.merge(DirtyMapContent(extentSize: .kibibytes(256), words: [0b101]))
        let found = extents(map)
        #expect(found == Set(0..<64).union([128, 129]))
    }

    @Test(arguments: [1, 1 << 60, UInt64.max])
    func `an absurd size of extents sets no more than there is`(size: UInt64) {
        var map = map([])
        map.merge(DirtyMapContent(extentSize: ByteCount(size), words: [1, 0, .max]))
        let count = map.setCount
        #expect((1...130).contains(count))
    }

    @Test func `a copy goes its own way`() {
        var map = map([1, 2])
        let copy = map.copy()
        map.remove(1)
        map.insert(3)
        let (old, new) = (extents(copy), extents(map))
        #expect(old == [1, 2] && new == [2, 3])
    }
}
