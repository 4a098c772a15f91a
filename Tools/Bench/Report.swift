// What a run came to: per cell the rounds of both servers, their medians, and the ratios of each
// round (Holdfast / peer, measured seconds apart) with their median and range.

/// A median with the range it comes from.
struct Spread: Encodable, Sendable {
    let median: Double
    let least: Double
    let most: Double

    /// Of at least one value.
    init(_ values: [Double]) {
        precondition(!values.isEmpty, "a spread of nothing")
        let sorted = values.sorted()
        let middle = sorted.count / 2
        median =
            sorted.count.isMultiple(of: 2)
            ? (sorted[middle - 1] + sorted[middle]) / 2 : sorted[middle]
        least = sorted[0]
        most = sorted[sorted.count - 1]
    }
}

/// One server's rounds of one cell.
struct Side: Encodable, Sendable {
    let label: String
    let rounds: [Sample]

    func spread(_ quantity: (Sample) -> Double) -> Spread { Spread(rounds.map(quantity)) }
    func median(_ quantity: (Sample) -> Double) -> Double { spread(quantity).median }

    private enum CodingKeys: String, CodingKey {
        case label, rounds, iops, megabytesPerSecond, p50Microseconds, p99Microseconds
        case p999Microseconds, serverMicroseconds, generatorMicroseconds, processes
    }

    /// The server's time by process: medians over the rounds that had the process.
    var processes: [ProcessShare] {
        var names: [String] = []
        for share in rounds.flatMap(\.processes) where !names.contains(share.process) {
            names.append(share.process)
        }
        return names.map { name in
            let values = rounds.flatMap(\.processes).filter { $0.process == name }
            return ProcessShare(
                process: name, microseconds: Spread(values.map(\.microseconds)).median)
        }
    }

    func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(label, forKey: .label)
        try values.encode(spread(\.iops), forKey: .iops)
        try values.encode(spread(\.megabytesPerSecond), forKey: .megabytesPerSecond)
        try values.encode(spread(\.p50Microseconds), forKey: .p50Microseconds)
        try values.encode(spread(\.p99Microseconds), forKey: .p99Microseconds)
        try values.encode(spread(\.p999Microseconds), forKey: .p999Microseconds)
        try values.encode(spread(\.serverMicroseconds), forKey: .serverMicroseconds)
        try values.encode(spread(\.generatorMicroseconds), forKey: .generatorMicroseconds)
        try values.encode(processes, forKey: .processes)
        try values.encode(rounds, forKey: .rounds)
    }
}

/// Both servers' rounds of one cell.
struct Cell: Encodable, Sendable {
    enum Verdict: String, Encodable { case met, missed, undecided }

    /// Above this share of one core the generator, not the server, may be what limits a cell.
    static let generatorLimitCores = 0.95
    /// Above this share of one core a server that nobody uses disturbs the other's measurement.
    static let bystanderLimitCores = 0.02

    /// Median latencies of different rounds of one server that differ by more than this factor
    /// come from elsewhere.
    static let unsteadyFactor = 1.8

    let name: String
    let usesFio: Bool
    let target: Target?
    let subject: Side
    let peer: Side

    func ratio(_ quantity: (Sample) -> Double) -> Spread {
        Spread(zip(subject.rounds, peer.rounds).map { quantity($0) / quantity($1) })
    }

    /// The ratio that the target is about.
    func ratio(of target: Target) -> Spread {
        switch target.quantity {
        case .throughput: ratio(\.iops)
        case .medianLatency: ratio(\.p50Microseconds)
        }
    }

    /// Whether the median of the rounds meets the target; nil without one.
    ///
    /// Undecided when the rounds disagree and one server's own figures jumped: then the median is luck.
    var verdict: Verdict? {
        guard let target else { return nil }
        if unsteadySide != nil, !areRoundsUnanimous(about: target) { return .undecided }
        return target.isMet(by: ratio(of: target).median) ? .met : .missed
    }

    func areRoundsUnanimous(about target: Target) -> Bool {
        let spread = ratio(of: target)
        return target.isMet(by: spread.least) == target.isMet(by: spread.most)
    }

    /// The side whose median latency varied most between rounds, when that is suspiciously much.
    var unsteadySide: Side? {
        [subject, peer].first {
            let spread = $0.spread(\.p50Microseconds)
            return spread.most > Self.unsteadyFactor * spread.least
        }
    }

    var isGeneratorBound: Bool {
        subject.median(\.generatorCores) > Self.generatorLimitCores
    }

    private enum CodingKeys: String, CodingKey {
        case name, usesFio, target, verdict, throughputRatio, medianLatencyRatio
        case serverProcessorRatio, isGeneratorBound, subject, peer
    }

    func encode(to encoder: any Encoder) throws {
        var values = encoder.container(keyedBy: CodingKeys.self)
        try values.encode(name, forKey: .name)
        try values.encode(usesFio, forKey: .usesFio)
        try values.encodeIfPresent(target?.description, forKey: .target)
        try values.encodeIfPresent(verdict, forKey: .verdict)
        try values.encode(ratio(\.iops), forKey: .throughputRatio)
        try values.encode(ratio(\.p50Microseconds), forKey: .medianLatencyRatio)
        try values.encode(ratio(\.serverMicroseconds), forKey: .serverProcessorRatio)
        try values.encode(isGeneratorBound, forKey: .isGeneratorBound)
        try values.encode(subject, forKey: .subject)
        try values.encode(peer, forKey: .peer)
    }
}

/// The whole run.
struct Report: Encodable, Sendable {
    let machine: String
    let placement: Placement
    let isTiny: Bool
    let subject: String
    let peers: [String]
    let volumeBytes: UInt64
    let rounds: Int
    /// Each workload beside each peer.
    let cells: [Cell]
    /// Nil when they were not counted.
    var systemCalls: [SystemCallCell]?

    func cells(that verdict: Cell.Verdict) -> [Cell] { cells.filter { $0.verdict == verdict } }
}

extension Target: CustomStringConvertible {
    var description: String {
        switch quantity {
        case .throughput: "throughput ≥ \(bound)"
        case .medianLatency: "p50 ≤ \(bound)"
        }
    }
}
