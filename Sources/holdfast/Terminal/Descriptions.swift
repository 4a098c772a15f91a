// What the commands show to people; `--json` shows the same values as they are.

import Control
import FoundationEssentials
import RemoteMemory

/// Volumes, members, snapshots, appliances and the whole, as lines of text.
enum Description {
    static func volumes(_ volumes: [VolumeStatus]) -> [String] {
        guard !volumes.isEmpty else {
            return [
                "No volumes: create one with 'holdfast volume create NAME --size 1G --layout mirror:3'."
            ]
        }
        var table = Table(
            .left("VOLUME"), .right("SIZE"), .left("LAYOUT"), .left("HEALTH"), .left("MEMBERS"),
            .right("SNAPSHOTS"), .right("CONNECTIONS"))
        for volume in volumes {
            table.add(
                volume.name, "\(volume.sizeBytes)", "\(volume.layout)", volume.health.rawValue,
                members(of: volume), "\(volume.snapshots.count)", "\(volume.connections)")
        }
        return table.lines
    }

    /// Everything about one volume.
    static func volume(_ volume: VolumeStatus) -> [String] {
        let counters = volume.counters
        var lines = [
            "volume       \(volume.name)",
            "id           \(volume.id)",
            "uri          \(volume.uri)",
            "size         \(volume.sizeBytes)",
            "memory       \(reserved(volume))",
            "layout       \(volume.layout), \(volume.ordering.rawValue)",
            "health       \(volume.health.rawValue)",
            "epoch        \(volume.epoch)",
            "connections  \(volume.connections)",
            "reads        \(counters.reads), \(counters.readBytes)",
            "writes       \(counters.writes), \(counters.writtenBytes)",
            "flushes      \(counters.flushes)",
            "discards     \(counters.discards)",
            "errors       \(counters.errors)",
        ]
        if let obstacle = volume.obstacle { lines.append("obstacle     \(obstacle)") }
        if let limits = limits(of: volume) { lines.append("clients      \(limits)") }
        if let limit = volume.rebuildLimit { lines.append("rebuilds     at most \(limit)/s") }
        if let scrub = volume.scrub {
            lines.append(ProgressBar.line(title: "scrub      ", scrub, cells: 0))
        }
        if let generation = volume.generation {
            lines.append(
                ProgressBar.line(
                    title: "snapshot     \(generation.name)", generation.progress, cells: 0))
        }
        lines += [""] + members(volume.members)
        if !volume.snapshots.isEmpty { lines += [""] + snapshots(volume.snapshots) }
        return lines
    }

    /// What the clients of a volume get at most; nil for as much as there is.
    static func limits(of volume: VolumeStatus) -> String? {
        let limits = [
            volume.iopsLimit.map { "\($0) requests/s" }, volume.bandwidthLimit.map { "\($0)/s" },
        ].compactMap { $0 }
        return limits.isEmpty ? nil : "at most \(limits.joined(separator: ", "))"
    }

    /// What all of it takes, and how many times its size that is.
    private static func reserved(_ volume: VolumeStatus) -> String {
        let hundredths = volume.reservedBytes.bytes / max(1, volume.sizeBytes.bytes / 100)
        let fraction = String(hundredths % 100)
        return "\(volume.reservedBytes) when all is written, "
            + "\(hundredths / 100).\(fraction.count < 2 ? "0" : "")\(fraction) times its size"
    }

    static func snapshots(_ snapshots: [SnapshotStatus]) -> [String] {
        guard !snapshots.isEmpty else {
            return ["No snapshots: create one with 'holdfast snapshot create VOLUME SNAPSHOT'."]
        }
        var table = Table(
            .left("SNAPSHOT"), .left("STATE"), .right("SIZE"), .right("RESIDENT"),
            .left("APPLIANCE"),
            .left("CREATED"), .left("URI"))
        for snapshot in snapshots {
            table.add(
                "\(snapshot.volume)@\(snapshot.name)", snapshot.state.rawValue,
                "\(snapshot.sizeBytes)", "\(snapshot.residentBytes)", home(of: snapshot),
                snapshot.createdAt.formatted(.iso8601), snapshot.uri)
        }
        return table.lines
    }

    /// Where a snapshot is; of several regions, how many of them can be reached.
    private static func home(of snapshot: SnapshotStatus) -> String {
        guard let regions = snapshot.regions else { return snapshot.appliance }
        return "\(regions.count(where: \.isReachable)) of \(regions.count)"
    }

    static func appliances(_ appliances: [ApplianceStatus]) -> [String] {
        guard !appliances.isEmpty else {
            return ["No appliances: add one with 'holdfast appliance add NAME ADDRESS'."]
        }
        var table = Table(
            .left("APPLIANCE"), .left("STATE"), .right("CAPACITY"), .right("ALLOCATED"),
            .right("RESIDENT"), .left("FAILURE DOMAIN"), .left("ADDRESS"))
        for appliance in appliances {
            table.add(
                appliance.name, standing(of: appliance), "\(appliance.capacityBytes)",
                "\(appliance.allocatedBytes)", "\(appliance.residentBytes)",
                appliance.failureDomain ?? "", appliance.address)
        }
        return table.lines
    }

    private static func standing(of appliance: ApplianceStatus) -> String {
        guard appliance.isDraining else { return appliance.state.rawValue }
        switch appliance.state {
        case .up: return "draining"
        case .down: return "down, draining"
        }
    }

    static func device(_ status: DeviceStatus, now: Date) -> [String] {
        let running = Text.duration(now.timeIntervalSince(status.startedAt))
        var lines = [
            "client device  process \(status.pid), version \(status.version), running for \(running)",
            "NBD server     \(status.nbd.joined(separator: ", "))",
        ]
        lines += [""] + appliances(status.appliances)
        lines += [""] + volumes(status.volumes)
        let work = status.volumes.flatMap(work)
        if !work.isEmpty { lines += [""] + work }
        let snapshots = status.volumes.flatMap(\.snapshots)
        if !snapshots.isEmpty { lines += [""] + self.snapshots(snapshots) }
        return lines
    }

    private static func members(_ members: [MemberStatus]) -> [String] {
        var table = Table(
            .right("MEMBER"), .left("STATE"), .left("APPLIANCE"), .left("REGION"), .left("REBUILD"))
        for member in members {
            let rebuild = member.rebuild.map { ProgressBar.line(title: "", $0, cells: 0) } ?? ""
            table.add(
                "\(member.index)", member.state.rawValue + (member.isLeaving ? ", leaving" : ""),
                member.appliance + (member.successor.map { " to \($0)" } ?? ""),
                "\(member.region)",
                String(rebuild.drop { $0 == " " }))
        }
        return table.lines
    }

    /// How many of a volume's members can be relied on, such as `2 of 3`.
    private static func members(of volume: VolumeStatus) -> String {
        let active = volume.members.count { $0.state == .active }
        return "\(active) of \(volume.layout.memberCount)"
    }

    /// What is being done for a volume at present, and what keeps more from being done.
    private static func work(on volume: VolumeStatus) -> [String] {
        let rebuild = volume.rebuild.map {
            ProgressBar.line(title: "\(volume.name) rebuild", $0, cells: 24)
        }
        let scrub = volume.scrub.map {
            ProgressBar.line(title: "\(volume.name) scrub", $0, cells: 24)
        }
        let generation = volume.generation.map {
            ProgressBar.line(title: "\(volume.name)@\($0.name)", $0.progress, cells: 24)
        }
        let obstacle = volume.obstacle.map { "\(volume.name) is \(volume.health): \($0)" }
        return [rebuild, scrub, generation, obstacle].compactMap { $0 }
    }
}

extension VolumeStatus {
    /// How far the rebuild of all members that need one is; nil when there is none.
    var rebuild: RebuildProgress? { .sum(members.compactMap(\.rebuild)) }
}
