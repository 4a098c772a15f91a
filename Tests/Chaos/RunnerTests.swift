// The chaos runner: which storms it draws, what it makes of a bad run, and a short run of it.

import ArgumentParser
import Foundation
import TestSupport
import Testing

@testable import ChaosRunner

@Suite struct StormTests {
    private func target(
        spare: Int = 2, keepsMemory: Bool = true, hasNetwork: Bool = true
    ) -> StormTarget {
        StormTarget(
            appliances: ["a1", "a2", "a3"], volumes: 3, spare: spare,
            hasNetwork: hasNetwork, canFillRegistry: true, keepsMemory: keepsMemory)
    }

    private func storms(_ target: StormTarget, seed: UInt64 = 1) -> [[ScheduledFault]] {
        var random = SeededGenerator(seed: seed)
        return (0..<2000).map { _ in Storm.draw(against: target, using: &random) }
    }

    @Test func `a seed draws the same storms again, another does not`() {
        #expect(storms(target()) == storms(target()))
        #expect(storms(target()) != storms(target(), seed: 2))
    }

    @Test(arguments: 1...3) func `no storm costs more than a set can spare`(spare: Int) {
        for storm in storms(target(spare: spare)) {
            let cost = storm.map { $0.fault.cost(everything: spare) }.reduce(0, +)
            #expect(cost <= spare)
            #expect(storm == storm.sorted { $0.start < $1.start })
        }
    }

    @Test func `every kind of fault is drawn`() {
        let kinds = Set(storms(target()).joined().map(\.fault.kind))
        #expect(kinds.count == 17, "\(kinds.sorted())")
    }

    @Test func `what a cluster lacks is not drawn`() {
        let modest = target(keepsMemory: false, hasNetwork: false)
        let kinds = Set(storms(modest).joined().map(\.fault.kind))
        #expect(
            kinds.isDisjoint(with: [
                "disturb network", "take link down",
                "restart appliance with its memory",
            ]))
    }
}

@Suite struct ChaosCommandTests {
    @Test(arguments: [
        ["--minutes", "0"], ["--layout", "mirror:1"], ["--layout", "raid:5"],
        ["--appliances", "2"], ["--appliances", "33"], ["--transport", "pigeon"], ["--what"],
        ["--seed", "-1"],
    ])
    func `arguments that make no sense end with status 64`(arguments: [String]) {
        do {
            _ = try ChaosCommand.parse(arguments)
            Issue.record("taken: \(arguments)")
        } catch {
            #expect(ChaosCommand.exitCode(for: error).rawValue == 64)
        }
    }

    @Test func `layouts say how much they can lose`() {
        #expect(ChaosCommand.spareMembers(of: "mirror:3") == 2)
        #expect(ChaosCommand.spareMembers(of: "erasure:4+2") == 2)
        #expect(ChaosCommand.spareMembers(of: "mirror:none") == nil)
    }

    @Test func `a bad run is told with the line to replay it`() throws {
        var outcome = Outcome(
            seed: 17, transport: "tcp", layout: "mirror:2", appliances: 4, hasNetwork: false,
            seconds: 61.5, storms: 2, faults: ["scrub": 2, "take over": 1],
            acknowledgedWrites: 1000, reads: 200, requestErrors: 0, lostConnections: 3,
            findings: [], isInterrupted: false, log: "/tmp/log")
        #expect(
            outcome.summary
                == "2 storms, 3 faults, 1000 writes acknowledged, 200 reads, 0 errors answered, "
                + "3 connections lost, 61 s, seed 17: nothing was wrong")
        outcome.findings = ["block 3 is gone"]
        #expect(
            outcome.summary.hasSuffix(
                "1 WRONG; replay: Tools/chaos --seed 17 --transport tcp --layout mirror:2 "
                    + "--appliances 4 --no-network"))
        let decoded = try JSONDecoder().decode(Outcome.self, from: Data(outcome.json.utf8))
        #expect(decoded == outcome)
    }
}

extension Chaos {
    /// HOLDFAST_CHAOS_SECONDS changes how long all storms take together.
    @Suite(.timeLimit(.minutes(30)))
    struct Storms {
        @Test(arguments: Cluster.Transport.available)
        func `storms lose nothing`(transport: Cluster.Transport) throws {
            let seconds = count("HOLDFAST_CHAOS_SECONDS", default: 180)
            let share = Double(seconds) / Double(Cluster.Transport.available.count)
            let (run, outcome, log) = try play(
                ["--minutes", "\(share / 60)", "--transport", transport.rawValue],
                atMost: .seconds(seconds + 600))
            #expect(run.succeeded, "\(run)\n\(log)")
            #expect(outcome.storms > 0)
            #expect(outcome.acknowledgedWrites > 0)
            #expect(outcome.faults.count > 0)
        }

        @Test func `a wrong block is found`() throws {
            let (run, outcome, _) = try play(
                ["--minutes", "0.01", "--corrupt"], atMost: .seconds(600))
            #expect(run.status == 1, "\(run)")
            #expect(outcome.findings.first?.contains("block 0 holds") == true, "\(run)")
        }

        /// Runs the program, and gives what it said and its log.
        private func play(
            _ arguments: [String], atMost limit: Duration
        ) throws -> (run: ToolRun, outcome: Outcome, log: String) {
            let directory = try TemporaryDirectory()
            let file = directory.file("log")
            let run = try ToolRun(
                [ChaosBinary.path, "--json", "--log", file] + arguments, atMost: limit)
            let outcome = try JSONDecoder().decode(
                Outcome.self, from: Data(run.standardOutput.utf8))
            return (run, outcome, (try? String(contentsOfFile: file, encoding: .utf8)) ?? "")
        }
    }
}
