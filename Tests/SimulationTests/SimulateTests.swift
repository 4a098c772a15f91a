// The command: its arguments, what it tells, and what it makes of other processes.

import ArgumentParser
import FoundationEssentials
import Simulation
import Testing

@testable import Simulate

@Suite struct SimulateTests {
    // MARK: Arguments

    @Test(arguments: [
        ["--seed", "1", "--seeds", "2"], ["--seed", "1", "--mutations"],
        ["--mutations", "--exhaustive"], ["--seeds", "0"], ["--seed", "-1"], ["--jobs", "0"],
        ["--jobs", "257"], ["--steps", "0"], ["--scenario", "no such"], ["--mutation", "no such"],
        ["--exhaustive", "--steps", "3"], ["--mutations", "--require-probes"], ["--what"], ["it"],
    ])
    func `arguments that make no sense end with status 64`(arguments: [String]) {
        do {
            _ = try Simulate.parse(arguments)
            Issue.record("taken: \(arguments)")
        } catch {
            #expect(Simulate.exitCode(for: error).rawValue == 64)
        }
    }

    @Test func `every scenario and mutation can be asked for`() throws {
        for name in Scenario.names {
            #expect(try Simulate.parse(["--scenario", name]).scenario == name)
        }
        for mutation in Mutation.allCases {
            let command = try Simulate.parse(["--mutation", mutation.rawValue])
            #expect(command.mutation == mutation)
        }
    }

    @Test func `the line to replay has all that matters`() throws {
        let mutation = try #require(Mutation.allCases.first)
        let plan = SeedRun(scenario: "calm", steps: 3, mutation: mutation)
        #expect(
            plan.replayLine(of: 17)
                == "Tools/simulate --seed 17 --scenario calm --steps 3 --mutation \(mutation.rawValue)"
        )
        #expect(SeedRun().replayLine(of: 17) == "Tools/simulate --seed 17")
    }

    @Test func `a seed runs the same every time`() {
        let plan = SeedRun(steps: 50)
        let runs = (0..<2).map { _ in plan.run(3, isTraced: true) }
        #expect(runs[0].trace == runs[1].trace)
        #expect(!runs[0].trace.isEmpty)
        #expect(runs[0].operations == runs[1].operations)
        #expect(runs[0].events == runs[1].events)
        #expect(runs[0].probes == runs[1].probes)
        #expect(runs[0].violations == runs[1].violations)
    }

    // MARK: What is told

    private func outcome(probes: [Probe] = []) -> Outcome {
        var counts = ProbeCounts()
        for probe in probes { counts.hit(probe) }
        return Outcome(
            commit: "abc", operations: 600, events: 900, probes: counts, processorSeconds: 30,
            seconds: 15.04)
    }

    @Test func `a summary counts`() {
        var outcome = outcome(probes: Probe.allCases.filter { $0 != .cutRefused })
        outcome.seeds = 1
        let lines = outcome.text.split(separator: "\n").map(String.init)
        #expect(lines[0] == "1 seed, 600 operations, 900 events")
        #expect(
            lines[1] == "15.0 s, 30.0 s of processor time, 1200 operations per CPU minute")
        #expect(lines.last == "Rare paths never taken: cutRefused")
        #expect(lines.count == 3 + Probe.allCases.count)
    }

    @Test func `a finding tells the seed, the line to replay, and what is left of it`() {
        let finding = Finding(
            seed: 17, violations: ["Block 3: bad."], replay: "Tools/simulate --seed 17",
            shrunk: "tiny", shrunkViolations: ["Block 0: bad."], trace: ["1: write", "2: read"])
        #expect(
            finding.text(commit: "abc") == """
                FAILED: seed 17, commit abc
                  Block 3: bad.
                Replay: Tools/simulate --seed 17
                Shrunk to: tiny
                  Block 0: bad.
                Its last 2 steps:
                  1: write
                  2: read
                """)
    }

    @Test func `JSON says the same`() throws {
        var outcome = outcome(probes: [.cutRefused])
        outcome.finding = Finding(seed: 1, violations: ["bad"], replay: "again")
        let decoded = try JSONDecoder().decode(Outcome.self, from: Data(try outcome.json.utf8))
        #expect(decoded == outcome)
        #expect(decoded.probes["cutRefused"] == 1)
        #expect(decoded.operationsPerCPUMinute == 1_200)
    }

    // MARK: Mutations

    private func result(_ output: String, status: Int32 = 0, signal: Int32? = nil) throws
        -> MutationResult
    {
        MutationRun.result(
            try #require(Mutation.allCases.first),
            ChildRun(output: output, status: status, signal: signal), seconds: 1)
    }

    @Test func `a violation shows a mutation`() throws {
        var outcome = outcome()
        outcome.seeds = 9
        outcome.finding = Finding(seed: 8, violations: ["bad", "worse"], replay: "again")
        let result = try result(try outcome.json, status: 1)
        #expect(result.isFound)
        #expect(result.seed == 8)
        #expect(result.seeds == 9)
        #expect(result.evidence == "bad")
    }

    @Test func `a broken invariant shows a mutation`() throws {
        let result = try result("{\"trapped\":[12,11]}\n", signal: 4)
        #expect(result.isFound)
        #expect(result.seed == 11)
        #expect(result.evidence == "the engine stopped itself")
    }

    @Test func `nothing else does`() throws {
        #expect(try !result(try outcome().json).isFound)
        #expect(try !result("", signal: 9).isFound)
        #expect(try !result("", status: 64).isFound)
    }

    // MARK: Traps

    @Test func `a trap tells the seeds that ran, as JSON`() async throws {
        let ended = await #expect(
            processExitsWith: .failure, observing: [\.standardOutputContent]
        ) {
            TrapReport.install(replayOptions: "", isJSON: true)
            TrapReport.note(worker: 0, runs: 0)
            TrapReport.note(worker: 1, runs: 1_234_567_890)
            TrapReport.note(worker: 2, runs: 5)
            TrapReport.note(worker: 2, runs: nil)
            preconditionFailure("an invariant")
        }
        let output = String(decoding: try #require(ended).standardOutputContent, as: UTF8.self)
        #expect(output.contains("{\"trapped\":[0,1234567890]}\n"))
    }

    @Test func `a trap tells people how to replay`() async throws {
        let ended = await #expect(processExitsWith: .failure, observing: [\.standardErrorContent]) {
            TrapReport.install(replayOptions: " --steps 3", isJSON: false)
            TrapReport.note(worker: 0, runs: 17)
            preconditionFailure("an invariant")
        }
        let output = String(decoding: try #require(ended).standardErrorContent, as: UTF8.self)
        #expect(output.contains("Tools/simulate --seed 17 --steps 3\n"))
    }
}
