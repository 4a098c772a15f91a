// Restoring the number of members: a new region on another appliance, added as rebuilding.
//
// The registry hears of the new member before its memory is allocated, so that a device that dies in
// between leaves nothing behind that nobody knows of.

import Appliance
import Control
import Logging
import Registry
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport

/// Why a member cannot be added.
enum ReplacementError: Error, CustomStringConvertible {
    case notServing
    case noIndex
    case placement(PlacementError)
    case registry(RegistryError)
    case memory(String)

    var description: String {
        switch self {
        case .notServing: "the volume is not served now; see 'holdfast status'"
        case .noIndex: "the volume has as many members as it can have; wait for its rebuilds"
        case .placement(let error): error.description
        case .registry(let error): "\(error)"
        case .memory(let sentence): sentence
        }
    }
}

extension ClientDevice {
    /// Takes the next step to as many members as the layout wants, as far as appliances allow.
    func replaceMissingMembers(of id: VolumeID) async {
        guard let volume = volumes[id], volume.phase == .serving, !volume.isReplacing,
            volume.cut == nil, !awaitsTwin(volume)
        else { return }
        let step = nextStep(of: volume)
        if step != .add(isUrgent: true) { await forgetFailedMembers(of: id) }
        switch step {
        case .add(let isUrgent):
            if isUrgent, await waitsForMember(of: id) { return }
            await addMissingMember(to: id, isUrgent: isUrgent)
        case .remove(let member, let minimum):
            volumes[id]?.obstacle = nil
            await retire(member, of: id, keeping: minimum)
        case .nothing:
            guard volume.record.stripes == nil || !volume.activeMembers.contains(where: isLeaving)
            else { return await moveLeavingMember(of: id) }
            volumes[id]?.obstacle = nil
        }
    }

    /// A member whose memory is still there misses little: it comes back before another takes its place, and
    /// is waited for.
    private func waitsForMember(of id: VolumeID) async -> Bool {
        if await readmitsMember(to: id, isAskedFor: false) { return true }
        return failedMembers(of: id).contains { mayComeBack($0, to: id) }
    }

    /// Brings a failed member back whose memory is within reach; false when there is none, it failed again, or
    /// it failed too often of late to be tried now unless an operator asks for it.
    func readmitsMember(to id: VolumeID, isAskedFor: Bool) async -> Bool {
        let member = failedMembers(of: id).first {
            isReachable($0) && isRemote($0) && (isAskedFor || mayReturn($0, to: id))
        }
        guard let member else { return false }
        return await readmit(member, to: id)
    }

    private func mayReturn(_ member: MemberRecord, to id: VolumeID) -> Bool {
        volumes[id]?.relapses[member.region]?.mayReturn(at: .now) ?? true
    }

    /// The failed members that the set would have back.
    private func failedMembers(of id: VolumeID) -> [MemberRecord] {
        guard let volume = volumes[id] else { return [] }
        return volume.record.members.filter {
            $0.state == .failed && !isLeaving($0) && !volume.retiring.contains($0.index)
        }
    }

    private func addMissingMember(to id: VolumeID, isUrgent: Bool) async {
        guard let volume = volumes[id], !volume.isReplacing, isUrgent || mayMove(volume) else {
            return
        }
        do throws(ReplacementError) {
            _ = try await addMember(to: id, acceptsCrowding: isUrgent)
            volumes[id]?.obstacle = nil
        } catch {
            if volumes[id]?.obstacle != error.description {
                let trouble = isUrgent ? "stays degraded" : "keeps a member that is to leave"
                log.warning("volume \(volume.record.name) \(trouble): \(error)")
                volumes[id]?.obstacle = error.description
            }
        }
    }

    /// Whether a failed member is still waited for.
    private func mayComeBack(_ member: MemberRecord, to id: VolumeID) -> Bool {
        guard isRemote(member), !isLost(member) else { return false }
        let now = ContinuousClock.now
        let since = volumes[id]?.missingSince[member.index] ?? now
        volumes[id]?.missingSince[member.index] = since
        return now - since < configuration.replaceAfter
    }

    /// Removes members that failed after their replacements had been added.
    private func forgetFailedMembers(of id: VolumeID) async {
        guard let volume = volumes[id], !volume.isReplacing else { return }
        let failed = volume.record.members.filter { $0.state == .failed }
        guard !failed.isEmpty, !volume.activeMembers.isEmpty else { return }
        volumes[id]?.isReplacing = true
        defer { volumes[id]?.isReplacing = false }
        // (Freed first: a region of a member that nobody knows of would be held for ever.)
        for member in failed {
            volumes[id]?.missingSince[member.index] = nil
            if isReachable(member) { await free(member.region, on: member.appliance) }
        }
        do throws(RegistryError) {
            try commit([.remove(failed.map(\.index))], to: id)
        } catch {
            log.error("volume \(volume.record.name): \(error)")
        }
    }

    /// The members that are not failed and whose memory will outlive this process.
    func present(_ volume: ManagedVolume) -> [MemberRecord] {
        volume.liveMembers.filter { !isLost($0) }
    }

    /// Adds a member to be rebuilt, on `appliance` or where placement wants it; when it takes the place of
    /// another, that one is marked as leaving in the same step.
    func addMember(
        to id: VolumeID, on appliance: String? = nil, acceptsCrowding: Bool = true,
        inPlaceOf former: MemberIndex? = nil
    ) async throws(ReplacementError) -> MemberIndex {
        guard let volume = volumes[id], volume.phase == .serving, !volume.isReplacing else {
            throw .notServing
        }
        volumes[id]?.isReplacing = true
        defer { volumes[id]?.isReplacing = false }
        let size = RegionLayout.regionSize(forDataOf: volume.record.regionDataSize)
        let name = try await place(
            size, for: volume, on: appliance, inPlaceOf: former, acceptsCrowding: acceptsCrowding)
        guard let incarnation = appliances[name]?.description?.incarnation else {
            throw .notServing
        }
        let failed = volume.record.members.filter { $0.state == .failed }
        guard let index = volume.record.freeIndex else { throw .noIndex }
        // (The memory of the member before it with this index may not be let go of yet.)
        guard await volume.thread.isVacant(index, of: id) else { throw .notServing }
        let member = MemberRecord(
            index: index, state: .rebuilding, region: RegionID(.random()), appliance: name,
            incarnation: incarnation)
        do throws(RegistryError) {
            let forget: [MembershipChange] = failed.isEmpty ? [] : [.remove(failed.map(\.index))]
            let leave: [MembershipChange] = former.map { [.setLeaving($0, true)] } ?? []
            try commit(forget + leave + [.add(member)], to: id)
        } catch {
            throw .registry(error)
        }
        for other in failed {
            volumes[id]?.missingSince[other.index] = nil
            if isReachable(other) { await free(other.region, on: other.appliance) }
        }
        do {
            let memory = try await makeRegion(member, of: id, populate: false)
            await volume.thread.add(
                memory, identity: member.region, as: index, to: id,
                epoch: volumes[id]?.record.epoch ?? volume.record.epoch)
            await enrolMembers(of: id)
            log.info("volume \(volume.record.name): member \(index) on \(name) is being rebuilt")
            return index
        } catch {
            await forget(member, of: id)
            throw .memory("\(error)")
        }
    }

    func place(
        _ size: ByteCount, for volume: ManagedVolume, on appliance: String?,
        inPlaceOf former: MemberIndex?, acceptsCrowding: Bool
    ) async throws(ReplacementError) -> String {
        let present = present(volume)
        let excluded =
            appliance.map { Set(appliances.keys).subtracting([$0]) }
            ?? Set(present.map(\.appliance))
        let candidates = await candidates(without: excluded)
        do throws(PlacementError) {
            guard appliance == nil else {
                return try Placement.choose(1, regionsOf: size, among: candidates)[0]
            }
            return try Placement.choose(
                1, regionsOf: size, among: candidates,
                beside: present.filter { !isLeaving($0) && $0.index != former }.map {
                    site(of: $0)
                },
                surviving: volume.record.layout.isErasure
                    ? volume.record.layout.lossesSurvived : nil,
                acceptsCrowding: acceptsCrowding)[0]
        } catch {
            throw .placement(error)
        }
    }

    /// Allocates, opens and labels the region of a member that the registry knows.
    func makeRegion(_ member: MemberRecord, of id: VolumeID, populate: Bool) async throws
        -> MemberMemory
    {
        guard let record = volumes[id]?.record else { throw ReplacementError.notServing }
        try await call(member.appliance) { connection throws(ApplianceConnectionError) in
            try connection.allocate(
                member.region, dataSize: record.regionDataSize, populate: populate)
        }
        return try await open(
            member.region, on: member.appliance, epoch: record.epoch,
            size: record.regionDataSize,
            labelling: RegionLabel(
                volume: id, region: member.region, size: record.size, epoch: record.epoch))
    }

    /// Gives a region's memory back, if its appliance is there.
    func free(_ region: RegionID, on appliance: String) async {
        do throws(ApplianceConnectionError) {
            try await call(appliance) { connection throws(ApplianceConnectionError) in
                try connection.free(region)
            }
        } catch {
            if case .refused(.noSuchRegion) = error { return }
            log.warning("region \(region) on \(appliance) is not freed: \(error)")
        }
    }

    private func forget(_ member: MemberRecord, of id: VolumeID) async {
        await free(member.region, on: member.appliance)
        guard let volume = volumes[id] else { return }
        do throws(RegistryError) {
            try commit([.remove([member.index])], to: id)
        } catch {
            log.error("volume \(volume.record.name): \(error)")
        }
    }

    /// Measures how fast rebuilds go, for whoever looks.
    func sampleRebuilds(of id: VolumeID) async {
        guard let volume = volumes[id], volume.phase == .serving,
            volume.twinning != nil
                || volume.liveMembers.contains(where: { $0.state == .rebuilding }),
            let report = await volume.thread.report(id)
        else { return }
        let now = ContinuousClock.now
        for (member, standing) in report.rebuilds {
            let last = volumes[id]?.samples[member]
            var speed = last?.bytesPerSecond ?? 0
            if let last, last.missing >= standing.missing {
                let seconds = (now - last.at) / .seconds(1)
                let current = Double((last.missing - standing.missing).bytes) / max(seconds, 0.001)
                speed = speed == 0 ? current : speed * 0.6 + current * 0.4
            }
            volumes[id]?.samples[member] = ManagedVolume.RebuildSample(
                missing: standing.missing, at: now, bytesPerSecond: speed)
        }
    }
}
