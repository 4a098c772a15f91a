// A client device without any memory behind it: it remembers what it was asked and answers from a
// list of volumes, or with the error a test wants.

import Control
import Foundation
import RemoteMemory

actor FakeDevice: ControlledDevice {
    /// What was asked, in order, as text.
    private(set) var calls: [String] = []
    private var current: DeviceStatus
    private var failure: ControlError?
    private var health = VolumeHealth.healthy
    private var scrubWasSeen = false
    private var isObstructed = false

    init(status: DeviceStatus = .sample, failure: ControlError? = nil) {
        current = status
        self.failure = failure
    }

    /// What the volume's health is to be once its rebuild ends.
    func endRebuild(with health: VolumeHealth) { self.health = health }

    private func note(_ call: String) throws(ControlError) {
        calls.append(call)
        if let failure { throw failure }
    }

    func status() throws(ControlError) -> DeviceStatus {
        try note("status")
        defer {
            for index in current.volumes.indices
            where current.volumes[index].members.contains(where: \.isLeaving) {
                advance(&current.volumes[index])
            }
        }
        return current
    }

    func volumes() throws(ControlError) -> [VolumeStatus] {
        try note("volumes")
        return current.volumes
    }

    /// Each call sees a quarter more of a rebuild done; a scrub ends soon after it was seen.
    func volume(named name: String) throws(ControlError) -> VolumeStatus {
        try note("volume \(name)")
        let index = try self.index(of: name)
        if current.volumes[index].health == .rebuilding { advance(&current.volumes[index]) }
        if current.volumes[index].scrub != nil { scrubWasSeen = true }
        return current.volumes[index]
    }

    func createVolume(_ creation: VolumeCreation) throws(ControlError) -> VolumeStatus {
        let size = creation.size.bytes
        try note("create \(creation.name) \(size) \(creation.layout) \(creation.ordering)")
        var volume = VolumeStatus.sample
        volume.name = creation.name
        volume.sizeBytes = creation.size
        volume.layout = creation.layout
        volume.ordering = creation.ordering
        return volume
    }

    func deleteVolume(named name: String) throws(ControlError) { try note("delete \(name)") }

    /// As `rebuild`: the layout is reached when the rebuild that this starts ends.
    func changeVolume(
        named name: String, _ change: VolumeChange
    ) throws(ControlError) -> VolumeStatus {
        try note("set \(name) \(change.layout)")
        let index = try self.index(of: name)
        current.volumes[index].layout = change.layout
        return startRebuild(of: index)
    }

    func resizeVolume(
        named name: String, _ resize: VolumeResize
    ) throws(ControlError) -> VolumeStatus {
        try note("resize \(name) \(resize.size.bytes)")
        let index = try self.index(of: name)
        current.volumes[index].sizeBytes = resize.size
        return current.volumes[index]
    }

    func limitVolume(
        named name: String, _ change: LimitChange
    ) throws(ControlError) -> VolumeStatus {
        let words = [change.iops.map { "\($0)" }, change.bandwidth.map { "\($0.bytes)" }]
        try note("limit \(name) \(words.map { $0 ?? "nil" }.joined(separator: " "))")
        let index = try self.index(of: name)
        if let iops = change.iops { current.volumes[index].iopsLimit = iops > 0 ? iops : nil }
        if let bandwidth = change.bandwidth {
            current.volumes[index].bandwidthLimit = bandwidth > .zero ? bandwidth : nil
        }
        return current.volumes[index]
    }

    /// The second member is the one that is rebuilt; the one that is moved goes when that ends.
    func moveMember(
        ofVolume volume: String, _ move: MemberMove
    ) throws(ControlError) -> VolumeStatus {
        try note("move \(volume) \(move.from) \(move.to ?? "nil")")
        let index = try self.index(of: volume)
        return startMove(of: index, from: move.from, to: move.to ?? "b")
    }

    /// Every volume's member there is moved, and each status sees a quarter more done.
    func drainAppliance(
        named name: String, _ drain: DrainStart
    ) throws(ControlError) -> ApplianceStatus {
        try note("drain \(name) \(drain.isCancelled)")
        guard let place = current.appliances.firstIndex(where: { $0.name == name }) else {
            throw ControlError(.notFound, "There is no appliance \(name): see 'appliance list'.")
        }
        current.appliances[place].isDraining = !drain.isCancelled
        if !drain.isCancelled {
            for index in current.volumes.indices { _ = startMove(of: index, from: name, to: "b") }
        }
        return current.appliances[place]
    }

    private func startMove(of index: Int, from: String, to: String) -> VolumeStatus {
        for place in current.volumes[index].members.indices
        where current.volumes[index].members[place].appliance == from {
            current.volumes[index].members[place].isLeaving = true
        }
        current.volumes[index].members[1].appliance = to
        return startRebuild(of: index)
    }

    private func startRebuild(of index: Int) -> VolumeStatus {
        guard !isObstructed else { return current.volumes[index] }
        current.volumes[index].health = .rebuilding
        current.volumes[index].members[1].state = .rebuilding
        current.volumes[index].members[1].rebuild = .sample
        return current.volumes[index]
    }

    /// What keeps the volumes' members from being added.
    func obstruct(_ obstacle: String) {
        for index in current.volumes.indices {
            current.volumes[index].obstacle = obstacle
            current.volumes[index].members[1].rebuild = nil
            current.volumes[index].members[1].state = .active
        }
        isObstructed = true
    }

    func appliances() throws(ControlError) -> [ApplianceStatus] {
        try note("appliances")
        return current.appliances
    }

    func addAppliance(_ addition: ApplianceAddition) throws(ControlError) -> ApplianceStatus {
        try note("add \(addition.name) \(addition.address) \(addition.failureDomain ?? "nil")")
        var appliance = ApplianceStatus.sample
        appliance.name = addition.name
        appliance.address = addition.address
        appliance.failureDomain = addition.failureDomain
        return appliance
    }

    func removeAppliance(named name: String) throws(ControlError) { try note("remove \(name)") }

    func snapshots(ofVolume volume: String) throws(ControlError) -> [SnapshotStatus] {
        try note("snapshots \(volume)")
        return [.sample]
    }

    func createSnapshot(
        ofVolume volume: String, _ creation: SnapshotCreation
    ) throws(ControlError) -> CreatedSnapshot {
        try note("cut \(volume) \(creation.name) \(creation.immediate)")
        var snapshot = SnapshotStatus.sample
        snapshot.volume = volume
        snapshot.name = creation.name
        return CreatedSnapshot(snapshot: snapshot, heldMilliseconds: 1.25)
    }

    func deleteSnapshot(named name: String, ofVolume volume: String) throws(ControlError) {
        try note("delete \(volume) \(name)")
    }

    func rebuild(volume: String, _ start: RebuildStart) throws(ControlError) -> VolumeStatus {
        try note("rebuild \(volume) \(start.limit.map { "\($0.bytes)" } ?? "nil")")
        let index = try self.index(of: volume)
        if let limit = start.limit {
            current.volumes[index].rebuildLimit = limit > .zero ? limit : nil
        }
        return startRebuild(of: index)
    }

    func scrub(volume: String) async throws(ControlError) -> ScrubReport {
        try note("scrub \(volume)")
        let index = try self.index(of: volume)
        current.volumes[index].scrub = .sample
        for _ in 0..<500 where !scrubWasSeen { try? await Task.sleep(for: .milliseconds(10)) }
        // What was answered has yet to be shown.
        try? await Task.sleep(for: .milliseconds(300))
        current.volumes[index].scrub = nil
        return ScrubReport(
            volume: volume, membersCompared: 3, comparedBytes: .gibibytes(1),
            mismatchedExtents: volume == "vol0" ? 0 : 2, mendedExtents: volume == "mended" ? 2 : 0,
            firstMismatchOffset: ByteOffset(4096))
    }

    private func index(of name: String) throws(ControlError) -> Int {
        guard let index = current.volumes.firstIndex(where: { $0.name == name }) else {
            throw ControlError(.notFound, "There is no volume \(name): see 'holdfast volume list'.")
        }
        return index
    }

    private func advance(_ volume: inout VolumeStatus) {
        guard var progress = volume.members[1].rebuild else { return }
        progress.doneBytes = min(progress.totalBytes, progress.doneBytes + .mebibytes(256))
        if progress.doneBytes < progress.totalBytes {
            volume.members[1].rebuild = progress
        } else {
            volume.health = health
            volume.members[1].rebuild = nil
            volume.members[1].state = health == .healthy ? .active : .failed
            volume.members.removeAll(where: \.isLeaving)
        }
    }
}

extension DeviceStatus {
    static var sample: DeviceStatus {
        var other = VolumeStatus.sample
        other.name = "vol1"
        return DeviceStatus(
            pid: 4242, version: "1.2.3", startedAt: Date(timeIntervalSince1970: 1_767_323_045),
            nbd: ["unix:/tmp/x/nbd.sock", "tcp:127.0.0.1:10809"],
            appliances: [
                .sample,
                ApplianceStatus(
                    name: "b", address: "tcp:192.0.2.7:7474", state: .down,
                    capacityBytes: .gibibytes(8), allocatedBytes: .zero, residentBytes: .zero),
            ], volumes: [.sample, other])
    }
}

extension ApplianceStatus {
    static var sample: ApplianceStatus {
        ApplianceStatus(
            name: "a", address: "unix:/tmp/x/a.sock", failureDomain: "rack1", state: .up, pid: 7,
            incarnation: Incarnation(Identifier(high: 1, low: 2)), capacityBytes: .gibibytes(4),
            allocatedBytes: .gibibytes(1), residentBytes: .mebibytes(1))
    }
}

extension VolumeStatus {
    static var sample: VolumeStatus {
        VolumeStatus(
            name: "vol0", id: VolumeID(Identifier(high: 0xAB, low: 0xCD)), sizeBytes: .gibibytes(1),
            layout: .mirror(copies: 2), ordering: .parallel, epoch: Epoch(3), health: .degraded,
            uri: "nbd+unix:///vol0?socket=/tmp/x/nbd.sock", connections: 1,
            members: [
                MemberStatus(
                    index: MemberIndex(0), appliance: "a",
                    region: RegionID(Identifier(high: 3, low: 4)), state: .active),
                MemberStatus(
                    index: MemberIndex(1), appliance: "b",
                    region: RegionID(Identifier(high: 5, low: 6)), state: .rebuilding,
                    rebuild: .sample),
            ], snapshots: [.sample],
            counters: VolumeCounters(
                reads: 1, writes: 2, flushes: 3, discards: 4, readBytes: ByteCount(4096),
                writtenBytes: ByteCount(8192), errors: 5))
    }
}

extension RebuildProgress {
    static var sample: RebuildProgress {
        RebuildProgress(
            doneBytes: .mebibytes(256), totalBytes: .gibibytes(1), bytesPerSecond: .mebibytes(128),
            secondsLeft: 6)
    }
}

extension SnapshotStatus {
    static var sample: SnapshotStatus {
        SnapshotStatus(
            name: "s0", volume: "vol0", createdAt: Date(timeIntervalSince1970: 1_767_326_645),
            sizeBytes: .gibibytes(1), appliance: "a",
            uri: "nbd+unix:///vol0@s0?socket=/tmp/x/nbd.sock", state: .ready,
            residentBytes: .kibibytes(12))
    }
}
