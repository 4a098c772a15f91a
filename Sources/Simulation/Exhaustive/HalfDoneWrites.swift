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
        let codes = [
            Scenario.Code(data: 2, parity: 1, chunk: 4096),
            Scenario.Code(data: 4, parity: 2, chunk: 4096),
        ]
        for transport in Scenario.Transport.allCases {
            for ordering in Ordering.allCases {
                for copies in [2, 3] {
                    progress(rows.count, 24)
                    rows.append(row(Scenario(quiet: transport, ordering, copies: copies)))
                }
                for code in codes {
                    progress(rows.count, 24)
                    var scenario = Scenario(quiet: transport, ordering, copies: 1)
                    scenario.code = code
                    rows.append(row(scenario))
                }
            }
        }
        return rows
    }

    private static func row(_ world: Scenario) -> HalfDoneRow {
        let transport = world.transport
        let count = world.memberCount
        // One copy of a mirror is enough, and K members of an erasure set.
        let most = count - world.layout.membersNeeded
        var row = HalfDoneRow(
            layout: "\(world.layout)", ordering: world.ordering.rawValue,
            transport: transport.rawValue)
        // Latencies differ from seed to seed, and with them what has arrived where.
        for seed in 0..<(transport == .sharedMemory ? 1 : 20 as UInt64) {
            for lost in subsets(of: count) where lost.count <= most {
                var scenario = world
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
            var scenario = world
            scenario.seed = seed
            scenario.script = Script(steps: [
                .request(.write, 0..<2), .lose(Set(count - most..<count)), .request(.write, 0..<2),
            ])
            row.othersLostBefore.formUnion(outcomes(scenario, &row.runs))
        }
        return row
    }

    static func subsets(of count: Int) -> [Set<Int>] {
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
        if let coder { return stripedOutcomes(coder) }
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

    /// The same of an erasure set.
    private func stripedOutcomes(_ coder: StripeCoder) -> Set<HalfDoneOutcome> {
        guard let record = registry.record, let device = devices.last else { return [] }
        let active = record.members.filter { $0.state == .active && region($0) != nil }
        guard active.count >= coder.stripes.dataShards else { return [] }
        var found: Set<HalfDoneOutcome> = []
        for block in 0..<2 {
            let range = ByteRange(
                start: ByteOffset(UInt64(block) * Scenario.blockSize),
                count: ByteCount(Scenario.blockSize))
            let tags = contents(of: range, from: active, coder, by: device)
            switch Set(tags.map { StripedTag.write($0, block: block) }) {
            case [1]: found.insert(.old)
            case [2]: found.insert(.new)
            default: found.insert(.torn)
            }
        }
        return found
    }
}
