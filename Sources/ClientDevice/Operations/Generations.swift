// Snapshots of erasure sets: a whole generation of regions is made beside the members, and cut off at one instant.
//
//     twins of all members ──▶ filled while the set is used ──▶ hold, drain, record, release ──▶ served
//
// What is removed is the new generation. The members stay where and what they are, so the set is as redundant as
// before at every moment, and a generation that comes to nothing costs the copying. A snapshot is read as its set
// is: from any K of its regions, which nobody writes any more.

import Appliance
import Control
import Logging
import Registry
import RemoteMemory

extension ClientDevice {
    /// How often it is looked whether a generation is whole.
    private static let generationInterval = Duration.milliseconds(20)

    /// Throws unless a generation can be made now.
    func checkGeneration(
        _ creation: SnapshotCreation, of id: VolumeID
    ) throws(ControlError) {
        guard let volume = volumes[id] else { return }
        let name = volume.record.name
        guard !creation.immediate else {
            throw ControlError(
                .invalid,
                "a snapshot of \(volume.record.layout) is made of regions beside its members, which have to be filled "
                    + "first, and takes no redundancy away: leave --immediate out")
        }
        guard
            volume.activeMembers.filter({ isReachable($0) }).count
                == volume.record.layout.memberCount
        else {
            throw ControlError(
                .unavailable,
                "volume \(name) lacks a member: wait until 'holdfast volume show \(name)' calls it healthy, and try again"
            )
        }
        guard volume.twinning == nil else {
            throw ControlError(
                .conflict, "a member of \(name) is being moved; try again when that has ended")
        }
    }

    /// Makes a generation and cuts it off; returns for how long writes were held, in nanoseconds.
    func cutGeneration(of id: VolumeID, as name: String) async throws -> UInt64 {
        let homes = try await placeGeneration(of: id, as: name)
        try await beginTwins(.snapshot(name: name), of: id, on: homes)
        return try await withCheckedThrowingContinuation { continuation in
            guard volumes[id]?.twinning != nil else {
                // (Over already, one way or the other.)
                guard volumes[id]?.snapshots.contains(where: { $0.name == name }) != true else {
                    return continuation.resume(returning: 0)
                }
                return continuation.resume(
                    throwing: volumes[id]?.twinProblem ?? TwinError.calledOff)
            }
            volumes[id]?.twinning?.finished = continuation
            // (More often than housekeeping does.)
            Task {
                while volumes[id]?.twinning?.purpose == .snapshot(name: name) {
                    await carryTwinsOn(id)
                    try? await Task.sleep(for: Self.generationInterval)
                }
            }
        }
    }

    /// Chooses an appliance for each region of a generation: those without a member of the set, if they suffice;
    /// else any, but none for two.
    private func placeGeneration(
        of id: VolumeID, as name: String
    ) async throws(ControlError) -> [(place: MemberIndex, appliance: String)] {
        guard let volume = volumes[id], let stripes = volume.record.stripes else { return [] }
        let size = RegionLayout.regionSize(forDataOf: volume.record.regionDataSize)
        let all = await candidates(without: [])
        let count = stripes.memberCount
        let elsewhere = try? Placement.choose(
            count, regionsOf: size, among: all,
            excluding: Set(volume.record.members.map(\.appliance)),
            surviving: stripes.parityShards)
        let chosen: [String]
        do throws(PlacementError) {
            chosen =
                if let elsewhere {
                    elsewhere
                } else {
                    try Placement.choose(
                        count, regionsOf: size, among: all, surviving: stripes.parityShards)
                }
        } catch {
            let subject = "snapshot \(volume.record.name)@\(name)"
            guard case .tooFewAppliances(let needed, let found) = error else {
                throw ControlError(error, subject)
            }
            throw ControlError(
                .unavailable,
                "\(subject) needs \(needed) appliances, one for each of its regions, and \(found) are up and not being "
                    + "drained; add one with 'holdfast appliance add'")
        }
        return Placement.spread(
            chosen, beside: stripes.members.map { volume.record.member($0)?.appliance }
        ).enumerated().map { (MemberIndex($0.offset), $0.element) }
    }

    /// Serves a snapshot of an erasure set, or goes on with the regions of it that can be reached again; true when
    /// it was not served before.
    func openGeneration(_ snapshot: SnapshotRecord, of id: VolumeID) async -> Bool {
        guard let volume = volumes[id], let stripes = snapshot.stripes else { return false }
        let export = "\(volume.record.name)@\(snapshot.name)"
        let served = volume.generations[snapshot.name]
        let missing =
            if let served {
                await volume.thread.missingRegions(of: served)
            } else {
                stripes.members
            }
        var memories: [MemberIndex: MemberMemory] = [:]
        for member in snapshot.members where missing.contains(member.index) && isThere(member) {
            guard let link = appliances[member.appliance]?.link else { continue }
            do {
                memories[member.index] = try await link.view(
                    member.region, size: snapshot.regionDataSize)
            } catch {
                log.error("a region of snapshot \(export) on \(member.appliance): \(error)")
            }
        }
        if let served {
            for (member, memory) in memories {
                await volume.thread.restore(memory, as: member, of: served)
            }
            return false
        }
        guard memories.count >= stripes.dataShards else { return false }
        var setup = VolumeSetup(
            id: VolumeID(.random()), name: export, size: snapshot.size, ordering: .parallel,
            epoch: snapshot.cutAtEpoch, patience: configuration.patience, active: memories
        ) { _, _ in }
        setup.origin = id
        setup.stripes = stripes
        setup.limits = volumes[id]?.limits ?? .none
        setup.evictAfter = UInt64(configuration.evictAfter / .nanoseconds(1))
        setup.breaks = { [weak self] _, _, _ in
            Task { await self?.lookAfter(id) }
        }
        await volume.thread.addSnapshot(setup)
        volumes[id]?.generations[snapshot.name] = setup.id
        volumes[id]?.readySnapshots.insert(snapshot.name)
        return true
    }

    /// How a snapshot of an erasure set is, and each of its regions.
    func state(ofGeneration snapshot: SnapshotRecord, isReady: Bool) -> SnapshotState {
        let gone = snapshot.members.filter { isLost($0) }
        let needed = snapshot.membersNeeded
        guard snapshot.members.count - gone.count < needed else {
            let reachable = snapshot.members.count { isThere($0) }
            return isReady && reachable >= needed ? .ready : .waiting
        }
        // What is gone from its appliance may still be mapped by this process, as long as that lives.
        let mapped = gone.count { appliances[$0.appliance]?.link.isRemote == false }
        let left = snapshot.members.count - gone.count + mapped
        return isReady && left >= needed ? .orphaned : .lost
    }

    func regions(ofGeneration snapshot: SnapshotRecord) -> [SnapshotRegionStatus] {
        snapshot.members.map {
            SnapshotRegionStatus(
                index: $0.index, appliance: $0.appliance, region: $0.region,
                isReachable: isThere($0))
        }
    }

    /// How far the generation is that is being made of a volume.
    func generation(of volume: ManagedVolume, _ report: VolumeReport?) -> GenerationStatus? {
        guard let twinning = volume.twinning, case .snapshot(let name) = twinning.purpose else {
            return nil
        }
        return GenerationStatus(
            name: name, appliances: twinning.regions.map(\.appliance),
            progress: RebuildProgress.sum(
                twinning.twins.compactMap { progress(of: $0, volume, report) })
                ?? RebuildProgress(
                    doneBytes: .zero, totalBytes: volume.record.size, bytesPerSecond: .zero))
    }
}
