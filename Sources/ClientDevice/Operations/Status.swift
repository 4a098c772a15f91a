// What there is to show, and where it can be connected to.

import Appliance
import BlockServer
package import Control
import FoundationEssentials
import Glibc
package import Reactor
import Registry
import RemoteMemory
import ResiliencySet

extension ClientDevice {
    package func status() async throws(ControlError) -> DeviceStatus {
        DeviceStatus(
            pid: getpid(), version: configuration.version, startedAt: Self.date(startedAt),
            nbd: await frontDoor.addresses.map {
                Self.uri(of: "", at: $0.address, needsTLS: $0.needsTLS)
            },
            appliances: try await appliances(), volumes: try await volumes())
    }

    func status(ofAppliance name: String) async -> ApplianceStatus? {
        guard let handle = appliances[name] else { return nil }
        let description = handle.isUp ? await refresh(name) : nil
        return ApplianceStatus(
            name: name, address: handle.record.address,
            failureDomain: handle.record.failureDomain, state: description == nil ? .down : .up,
            pid: description.flatMap { $0.bootID == HostMemory.bootID ? $0.processID : nil },
            incarnation: description?.incarnation,
            capacityBytes: description?.capacity ?? .zero,
            allocatedBytes: description?.allocated ?? .zero,
            residentBytes: description?.resident ?? .zero, isDraining: handle.record.isDraining)
    }

    func status(of volume: ManagedVolume) async -> VolumeStatus {
        let report = await volume.thread.report(volume.record.id)
        let counters = report?.counters ?? VolumeCounters()
        return VolumeStatus(
            name: volume.record.name, id: volume.record.id, sizeBytes: volume.record.size,
            layout: volume.record.layout, ordering: volume.record.ordering,
            epoch: volume.record.epoch, health: health(of: volume),
            uri: uri(of: volume.record.name),
            connections: report?.connections ?? 0,
            members: volume.record.members.map { status(of: $0, volume, report) },
            snapshots: await statuses(ofSnapshots: volume),
            counters: Control.VolumeCounters(
                reads: UInt64(counters.reads), writes: UInt64(counters.writes),
                flushes: UInt64(counters.flushes), discards: UInt64(counters.discards),
                readBytes: ByteCount(counters.readBytes),
                writtenBytes: ByteCount(counters.writtenBytes), errors: UInt64(counters.errors)),
            scrub: volume.scrub, generation: generation(of: volume, report),
            rebuildLimit: report?.rebuildLimit, iopsLimit: volume.limits.iops,
            bandwidthLimit: volume.limits.bandwidth, obstacle: volume.obstacle,
            reservedBytes: ByteCount(
                UInt64(volume.record.members.count + (volume.twinning?.regions.count ?? 0))
                    * RegionLayout.regionSize(forDataOf: volume.record.regionDataSize).bytes))
    }

    private func status(
        of member: MemberRecord, _ volume: ManagedVolume, _ report: VolumeReport?
    ) -> MemberStatus {
        // (Of a member that is being moved: that of the region which will take its place.)
        let successor =
            volume.twinning?.purpose == .move(member.index)
            ? volume.twinning?.region(of: member.index) : nil
        let rebuilt = successor == nil ? member.index : member.index.twin
        return MemberStatus(
            index: member.index, appliance: member.appliance, region: member.region,
            state: member.state, isLeaving: isLeaving(member),
            rebuild: member.state == .rebuilding || successor != nil
                ? progress(of: rebuilt, volume, report) : nil,
            successor: successor?.appliance)
    }

    /// How far a member or twin is that is being filled.
    func progress(
        of member: MemberIndex, _ volume: ManagedVolume, _ report: VolumeReport?
    ) -> RebuildProgress? {
        guard let standing = report?.rebuilds[member] else { return nil }
        let speed = volume.samples[member]?.bytesPerSecond ?? 0
        return RebuildProgress(
            doneBytes: standing.total - standing.missing, totalBytes: standing.total,
            bytesPerSecond: ByteCount(UInt64(speed)),
            secondsLeft: speed > 0 ? Double(standing.missing.bytes) / speed : nil)
    }

    func statuses(ofSnapshots volume: ManagedVolume) async -> [SnapshotStatus] {
        var statuses: [SnapshotStatus] = []
        for snapshot in volume.snapshots.sorted(by: { $0.createdAt < $1.createdAt }) {
            statuses.append(await status(of: snapshot, volume))
        }
        return statuses
    }

    func status(of snapshot: SnapshotRecord, _ volume: ManagedVolume) async -> SnapshotStatus {
        let isReady = volume.readySnapshots.contains(snapshot.name)
        let export = "\(volume.record.name)@\(snapshot.name)"
        return SnapshotStatus(
            name: snapshot.name, volume: volume.record.name,
            createdAt: Self.date(snapshot.createdAt), sizeBytes: snapshot.size,
            appliance: snapshot.appliance, uri: uri(of: export),
            state: snapshot.stripes == nil
                ? state(of: snapshot, isReady: isReady)
                : state(ofGeneration: snapshot, isReady: isReady),
            residentBytes: isReady ? await resident(snapshot) : .zero,
            regions: snapshot.stripes == nil ? nil : regions(ofGeneration: snapshot))
    }

    private func state(of snapshot: SnapshotRecord, isReady: Bool) -> SnapshotState {
        guard isGone(snapshot) else { return isReady ? .ready : .waiting }
        // What is gone from its appliance may still be mapped by this process, as long as that lives.
        let isRemote = appliances[snapshot.appliance]?.link.isRemote ?? false
        return isReady && !isRemote ? .orphaned : .lost
    }

    /// Whether its appliance is known not to have its memory any more.
    private func isGone(_ snapshot: SnapshotRecord) -> Bool {
        guard let handle = appliances[snapshot.appliance] else { return true }
        return handle.isDead
            || (handle.description.map { $0.incarnation != snapshot.incarnation } ?? false)
    }

    private func resident(_ snapshot: SnapshotRecord) async -> ByteCount {
        var resident = ByteCount.zero
        for member in snapshot.members where isThere(member) {
            let description = try? await call(member.appliance) {
                connection throws(ApplianceConnectionError) in
                try connection.describe(member.region)
            }
            resident = resident + (description?.resident ?? .zero)
        }
        return resident
    }

    private func health(of volume: ManagedVolume) -> VolumeHealth {
        switch volume.phase {
        case .creating, .waiting, .halted: return .waiting
        case .lost: return .lost
        case .serving:
            guard !volume.activeMembers.isEmpty else { return .lost }
            let reachable = volume.activeMembers.filter { isReachable($0) }.count
            let hasFailed = volume.record.members.contains { $0.state == .failed }
            if reachable >= volume.record.layout.memberCount, !hasFailed { return .healthy }
            return volume.record.members.contains { $0.state == .rebuilding }
                ? .rebuilding : .degraded
        }
    }

    /// Makes the exports that exist now the ones that clients find.
    func publish() async {
        var exports: [(export: Export, thread: DataThread)] = []
        for volume in volumes.values where volume.phase == .serving {
            let record = volume.record
            exports.append(
                (
                    Export(
                        name: record.name, description: "\(record.layout), volume \(record.id)",
                        size: record.size.bytes, isReadOnly: false,
                        snapshots: volume.snapshots.map(\.mark)), volume.thread
                ))
        }
        for volume in volumes.values {
            for (index, snapshot) in volume.snapshots.enumerated()
            where volume.readySnapshots.contains(snapshot.name) {
                exports.append(
                    (
                        Export(
                            name: "\(volume.record.name)@\(snapshot.name)",
                            description: "snapshot of \(volume.record.name)",
                            size: snapshot.size.bytes, isReadOnly: true,
                            snapshots: volume.snapshots[..<index].map(\.mark)), volume.thread
                    ))
            }
        }
        await frontDoor.publish(exports)
    }

    /// Where an export can be connected to, in the first of this device's ways.
    func uri(of export: String) -> String {
        configuration.listeners.first.map { Self.uri(of: export, at: $0.address) } ?? ""
    }

    /// An NBD URI (doc/uri.md of the reference implementation).
    ///
    /// `nbds` has clients fail rather than go on without TLS.
    package static func uri(
        of export: String, at address: Address, needsTLS: Bool = false
    ) -> String {
        let scheme = needsTLS ? "nbds" : "nbd"
        return switch address {
        case .unix(let path): "\(scheme)+unix:///\(escape(export))?socket=\(escape(path))"
        case .tcp(let host, let port):
            "\(scheme)://\(host.contains(":") ? "[\(host)]" : host):\(port)/\(escape(export))"
        }
    }

    /// Percent-encodes all but what stands for itself in a path or query.
    private static func escape(_ text: String) -> String {
        var escaped = ""
        for byte in text.utf8 {
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "."),
                UInt8(ascii: "_"), UInt8(ascii: "~"), UInt8(ascii: "/"), UInt8(ascii: "@"):
                escaped.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                escaped += "%" + (digits.count == 1 ? "0" : "") + digits
            }
        }
        return escaped
    }

    static func date(_ milliseconds: Int64) -> Date {
        Date(timeIntervalSince1970: Double(milliseconds) / 1000)
    }
}

extension SnapshotRecord {
    /// As clients may ask for changes since it.
    fileprivate var mark: SnapshotMark { SnapshotMark(name: name, cut: cutAtEpoch) }
}
