import RemoteMemory
import Testing

@testable import NBDBench

@Suite("A report")
struct ReportTests {
    private func sample(iops: Double, p50: Double, generator: Double = 1) -> Sample {
        Sample(
            requests: UInt64(iops), seconds: 1, blockBytes: 4096, p50Microseconds: p50,
            p99Microseconds: p50, p999Microseconds: p50, serverMicroseconds: 1,
            generatorMicroseconds: generator, bystanderCores: 0)
    }

    private func cell(_ target: Target?, ours: [Sample], theirs: [Sample]) -> Cell {
        Cell(
            name: "cell", usesFio: false, target: target,
            subject: Side(label: "holdfast", rounds: ours),
            peer: Side(label: "nbdkit", rounds: theirs))
    }

    @Test("takes the median of the rounds' ratios, not the ratio of medians")
    func ratio() {
        let cell = cell(
            nil, ours: [10, 40, 90].map { sample(iops: $0, p50: 1) },
            theirs: [10, 10, 45].map { sample(iops: $0, p50: 1) })
        #expect(cell.ratio(\.iops).median == 2)
        #expect(cell.ratio(\.iops).least == 1)
        #expect(cell.ratio(\.iops).most == 4)
        #expect(cell.verdict == nil)
    }

    @Test("wants high throughput and low latency")
    func verdicts() {
        let fast = [sample(iops: 400, p50: 6)]
        let slow = [sample(iops: 100, p50: 10)]
        let throughput = Target(quantity: .throughput, bound: 4)
        let latency = Target(quantity: .medianLatency, bound: 0.6)
        #expect(cell(throughput, ours: fast, theirs: slow).verdict == .met)
        #expect(cell(latency, ours: fast, theirs: slow).verdict == .met)
        #expect(cell(throughput, ours: slow, theirs: fast).verdict == .missed)
        #expect(cell(latency, ours: slow, theirs: fast).verdict == .missed)
    }

    @Test("does not decide by luck: rounds that disagree about a server that jumps")
    func undecided() {
        let latency = Target(quantity: .medianLatency, bound: 0.6)
        let steady = [7, 7, 7].map { sample(iops: 1, p50: $0) }
        let jumping = [10, 41, 43].map { sample(iops: 1, p50: $0) }
        #expect(cell(latency, ours: steady, theirs: jumping).verdict == .undecided)
        let alwaysSlower = [20, 41, 43].map { sample(iops: 1, p50: $0) }
        #expect(cell(latency, ours: steady, theirs: alwaysSlower).verdict == .met)
    }

    @Test("says when the generator is what limits")
    func generatorBound() {
        let peer = [sample(iops: 100_000, p50: 1)]
        let bound = [sample(iops: 500_000, p50: 1, generator: 1.98)]
        let free = [sample(iops: 500_000, p50: 1, generator: 1.2)]
        #expect(cell(nil, ours: bound, theirs: peer).isGeneratorBound)
        #expect(!cell(nil, ours: free, theirs: peer).isGeneratorBound)
    }

    @Test("every standard cell has a target")
    func targets() {
        for workload in Workload.standard {
            #expect(TargetSet.sharedMemory.target(of: workload, beside: .single) != nil)
        }
        for set in [TargetSet.sharedMemory, .tcp] {
            for peer in [PeerKind.single, .quorum] {
                #expect(set.target(of: .filling, beside: peer) == nil)
            }
        }
    }

    @Test("by TCP there are targets beside each peer")
    func networkTargets() {
        let write = Workload(operation: .write, block: .kibibytes(4), depth: 32)
        #expect(TargetSet.tcp.target(of: write, beside: .single)?.bound == 1)
        #expect(TargetSet.tcp.target(of: write, beside: .quorum)?.bound == 15)
        let single = Workload(operation: .write, block: .kibibytes(4), depth: 1)
        #expect(TargetSet.tcp.target(of: single, beside: .quorum)?.quantity == .medianLatency)
        #expect(TargetSet.tcp.target(of: single, beside: .single) == nil)
    }

    @Test(
        "writes decimals",
        arguments: [(1.25, 1, "1.3"), (0.05, 2, "0.05"), (-0.5, 1, "-0.5"), (1999.6, 0, "2000")])
    func decimals(value: Double, places: Int, text: String) {
        #expect(decimal(value, places) == text)
    }

    @Test("aligns columns")
    func table() {
        let table = Table(leadingColumns: 1, rows: [["a", "1"], ["bcd", "µ22"]])
        #expect(table.text == "a      1\nbcd  µ22")
    }
}
