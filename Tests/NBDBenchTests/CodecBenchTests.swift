// The codec's benchmark, small, so that it cannot rot.

import Testing

@testable import NBDBench

@Suite struct CodecBenchTests {
    @Test func `every code has figures of its own`() throws {
        let figures = try CodecBench(rounds: 1, seconds: 0.001).measure()
        #expect(figures.map(\.code) == ["2+1", "2+1", "4+2", "4+2", "8+2", "8+2", "10+4", "10+4"])
        for cell in figures {
            #expect(cell.encode > 0 && cell.libraryEncode > 0)
            #expect(cell.update > 0 && cell.reconstruct > 0)
            #expect(cell.ratio == cell.encode / cell.libraryEncode)
        }
        let lines = figures.text.split(separator: "\n")
        #expect(lines.count == figures.count + 1)
        #expect(lines.dropFirst().allSatisfy { $0.contains("≥ 0.80") })
    }
}
