import TestSupport
import Testing

@Suite struct BlockStampTests {
    private let stamp = BlockStamp(seed: 7)

    private func block(_ number: Int, version: UInt64) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: BlockStamp.blockSize)
        bytes.withUnsafeMutableBytes { stamp.fill($0, block: number, version: version) }
        return bytes
    }

    private func recognise(_ bytes: [UInt8], as number: Int) -> BlockContent {
        bytes.withUnsafeBytes { stamp.recognise($0, block: number) }
    }

    private func isForeign(_ content: BlockContent) -> Bool {
        if case .foreign = content { true } else { false }
    }

    @Test func aStampIsRecognised() {
        #expect(recognise(block(3, version: 9), as: 3) == .version(9))
        #expect(recognise([UInt8](repeating: 0, count: BlockStamp.blockSize), as: 3) == .zero)
    }

    @Test func anotherBlocksOrRunsStampIsForeign() {
        #expect(isForeign(recognise(block(3, version: 9), as: 4)))
        let other = BlockStamp(seed: 8)
        #expect(isForeign(block(3, version: 9).withUnsafeBytes { other.recognise($0, block: 3) }))
    }

    @Test(arguments: [1, 8, 15, 16, 24, 39, 40, 512, 2048, 4088, 4095])
    func aBlockOfTwoVersionsIsTorn(cut: Int) {
        let old = block(3, version: 1)
        let new = block(3, version: 2)
        let torn = Array(new[..<cut] + old[cut...])
        let isOneOfThem = torn == old || torn == new
        #expect(isOneOfThem || isForeign(recognise(torn, as: 3)))
    }

    @Test(arguments: [8, 512, 4088])
    func aBlockHalfWrittenOverZerosIsTorn(cut: Int) {
        let zeros = [UInt8](repeating: 0, count: BlockStamp.blockSize)
        let new = block(3, version: 2)
        #expect(isForeign(recognise(Array(new[..<cut] + zeros[cut...]), as: 3)))
        #expect(isForeign(recognise(Array(zeros[..<cut] + new[cut...]), as: 3)))
    }
}
