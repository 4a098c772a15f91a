import Simulation
import Synchronization
import Testing

@testable import Simulate

@Suite struct CampaignTests {
    /// A report of one operation and two events; the seed itself is a violation if it `fails`.
    private static func report(_ seed: UInt64, fails: Bool = false) -> RunReport {
        var report = RunReport()
        report.operations = 1
        report.events = 2
        report.probes.hit(.cutRefused)
        if fails { report.violations = ["seed \(seed)"] }
        return report
    }

    @Test(arguments: [1, 2, 7], [1, 5, 1_000] as [UInt64])
    func `every seed is run once`(jobs: Int, count: UInt64) {
        let seen = Mutex<[UInt64]>([])
        let campaign = Campaign(seeds: 10..<10 + count, jobs: jobs) { seed in
            seen.withLock { $0.append(seed) }
            return Self.report(seed)
        }
        let tally = campaign.play {}
        #expect(seen.withLock { $0.sorted() } == Array(10..<10 + count))
        #expect(tally.seeds == Int(count))
        #expect(tally.operations == Int(count))
        #expect(tally.events == 2 * Int(count))
        #expect(tally.probes[.cutRefused] == Int(count))
        #expect(tally.failure == nil)
    }

    @Test(arguments: [1, 2, 7])
    func `the smallest failing seed is told, and larger ones are left`(jobs: Int) {
        let campaign = Campaign(seeds: 0..<1_000_000, jobs: jobs) { seed in
            Self.report(seed, fails: seed >= 500 && seed % 3 == 0)
        }
        let tally = campaign.play {}
        #expect(tally.failure?.seed == 501)
        #expect(tally.failure?.violations == ["seed 501"])
        #expect((501..<2_000).contains(tally.seeds))
    }

    @Test func `a stopped campaign ends early`() {
        let campaign = Campaign(seeds: 0..<1 << 40, jobs: 2) { Self.report($0) }
        let tally = campaign.play { campaign.stop() }
        #expect(tally.seeds < 1 << 30)
        #expect(campaign.running.isEmpty)
    }
}

@Suite struct ProgressLineTests {
    @Test func `a line has all but the bar`() {
        #expect(
            ProgressLine.line(
                title: "simulating", done: 50, of: 200, unit: "seeds", seconds: 10, cells: 0)
                == "simulating  25 %  50 of 200 seeds  5/s  30 s left")
    }

    @Test func `a bar is filled as far as it is done`() {
        #expect(
            ProgressLine.line(title: "x", done: 1, of: 2, unit: "y", seconds: 0, cells: 4)
                == "x  [##..]  50 %  1 of 2 y")
        #expect(
            ProgressLine.line(title: "x", done: 0, of: 0, unit: "y", seconds: 1, cells: 4)
                == "x  [####]  100 %  0 of 0 y")
    }

    @Test(arguments: [(0.2, "1 s"), (80, "1 min 20 s"), (10_900, "3 h 1 min"), (1e12, "very long")])
    func `durations have two units`(seconds: Double, text: String) {
        #expect(duration(seconds) == text)
    }
}
