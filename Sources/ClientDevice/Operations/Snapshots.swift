// Snapshots: a region is removed from its set and served by itself. (Of erasure sets: see Generations.)
//
//     [extend by one member, wait until it is whole]  ──▶ hold, drain, record, release ──▶ publish
//
// The extension happens when the removal would leave fewer than two members, unless the operator says
// that this is acceptable. The new member goes to the appliance of the one that will be removed, so that
// copies of the volume stay on different appliances before, during and after.

import Appliance
package import Control
import FoundationEssentials
import Logging
import Registry
import RemoteMemory
import SharedMemoryTransport

/// Why a snapshot was not made.
enum SnapshotError: Error, CustomStringConvertible {
    case memberFailed
    case extensionFailed
    case cannotCut

    var description: String {
        switch self {
        case .memberFailed: "the member that was to become the snapshot failed; try again"
        case .extensionFailed: "the member added before the cut failed; try again"
        case .cannotCut: "the set cannot give a member up now; see 'holdfast status' and try again"
        }
    }
}

extension ClientDevice {
    package func snapshots(ofVolume name: String) async throws(ControlError) -> [SnapshotStatus] {
        let volume = try find(name)
        return await statuses(ofSnapshots: volume)
    }

    package func createSnapshot(
        ofVolume name: String, _ creation: SnapshotCreation
    ) async throws(ControlError) -> CreatedSnapshot {
        let record = try find(name).record
        let id = record.id
        try check(creation.name, id)
        if record.stripes != nil { try checkGeneration(creation, of: id) }
        volumes[id]?.isSnapshotting = true
        defer { volumes[id]?.isSnapshotting = false }
        let held: UInt64
        do {
            if record.stripes != nil {
                held = try await cutGeneration(of: id, as: creation.name)
            } else {
                let member = try await prepareCut(of: id, immediate: creation.immediate)
                held = try await cut(member, of: id, as: creation.name)
            }
        } catch let error as ControlError {
            throw error
        } catch {
            throw ControlError(.failed, "snapshot \(name)@\(creation.name) is not made: \(error)")
        }
        await openSnapshots(of: id)
        await publish()
        let volume = try find(name)
        guard let record = volume.snapshots.first(where: { $0.name == creation.name }) else {
            throw ControlError(.failed, "snapshot \(name)@\(creation.name) was lost at once")
        }
        log.info("snapshot \(name)@\(creation.name) is made; writes were held \(held / 1000) µs")
        Task { await replaceMissingMembers(of: id) }
        return CreatedSnapshot(
            snapshot: await status(of: record, volume), heldMilliseconds: Double(held) / 1_000_000)
    }

    private func check(_ name: String, _ id: VolumeID) throws(ControlError) {
        guard let volume = volumes[id] else { return }
        do throws(RegistryError) {
            try NameRule.check(name, of: .snapshot)
        } catch {
            throw ControlError(error)
        }
        guard !volume.snapshots.contains(where: { $0.name == name }) else {
            throw ControlError(
                .conflict, "\(volume.record.name)@\(name) exists already; choose another name")
        }
        guard volume.phase == .serving else {
            throw ControlError(.unavailable, ReplacementError.notServing.description)
        }
        guard !volume.isSnapshotting else {
            throw ControlError(
                .conflict, "another snapshot of \(volume.record.name) is being made; try again")
        }
        guard !volume.isGrowing else {
            throw ControlError(
                .conflict, "volume \(volume.record.name) is being resized; try again after it")
        }
    }

    /// Chooses the member to remove, and extends the set first when it would become too small.
    private func prepareCut(of id: VolumeID, immediate: Bool) async throws -> MemberIndex {
        guard let volume = volumes[id] else { throw SnapshotError.cannotCut }
        let size = RegionLayout.regionSize(forDataOf: volume.record.size)
        let reachable = volume.activeMembers.filter { isReachable($0) }
        let room = Dictionary(
            await candidates(without: []).map { ($0.name, $0) },
            uniquingKeysWith: { first, _ in first })
        func free(_ member: MemberRecord) -> ByteCount { room[member.appliance]?.free ?? .zero }
        // The highest index among the emptiest: the first member is the one that reads go to.
        guard
            let victim = reachable.filter({ room[$0.appliance] != nil }).max(by: {
                (free($0), $0.index) < (free($1), $1.index)
            }),
            let host = room[victim.appliance]
        else { throw SnapshotError.cannotCut }
        do throws(PlacementError) {
            // Also when nothing is extended the removed member is to be replaced: room for that is
            // needed now, or the volume would stay degraded.
            if !immediate { _ = try Placement.choose(1, regionsOf: size, among: [host]) }
        } catch {
            throw ControlError(.insufficientMemory, error.description)
        }
        let needed = min(2, volume.record.layout.memberCount) + 1
        let isTooSmall = volume.activeMembers.count < (immediate ? 2 : needed)
        if isTooSmall {
            let member = try await addMember(to: id, on: victim.appliance)
            guard await isWhole(member, of: id) else { throw SnapshotError.extensionFailed }
        }
        return victim.index
    }

    /// Waits until a member that is being rebuilt is active; false when it failed instead.
    private func isWhole(_ member: MemberIndex, of id: VolumeID) async -> Bool {
        guard volumes[id]?.record.member(member)?.state == .rebuilding else {
            return volumes[id]?.record.member(member)?.state == .active
        }
        return await withCheckedContinuation { continuation in
            volumes[id]?.promotions[member] = continuation
        }
    }

    /// Cuts a member off; returns for how long writes were held, in nanoseconds.
    private func cut(_ member: MemberIndex, of id: VolumeID, as name: String) async throws -> UInt64
    {
        guard let thread = volumes[id]?.thread else { throw SnapshotError.cannotCut }
        return try await withCheckedThrowingContinuation { continuation in
            volumes[id]?.cut = ManagedVolume.PendingCut(
                member: member, snapshot: name, createdAt: Self.now, finished: continuation)
            Task {
                if await !thread.beginCut(of: member, of: id) {
                    finishCut(of: id, .failure(SnapshotError.cannotCut))
                }
            }
        }
    }

    /// Maps every snapshot whose memory is there and that is not served yet; true when there were any.
    @discardableResult
    func openSnapshots(of id: VolumeID) async -> Bool {
        guard let volume = volumes[id], !volume.isOpeningSnapshots else { return false }
        volumes[id]?.isOpeningSnapshots = true
        defer { volumes[id]?.isOpeningSnapshots = false }
        var hasOpened = false
        for snapshot in volume.snapshots {
            guard snapshot.stripes == nil else {
                if await openGeneration(snapshot, of: id) { hasOpened = true }
                continue
            }
            guard !volume.readySnapshots.contains(snapshot.name),
                appliances[snapshot.appliance]?.isUp == true,
                appliances[snapshot.appliance]?.description?.incarnation == snapshot.incarnation
            else { continue }
            do {
                guard let link = appliances[snapshot.appliance]?.link else { continue }
                let memory = try await link.view(snapshot.region, size: snapshot.size)
                await volume.thread.add(
                    memory, as: SnapshotKey(volume: id, name: snapshot.name),
                    export: "\(volume.record.name)@\(snapshot.name)", size: snapshot.size,
                    cutAt: snapshot.cutAtEpoch, patience: configuration.patience,
                    limits: volumes[id]?.limits ?? .none)
                volumes[id]?.readySnapshots.insert(snapshot.name)
                hasOpened = true
            } catch {
                log.error("snapshot \(volume.record.name)@\(snapshot.name): \(error)")
            }
        }
        return hasOpened
    }

    /// Snapshots whose appliance is out of reach are opened again when it is back.
    func noteBrokenSnapshots(of id: VolumeID) async {
        guard let thread = volumes[id]?.thread else { return }
        for key in await thread.brokenSnapshots() where key.volume == id {
            volumes[id]?.readySnapshots.remove(key.name)
        }
    }

    package func deleteSnapshot(
        named snapshot: String, ofVolume name: String
    ) async throws(ControlError) {
        let volume = try find(name)
        let id = volume.record.id
        let key = SnapshotKey(volume: id, name: snapshot)
        let generation = volume.generations[snapshot]
        let clients =
            if let generation {
                await volume.thread.connectionCount(of: generation)
            } else {
                await volume.thread.connectionCount(of: key)
            }
        guard clients == 0 else {
            throw ControlError(
                .conflict,
                "\(name)@\(snapshot) has \(clients) clients connected; disconnect them first")
        }
        let record: SnapshotRecord
        do throws(RegistryError) {
            record = try registry.deleteSnapshot(of: id, named: snapshot)
        } catch {
            throw ControlError(error)
        }
        volumes[id]?.snapshots.removeAll { $0.name == snapshot }
        volumes[id]?.readySnapshots.remove(snapshot)
        await publish()
        volumes[id]?.generations[snapshot] = nil
        await volume.thread.forgetSnapshot(cutAt: record.cutAtEpoch, of: id)
        if let generation {
            await volume.thread.remove(generation)
        } else {
            await volume.thread.remove(key)
        }
        // (Who is out of reach gives its region back when it answers again.)
        for member in record.members where isThere(member) {
            await free(member.region, on: member.appliance)
        }
        log.info("snapshot \(name)@\(snapshot) is deleted")
    }
}
