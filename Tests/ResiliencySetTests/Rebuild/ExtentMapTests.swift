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
}
