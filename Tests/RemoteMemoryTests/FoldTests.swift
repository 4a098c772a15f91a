// The sums that a scrub compares.

import RemoteMemory
import Testing

@Suite struct FoldTests {
    private static func fold(_ blocks: [[UInt8]]) -> [UInt8] {
        var sums = [UInt8](repeating: 0, count: Fold.size)
        sums.withUnsafeMutableBytes { sums in
            guard let base = sums.baseAddress else { return }
            for block in blocks {
                block.withUnsafeBytes { bytes in
                    guard let source = bytes.baseAddress else { return }
                    unsafe Fold.add(source, count: bytes.count, to: base)
                }
            }
        }
        return sums
    }

    private static func block(_ value: UInt8) -> [UInt8] {
        [UInt8](repeating: value, count: Fold.block)
    }

    @Test func `the weighted sum doubles what is there before each block`() {
        let sums = Self.fold([Self.block(0x80), Self.block(1), Self.block(0)])
        #expect(sums[0] == 0x81)
        // 0x80 · 2 is 0x1d in the field; with 1, and once more doubled.
        #expect(sums[Fold.block] == (0x1d ^ 1) << 1)
    }

    @Test func `blocks can be added together or one by one`() {
        let blocks = (0..<9).map { Self.block(UInt8($0 * 29)) }
        #expect(Self.fold(blocks) == Self.fold([blocks.flatMap { $0 }]))
    }

    @Test(arguments: [0, 1, 7, 254, 255, 256, 1000])
    func `zeroes that are not read count like those that are`(count: Int) {
        let start = [Self.block(3), Self.block(0xf1)]
        var sums = Self.fold(start)
        sums.withUnsafeMutableBytes { sums in
            guard let base = sums.baseAddress else { return }
            unsafe Fold.addZeroes(count: count * Fold.block, to: base)
        }
        #expect(sums == Self.fold(start + Array(repeating: Self.block(0), count: count)))
    }

    @Test(arguments: [1, 2, 31, 254])
    func `two equal differences do not cancel each other`(distance: Int) {
        let right = Array(repeating: Self.block(0x42), count: 255)
        var wrong = right
        wrong[0][100] ^= 0x55
        wrong[distance][100] ^= 0x55
        #expect(Self.fold(wrong)[..<Fold.block] == Self.fold(right)[..<Fold.block])
        #expect(Self.fold(wrong) != Self.fold(right))
    }
}
