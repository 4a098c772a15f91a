// What may go wrong, or be asked for, in a storm.

import TestSupport

/// One thing that happens to a cluster.
enum Fault: Equatable, Sendable {
    /// kill -9; started again at the end.
    case kill(Cluster.Role)
    /// As `kill`, but an appliance comes back with its memory.
    case restart(String)
    /// SIGSTOP; SIGCONT at the end.
    case suspend(Cluster.Role)
    case suspendAllAppliances
    /// The client device is suspended, another takes over, the former wakes up at the end.
    case takeOver
    /// No byte can be added to the registry's directory until the end.
    case fillRegistry
    case network(host: String, NetworkLab.Direction, PathCondition)
    case linkDown(host: String)
    case createSnapshot(volume: Int, isImmediate: Bool)
    case deleteSnapshot(volume: Int)
    case scrub(volume: Int)
    /// Makes a volume a little larger.
    case resize(volume: Int)
    /// In bytes a second.
    case limitRebuild(volume: Int, limit: Int)
    case addAppliance
    case removeAppliance(String)

    /// The kind by which faults are counted and told.
    var kind: String {
        switch self {
        case .kill(.client): "kill client device"
        case .kill(.appliance): "kill appliance"
        case .restart: "restart appliance with its memory"
        case .suspend(.client): "suspend client device"
        case .suspend(.appliance): "suspend appliance"
        case .suspendAllAppliances: "suspend all appliances"
        case .takeOver: "take over"
        case .fillRegistry: "fill registry directory"
        case .network: "disturb network"
        case .linkDown: "take link down"
        case .createSnapshot: "create snapshot"
        case .deleteSnapshot: "delete snapshot"
        case .scrub: "scrub"
        case .resize: "resize"
        case .limitRebuild: "limit rebuild"
        case .addAppliance: "add appliance"
        case .removeAppliance: "remove appliance"
        }
    }

    /// How many members a set may lose by it at most; `everything` when all may be out of reach.
    ///
    /// A storm that spends no more than the layout can spare must not lose anything.
    func cost(everything: Int) -> Int {
        switch self {
        case .kill(.appliance), .restart, .suspend(.appliance): 1
        case .network(let host, _, _), .linkDown(let host):
            host == Cluster.clientHost ? everything : 1
        case .suspendAllAppliances: everything
        // With members to spare the cut takes one; with none it is replaced before, unless it is urgent.
        case .createSnapshot(_, let isImmediate): isImmediate || everything > 1 ? 1 : 0
        case .kill(.client), .suspend(.client), .takeOver, .fillRegistry, .deleteSnapshot, .scrub,
            .resize, .limitRebuild, .addAppliance, .removeAppliance:
            0
        }
    }

    /// The processes that are left alone by other faults meanwhile.
    var occupied: [Cluster.Role] {
        switch self {
        case .kill(let role), .suspend(let role): [role]
        case .restart(let name), .removeAppliance(let name): [.appliance(name)]
        case .takeOver: [.client]
        case .suspendAllAppliances, .fillRegistry, .network, .linkDown, .createSnapshot,
            .deleteSnapshot, .scrub, .resize, .limitRebuild, .addAppliance:
            []
        }
    }
}

extension Fault: CustomStringConvertible {
    var description: String {
        switch self {
        case .kill(.appliance(let name)), .restart(let name), .suspend(.appliance(let name)),
            .removeAppliance(let name):
            "\(kind) \(name)"
        case .network(let host, let direction, let condition):
            "\(kind), \(direction) of \(host): \(condition)"
        case .linkDown(let host): "\(kind) of \(host)"
        case .createSnapshot(let volume, let isImmediate):
            "\(kind) of v\(volume + 1)" + (isImmediate ? " immediately" : "")
        case .deleteSnapshot(let volume), .scrub(let volume), .resize(let volume):
            "\(kind) of v\(volume + 1)"
        case .limitRebuild(let volume, let limit): "\(kind) of v\(volume + 1) to \(limit) bytes/s"
        case .kill, .suspend, .suspendAllAppliances, .takeOver, .fillRegistry, .addAppliance: kind
        }
    }
}
