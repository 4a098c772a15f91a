// The world, run as CI runs it: seeds, small worlds tried out completely, and deliberate mistakes.

import Simulation
import TestSupport
import Testing

/// The simulator as a program: a trap of the engine ends that, not the tests.
private func simulate(_ arguments: String...) throws -> ToolRun {
    try ToolRun([SimulateBinary.path, "--no-shrinking"] + arguments, atMost: .seconds(900))
}

@Suite(.serialized) struct WorldTests {
    @Test func `12,000 seeds keep every promise, and take every rare path`() throws {
        let run = try simulate("--seeds", "12000", "--require-probes")
        #expect(run.succeeded, "\(run)")
    }

    @Test(
        arguments: [
            "shared-memory", "message", "verbs", "rebuild", "partition", "calm", "erasure",
            "twins", "growth",
        ])
    func `each scenario keeps every promise`(name: String) throws {
        let run = try simulate("--seeds", "500", "--first", "500000", "--scenario", name)
        #expect(run.succeeded, "\(run)")
    }

    @Test func `small worlds that go wrong at every single place keep every promise`() throws {
        let run = try simulate("--exhaustive")
        #expect(run.succeeded, "\(run)")
        // (Moves and generations take several turns: stories that end before them would prove nothing.)
        #expect(run.standardOutput.contains(/memberMoved +[1-9]/), "\(run)")
        #expect(run.standardOutput.contains(/generationCut +[1-9]/), "\(run)")
    }

    @Test func `every deliberate mistake is found`() throws {
        let run = try simulate("--mutations")
        #expect(run.succeeded, "\(run)")
    }

    @Test(arguments: 1..<40 as Range<UInt64>)
    func `a seed tells all that happens`(seed: UInt64) throws {
        let scenario = try Scenario(seed: seed, name: nil)
        let first = Simulator.run(scenario, mutation: nil, isTraced: true)
        let second = Simulator.run(scenario, mutation: nil, isTraced: true)
        #expect(first.violations == [])
        #expect(first.trace == second.trace)
        #expect(first.events == second.events)
        #expect(!first.trace.isEmpty)
    }

    @Test func `tracing changes nothing`() throws {
        for seed in 100..<140 as Range<UInt64> {
            let scenario = try Scenario(seed: seed, name: nil)
            let traced = Simulator.run(scenario, mutation: nil, isTraced: true)
            let plain = Simulator.run(scenario, mutation: nil, isTraced: false)
            #expect(traced.events == plain.events)
            #expect(plain.trace.isEmpty)
        }
    }
}
