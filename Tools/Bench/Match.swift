// The order of a run: fill both volumes, then rounds of cells, each cell on one server and then on
// the other. What goes first changes every round, so that neither always follows the other.

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
    let peer: Contestant
    let cells: [CellPlan]
    let rounds: Int
    let tiny: Bool
    let seconds: Double
    let hasTargets: Bool
    let directory: String

    func play() throws(BenchError) -> [Cell] {
        for contestant in [subject, peer] {
            try contestant.underLoad { () throws(BenchError) in try contestant.fill() }
        }
        var subjectSamples: [[Sample]] = cells.map { _ in [] }
        var peerSamples = subjectSamples
        for round in 0..<rounds {
            for (index, cell) in cells.enumerated() {
                let seed = UInt64(round * cells.count + index)
                let isSubjectFirst = round.isMultiple(of: 2)
                for turn in [isSubjectFirst, !isSubjectFirst] {
                    if turn {
                        subjectSamples[index].append(
                            try measure(cell, on: subject, besides: peer, seed: seed))
                    } else {
                        peerSamples[index].append(
                            try measure(cell, on: peer, besides: subject, seed: seed))
                    }
                }
                tell(round, cell, subjectSamples[index][round], peerSamples[index][round])
            }
        }
        return cells.enumerated().map { index, cell in
            Cell(
                name: cell.name, usesFio: cell.usesFio,
                target: hasTargets && !cell.usesFio ? Target.of(cell.workload) : nil,
                subject: Side(label: subject.label, rounds: subjectSamples[index]),
                peer: Side(label: peer.label, rounds: peerSamples[index]))
        }
    }

    private func measure(
        _ cell: CellPlan, on contestant: Contestant, besides bystander: Contestant, seed: UInt64
    ) throws(BenchError) -> Sample {
        try Interruption.check()
        if cell.usesFio {
            let wholeSeconds = tiny ? 1 : max(1, Int(seconds.rounded()))
            return try contestant.underLoad { () throws(BenchError) in
                try contestant.measureWithFio(
                    cell.workload, seconds: wholeSeconds, seed: seed + 1, directory: directory,
                    bystander: bystander)
            }
        }
        let plan =
            tiny
            ? Plan(
                warmUp: .requests(Self.tinyWarmUpRequests), measured: .requests(Self.tinyRequests))
            : Plan(warmUp: .seconds(seconds * Self.warmUpShare), measured: .seconds(seconds))
        return try contestant.underLoad { () throws(BenchError) in
            try contestant.measure(cell.workload, plan: plan, seed: seed, bystander: bystander)
        }
    }

    private func tell(_ round: Int, _ cell: CellPlan, _ ours: Sample, _ theirs: Sample) {
        note(
            "round \(round + 1)/\(rounds)  \(cell.name): \(subject.label) "
                + "\(decimal(ours.iops / 1000, 1))k, \(peer.label) "
                + "\(decimal(theirs.iops / 1000, 1))k")
    }
}
