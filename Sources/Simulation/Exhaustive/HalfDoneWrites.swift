// What becomes of a write that was in flight when the client device died, alone or with appliances: every
// cell of the table in Guarantees, found by trying.

import Registry
import RemoteMemory

/// One row of the table.
public struct HalfDoneRow: Sendable {
    public var layout: String
    public var ordering: String
    public var transport: String
    /// What a block of the write was found to be: when no appliance, some, or all others were lost with
    /// the device, and when all others had been lost before.
    public var aloneLost: Set<HalfDoneOutcome> = []
    public var someLost: Set<HalfDoneOutcome> = []
    public var othersLostBefore: Set<HalfDoneOutcome> = []
    public var runs = 0
}

/// What a block of a half-done write is afterwards.
public enum HalfDoneOutcome: String, Sendable, CaseIterable, Comparable {
    case old
    case new
    case torn

    public static func < (left: HalfDoneOutcome, right: HalfDoneOutcome) -> Bool {
        left.rawValue < right.rawValue
    }
}

extension Simulator {
    /// Tries every death in the middle of one write.
    public static func halfDoneWrites(progress: (Int, Int) -> Void) -> [HalfDoneRow] {
        var rows: [HalfDoneRow] = []
        for transport in Scenario.Transport.allCases {
            for ordering in Ordering.allCases {
                for copies in [2, 3] {
                    progress(rows.count, 12)
                    rows.append(row(transport, ordering, copies))
                }
            }
        }
        return rows
    }

    private static func row(
        _ transport: Scenario.Transport, _ ordering: Ordering, _ copies: Int
    ) -> HalfDoneRow {
        var row = HalfDoneRow(
            layout: "mirror:\(copies)", ordering: ordering.rawValue,
            transport: transport.rawValue)
        // Latencies differ from seed to seed, and with them what has arrived where.
        for seed in 0..<(transport == .sharedMemory ? 1 : 20 as UInt64) {
            for lost in subsets(of: copies) where lost.count < copies {
                var scenario = Scenario(quiet: transport, ordering, copies: copies)
                scenario.seed = seed
                scenario.script = Script(steps: [
                    .request(.write, 0..<2), .request(.write, 0..<2),
                ])
                scenario.script?.lostWithDevice = lost
                let found = outcomes(scenario, &row.runs)
                if lost.isEmpty {
                    row.aloneLost.formUnion(found)
                } else {
                    row.someLost.formUnion(found)
                }
            }
            var scenario = Scenario(quiet: transport, ordering, copies: copies)
            scenario.seed = seed
            scenario.script = Script(steps: [
                .request(.write, 0..<2), .lose(Set(1..<copies)), .request(.write, 0..<2),
            ])
            row.othersLostBefore.formUnion(outcomes(scenario, &row.runs))
        }
        return row
    }

    private static func subsets(of count: Int) -> [Set<Int>] {
        (0..<1 << count).map { bits in Set((0..<count).filter { bits & (1 << $0) != 0 }) }
    }

    /// What the blocks of the last write are after a death at each step of it.
    private static func outcomes(_ scenario: Scenario, _ runs: inout Int) -> Set<HalfDoneOutcome> {
        let calm = World(scenario, mutation: nil, isTraced: false)
        calm.run()
        let steps =
            scenario.transport == .sharedMemory
            ? 1...max(1, calm.devices.first?.budget.made ?? 0) : calm.lastWrite
        calm.dismantle()
        var found: Set<HalfDoneOutcome> = []
        for step in steps {
            var scenario = scenario
            scenario.script?.cut = scenario.transport == .sharedMemory ? .store(step) : .event(step)
            let world = World(scenario, mutation: nil, isTraced: false)
            world.run()
            runs += 1
            found.formUnion(world.outcomesOfLastWrite)
            world.dismantle()
        }
        return found
    }
}

extension World {
    /// What was read at the end of the blocks of the second write, if it was in flight at the death.
    fileprivate var outcomesOfLastWrite: Set<HalfDoneOutcome> {
        guard ledger.writes.count == 2, !ledger.writes[1].isAcknowledged else { return [] }
        let granules = Int(Scenario.blockSize / SimulatedRegion.granule)
        guard let record = registry.record,
            let region = record.members.first(where: { $0.state == .active }).flatMap({ region($0) }
            )
        else { return [] }
        var found: Set<HalfDoneOutcome> = []
        for block in 0..<2 {
            switch Set(region.tags[block * granules..<(block + 1) * granules]) {
            case [1]: found.insert(.old)
            case [2]: found.insert(.new)
            default: found.insert(.torn)
            }
        }
        return found
    }
}
