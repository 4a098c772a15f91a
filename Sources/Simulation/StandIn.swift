// A stand-in for the world: just enough that everything around it compiles and can be tried.

/// What happens in one run.
public struct Scenario: Sendable, Hashable, CustomStringConvertible {
    /// No scenario has the given name.
    public struct UnknownName: Error, CustomStringConvertible {
        public var description: String {
            "There is no such scenario; choose one of \(Scenario.names.joined(separator: ", "))."
        }
    }

    public static var names: [String] { ["calm", "storm"] }

    public var seed: UInt64
    public var steps: Int
    public var faults = 8

    public init(seed: UInt64, name: String?) throws {
        if let name, !Self.names.contains(name) { throw UnknownName() }
        self.seed = seed
        steps = 1_000
    }

    public var description: String { "seed \(seed), \(steps) steps, \(faults) faults" }

    public func simplifications() -> [Scenario] {
        var smaller: [Scenario] = []
        if faults > 0 {
            smaller.append(self)
            smaller[smaller.count - 1].faults -= 1
        }
        if steps > 1 {
            smaller.append(self)
            smaller[smaller.count - 1].steps /= 2
        }
        return smaller
    }
}

/// What became of a run.
public struct RunReport: Sendable {
    public var violations: [String] = []
    public var operations = 0
    public var events = 0
    public var probes = ProbeCounts()
    public var trace: [String] = []

    public init() {}
}

/// A deliberate mistake, to see that it is found.
public enum Mutation: String, CaseIterable, Sendable, CustomStringConvertible {
    case forgetsIntent
    case acknowledgesEarly

    public var seedsAllowed: Int { 2_000 }

    public var description: String {
        switch self {
        case .forgetsIntent: "A write is sent before its intent."
        case .acknowledgesEarly: "A write is acknowledged before all members hold it."
        }
    }
}

public enum Simulator {
    public static func run(
        _ scenario: Scenario, mutation: Mutation?, isTraced: Bool
    ) -> RunReport {
        var chance = Chance(seed: scenario.seed, stream: "world")
        var report = RunReport()
        var sum: UInt64 = 0
        for step in 0..<scenario.steps {
            sum &+= chance.next()
            report.events += 3
            report.operations += 1
            if isTraced { report.trace.append("\(step): \(sum)") }
            if chance.oneIn(100) { report.probes.hit(chance.pick(from: Probe.allCases)) }
        }
        if mutation != nil, scenario.seed % 700 == 650, scenario.steps > 30 {
            report.violations.append("block 3: something is wrong with \(sum)")
        }
        return report
    }

    public static func exhaustive(progress: (_ explored: Int, _ known: Int) -> Bool) -> RunReport {
        var report = RunReport()
        for index in 1...100 {
            guard progress(index, 100) else { break }
            report.operations += 1
            report.events += 2
        }
        return report
    }
}
