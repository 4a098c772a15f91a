// The order of a run: fill all volumes, then rounds of cells, each cell on one server after the other.
// What goes first changes every round, so that nobody always follows the same one.

struct Match {
    struct CellPlan {
        let workload: Workload
        let usesFio: Bool

        var name: String { (usesFio ? "fio " : "") + workload.name }
    }

    /// Requests of a cell with `--tiny`, and before it to warm up.
    private static let tinyRequests: UInt64 = 400
    private static let tinyWarmUpRequests: UInt64 = 100
    /// The share of a cell's duration that warms up before it.
    private static let warmUpShare = 0.25

    let subject: Contestant
    /// At least one; each is compared with the subject.
    let peers: [Contestant]
    let cells: [CellPlan]
    let rounds: Int
    let tiny: Bool
    let seconds: Double
    let hasTargets: Bool
    /// How the subject reaches its appliances: its targets differ by that.
    var targets: TargetSet = .sharedMemory
    /// How many of the subject's appliances go once all is written.
    var losses = 0
    let directory: String

    private var contestants: [Contestant] { [subject] + peers }

    func play() throws(BenchError) -> [Cell] {
        for contestant in contestants {
            try contestant.underLoad { () throws(BenchError) in try contestant.fill() }
        }
        try subject.lose(losses)
        // By contestant and cell.
        var samples: [[[Sample]]] = contestants.map { _ in cells.map { _ in [] } }
        for round in 0..<rounds {
            for (index, cell) in cells.enumerated() {
                let seed = UInt64(round * cells.count + index)
                for turn in contestants.indices {
                    let number = (turn + round) % contestants.count
                    samples[number][index].append(try measure(cell, on: number, seed: seed))
                }
                tell(round, cell, samples.map { $0[index][round] })
            }
        }
        return cells.enumerated().flatMap { index, cell in
            peers.enumerated().map { number, peer in
                Cell(
                    name: cell.name, usesFio: cell.usesFio,
                    target: hasTargets && !cell.usesFio
                        ? targets.target(of: cell.workload, beside: peer.kind) : nil,
                    subject: Side(label: subject.label, rounds: samples[0][index]),
                    peer: Side(label: peer.label, rounds: samples[number + 1][index]))
            }
        }
    }

    /// Counts system calls under each cell's workload, on one server after the other.
    func countSystemCalls() throws(BenchError) -> [SystemCallCell] {
        var counted: [SystemCallCell] = []
        for cell in cells where !cell.usesFio {
            for contestant in contestants {
                let counts = try contestant.underLoad { () throws(BenchError) in
                    try contestant.countSystemCalls(
                        cell.workload, tiny: tiny, directory: directory)
                }
                counted.append(
                    SystemCallCell(cell: cell.name, server: contestant.label, processes: counts))
            }
        }
        return counted
    }

    private func measure(
        _ cell: CellPlan, on number: Int, seed: UInt64
    ) throws(BenchError) -> Sample {
        try Interruption.check()
        let contestant = contestants[number]
        let bystanders = contestants.indices.filter { $0 != number }.map { contestants[$0] }
        if cell.usesFio {
            let wholeSeconds = tiny ? 1 : max(1, Int(seconds.rounded()))
            return try contestant.underLoad { () throws(BenchError) in
                try contestant.measureWithFio(
                    cell.workload, seconds: wholeSeconds, seed: seed + 1, directory: directory,
                    bystanders: bystanders)
            }
        }
        let plan =
            tiny
            ? Plan(
                warmUp: .requests(Self.tinyWarmUpRequests), measured: .requests(Self.tinyRequests))
            : Plan(warmUp: .seconds(seconds * Self.warmUpShare), measured: .seconds(seconds))
        return try contestant.underLoad { () throws(BenchError) in
            try contestant.measure(cell.workload, plan: plan, seed: seed, bystanders: bystanders)
        }
    }

    private func tell(_ round: Int, _ cell: CellPlan, _ samples: [Sample]) {
        let rates = contestants.indices.map { number in
            "\(contestants[number].label) \(decimal(samples[number].iops / 1000, 1))k"
        }
        note("round \(round + 1)/\(rounds)  \(cell.name): \(rates.joined(separator: ", "))")
    }
}
