// Small worlds tried out completely: for a short script, the client device dies at every single step, every
// operation fails once, and the successor dies at every step of its repair; for all numbers of copies,
// orderings and transports. An erasure set also loses every set of members that it is to survive, at the very
// moment at which its device dies.

import RemoteMemory

/// All ways in which a short story can go wrong.
enum Exhaustive {
    /// Writes that overlap, zeroes in several steps, and reads between.
    static let story: [Script.Step] = [
        .request(.write, 0..<2), .request(.write, 1..<4), .request(.read, 0..<2),
        .request(.discard, 0..<6), .request(.write, 2..<3), .request(.zero, 2..<4),
        .request(.write, 0..<8), .request(.read, 0..<8),
    ]

    /// The same for erasure sets, with parts of stripes, a run, and zeroes that are both.
    static let stripedStory: [Script.Step] = [
        .request(.write, 0..<4), .request(.write, 1..<2), .request(.discard, 1..<6),
        .request(.write, 3..<6), .request(.read, 0..<8),
    ]

    /// A member moves, or a generation is cut off, with writes before, between and after its steps.
    static func twinStory(_ purpose: Script.Step) -> [Script.Step] {
        [
            .request(.write, 0..<8), purpose, .rest(2), .request(.write, 1..<4),
            .rest(3), .request(.discard, 0..<6), .rest(3), .request(.write, 3..<5),
            .rest(8), .request(.read, 0..<8),
        ]
    }

    /// A code without and one with a choice of whom to read from.
    static let codes = [
        Scenario.Code(data: 2, parity: 1, chunk: 4096, redoSlots: 2),
        Scenario.Code(data: 2, parity: 2, chunk: 2048, redoSlots: 2),
    ]

    static func run(progress: (_ explored: Int, _ known: Int) -> Bool) -> RunReport {
        var search = Search()
        let worlds = self.worlds
        for (index, world) in worlds.enumerated() {
            guard search.explore(world), progress(index + 1, worlds.count) else { break }
        }
        return search.report
    }

    /// A quiet world for every layout, ordering and transport.
    static var worlds: [Scenario] {
        Scenario.Transport.allCases.flatMap { transport in
            Ordering.allCases.flatMap { ordering in
                let mirrors = (1...3).map { copies in
                    var scenario = Scenario(quiet: transport, ordering, copies: copies)
                    scenario.script = Script(steps: story)
                    return scenario
                }
                func erasureSet(
                    _ code: Scenario.Code, spares: Int, _ steps: [Script.Step]
                ) -> Scenario {
                    var scenario = Scenario(quiet: transport, ordering, copies: 1)
                    scenario.code = code
                    scenario.spares = spares
                    scenario.script = Script(steps: steps)
                    return scenario
                }
                return mirrors + codes.map { erasureSet($0, spares: 0, stripedStory) }
                    + [
                        erasureSet(codes[0], spares: 1, twinStory(.move)),
                        erasureSet(codes[0], spares: 0, twinStory(.snapshot)),
                    ]
            }
        }
    }

    private struct Search {
        var report = RunReport()

        /// Tries all cuts of one world; false when one went wrong.
        mutating func explore(_ scenario: Scenario) -> Bool {
            let calm = World(scenario, mutation: nil, isTraced: false)
            calm.run()
            let events = calm.events
            let stores = calm.devices.first?.budget.made ?? 0
            let operations = calm.messages
            calm.dismantle()
            guard attempt(scenario, .nothing) else { return false }
            let cuts: [Script.Cut] =
                scenario.transport == .sharedMemory
                ? (1...max(1, stores)).map { .store($0) } : (1...events).map { .event($0) }
            for cut in cuts {
                for lost in scenario.losses {
                    guard attempt(scenario, cut, lost: lost) else { return false }
                }
            }
            for number in 1...max(1, operations) {
                for lands in [false, true] {
                    guard attempt(scenario, .operation(number, lands: lands)) else { return false }
                }
            }
            // The successor dies in its repair: at every step of it, for some deaths of the first.
            for cut in cuts.indices where cut % max(1, cuts.count / 16) == 3 {
                for second in 1...(scenario.transport == .sharedMemory ? 160 : 60) {
                    guard attempt(scenario, cuts[cut], second) else { return false }
                }
            }
            return true
        }

        private mutating func attempt(
            _ scenario: Scenario, _ cut: Script.Cut, _ second: Int? = nil, lost: Set<Int> = []
        ) -> Bool {
            var scenario = scenario
            scenario.script?.cut = cut
            scenario.script?.lostWithDevice = lost
            scenario.script?.secondCut = second
            let run = Simulator.run(scenario, mutation: nil, isTraced: false)
            report.operations += run.operations
            report.events += run.events
            report.probes.merge(run.probes)
            guard !run.violations.isEmpty else { return true }
            var place = second.map { ", and the successor at its \($0)th step" } ?? ""
            if !lost.isEmpty { place += ", and appliances \(lost.sorted())" }
            report.violations = run.violations.map { "\(scenario), \(cut)\(place): \($0)" }
            report.trace = Simulator.run(scenario, mutation: nil, isTraced: true).trace
            return false
        }
    }
}

extension Scenario {
    /// What may be lost together with the device, without tearing anything.
    var losses: [Set<Int>] {
        Simulator.subsets(of: code == nil ? 0 : memberCount).filter {
            $0.count <= code?.parity ?? 0
        }
    }

    /// A world without chance but that of latencies.
    init(quiet transport: Transport, _ ordering: Ordering, copies: Int) {
        self.init(seed: UInt64(copies), transport: transport)
        self.ordering = ordering
        self.copies = copies
        spares = 0
        blocks = 8
        blocksPerExtent = 2
        clients = 1
        depth = 1
        faults = []
        faultCount = 0
        mayKeepMemory = false
        hedges = false
        isThrottled = false
        spreadsAlways = true
        steps = 1000
    }
}
