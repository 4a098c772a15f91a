import Simulation
import Testing

@Suite struct ProbeTests {
    @Test func `nothing was hit at first`() {
        #expect(ProbeCounts().missing == Probe.allCases)
    }

    @Test func `a hit is counted, and no longer missing`() {
        var counts = ProbeCounts()
        counts.hit(.cutRefused)
        counts.hit(.cutRefused)
        #expect(counts[.cutRefused] == 2)
        #expect(counts[.volumeLost] == 0)
        #expect(counts.missing == Probe.allCases.filter { $0 != .cutRefused })
    }

    @Test func `counts of two runs are added`() {
        var one = ProbeCounts()
        one.hit(.cutRefused)
        var other = ProbeCounts()
        other.hit(.cutRefused)
        other.hit(.volumeLost)
        one.merge(other)
        #expect(one[.cutRefused] == 2)
        #expect(one[.volumeLost] == 1)
    }

    @Test func `places are without gaps`() {
        #expect(Probe.allCases.map { Int($0.rawValue) } == Array(0..<Probe.allCases.count))
    }

    @Test(arguments: Probe.allCases)
    func `a probe has a name and a sentence`(probe: Probe) {
        #expect(probe.description.hasSuffix("."))
        #expect(!probe.name.contains(" "))
    }

    @Test func `a name is that of the case`() {
        #expect(Probe.takeoverDuringRebuild.name == "takeoverDuringRebuild")
    }
}
