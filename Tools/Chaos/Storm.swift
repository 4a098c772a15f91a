// A storm: some faults, each with its time, that overlap as they like. All of it comes from the seed.
//
//        0 s        1 s        2 s        3 s        4 s
//        |  kill a2 ├───────────────┤ started again
//        |       suspend client device ├──────┤ goes on
//        |                 scrub v1 ├──(until it ends)
//
// What may be lost is bounded: the faults that can cost a set a member are, together, no more than its
// layout can spare, from one calm to the next. Everything else comes on top without a bound.

import TestSupport

/// A fault with its time.
struct ScheduledFault: Equatable, Sendable {
    /// After the storm's beginning.
    let start: Duration
    /// Until it is undone, for faults that are.
    let duration: Duration
    let fault: Fault
}

/// What a storm can happen to.
struct StormTarget: Sendable {
    let appliances: [String]
    let volumes: Int
    /// How many members the sets can lose.
    let spare: Int
    let hasNetwork: Bool
    let canFillRegistry: Bool
    let keepsMemory: Bool
}

enum Storm {
    private static let faultCounts = 1...6
    private static let startMilliseconds = 0...4000
    private static let durationMilliseconds = 20...3000
    /// Draws of a fault before a storm is left as it is: what is too costly is drawn again.
    private static let drawsPerFault = 4

    /// Draws a storm, ordered by time.
    static func draw(
        against target: StormTarget, using random: inout SeededGenerator
    ) -> [ScheduledFault] {
        var budget = target.spare
        var storm: [ScheduledFault] = []
        let count = Int.random(in: faultCounts, using: &random)
        for _ in 0..<count * drawsPerFault where storm.count < count {
            let fault = drawFault(against: target, using: &random)
            let start = Int.random(in: startMilliseconds, using: &random)
            let duration = Int.random(in: durationMilliseconds, using: &random)
            let cost = fault.cost(everything: max(1, target.spare))
            guard cost <= budget else { continue }
            budget -= cost
            storm.append(
                ScheduledFault(
                    start: .milliseconds(start), duration: .milliseconds(duration), fault: fault))
        }
        return storm.sorted { $0.start < $1.start }
    }

    private static func drawFault(
        against target: StormTarget, using random: inout SeededGenerator
    ) -> Fault {
        let appliance = pick(target.appliances, using: &random)
        let volume = Int.random(in: 0..<target.volumes, using: &random)
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<18: return .kill(.client)
        case 18..<34: return .kill(.appliance(appliance))
        case 34..<40:
            return target.keepsMemory ? .restart(appliance) : .kill(.appliance(appliance))
        case 40..<50: return .suspend(.appliance(appliance))
        case 50..<56: return .suspend(.client)
        case 56..<58: return .suspendAllAppliances
        case 58..<62: return target.canFillRegistry ? .fillRegistry : .suspend(.client)
        case 62..<70:
            return .createSnapshot(
                volume: volume, isImmediate: Int.random(in: 0..<4, using: &random) == 0)
        case 70..<74: return .deleteSnapshot(volume: volume)
        case 74..<77: return .scrub(volume: volume)
        case 77..<80: return .resize(volume: volume)
        case 80..<82:
            return .limitRebuild(
                volume: volume, limit: Int.random(in: 1...64, using: &random) << 20)
        case 82..<84: return .addAppliance
        case 84..<86: return .removeAppliance(appliance)
        case 86..<90: return .takeOver
        default:
            guard target.hasNetwork else { return .kill(.appliance(appliance)) }
            return drawNetworkFault(appliance, using: &random)
        }
    }

    private static func drawNetworkFault(
        _ appliance: String, using random: inout SeededGenerator
    ) -> Fault {
        let host = Int.random(in: 0..<4, using: &random) == 0 ? Cluster.clientHost : appliance
        let direction = pick(NetworkLab.Direction.allCases, using: &random)
        var condition = PathCondition()
        switch Int.random(in: 0..<5, using: &random) {
        case 0: return .linkDown(host: host)
        case 1: condition.isCut = true
        case 2: condition.lostPerThousand = Int.random(in: 1...100, using: &random)
        case 3:
            condition.delay = .milliseconds(Int.random(in: 1...50, using: &random))
            condition.jitter = .milliseconds(Int.random(in: 0...20, using: &random))
            condition.overtakingPerThousand = Int.random(in: 0...200, using: &random)
            condition.doubledPerThousand = Int.random(in: 0...50, using: &random)
        default: condition.bytesPerSecond = Int.random(in: 1...20, using: &random) << 20
        }
        return .network(host: host, direction, condition)
    }

    private static func pick<Element>(
        _ elements: [Element], using random: inout SeededGenerator
    ) -> Element {
        elements[Int.random(in: 0..<elements.count, using: &random)]
    }
}
