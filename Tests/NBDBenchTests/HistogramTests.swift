import Testing

@testable import NBDBench

@Suite("A histogram of latencies")
struct HistogramTests {
    @Test(
        "keeps every value to within 1.6 %",
        arguments: [
            0, 1, 127, 128, 129, 255, 256, 4_095, 25_000, 1_000_003, 1 << 40, UInt64.max >> 1, .max,
        ])
    func precision(value: UInt64) {
        var histogram = Histogram()
        histogram.record(value)
        let kept = histogram.quantile(0.5)
        let error = kept > value ? kept - value : value - kept
        #expect(Double(error) <= Double(value) / 64)
    }

    @Test("gives each value a bucket, in order")
    func order() {
        var last = -1
        for value in (0..<100_000).map({ UInt64($0) * 37 }) {
            let index = Histogram.index(of: value)
            #expect(index >= last)
            last = index
        }
        #expect(Histogram.index(of: 127) + 1 == Histogram.index(of: 128))
    }

    @Test("tells the quantiles of what was recorded")
    func quantiles() {
        var histogram = Histogram()
        #expect(histogram.quantile(0.5) == 0)
        for value in 1...1000 { histogram.record(UInt64(value)) }
        #expect((492...508).contains(histogram.quantile(0.5)))
        #expect((975...1005).contains(histogram.quantile(0.99)))
        #expect((985...1015).contains(histogram.quantile(1)))
        histogram.reset()
        #expect(histogram.count == 0)
        #expect(histogram.quantile(0.99) == 0)
    }
}
