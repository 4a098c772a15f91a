// Taking over a set: the registry first, then the fence, then the record of who is missing, then repair.
//
//     registry: epoch + 1, owner = this process ──▶ every active member opened at that epoch, or failed
//       ──▶ the failures recorded ──▶ half-done writes repaired ──▶ served
//
// Opening a region proves that its previous owner's process is gone (G4); a member that cannot be opened
// is recorded as failed before the first request is served (G5). When none can be opened the set waits,
// unless the memory of every one is known to be lost.

import Appliance
import Glibc
import Logging
import Registry
import RemoteMemory
import SharedMemoryTransport

extension ClientDevice {
    /// How long the previous owner's process may take to be gone before others are looked after, in tries
    /// of 10 ms.
    private static let fenceTries = 200

    /// Why a member cannot be opened.
    private enum OpeningProblem: Error {
        /// Its memory does not exist any more.
        case lost
        /// It may come back.
        case unreachable
        case held(String)
    }

    /// Takes a set over and serves it, if that can be done now.
    func takeOver(_ id: VolumeID) async {
        guard let volume = volumes[id] else { return }
        do throws(RegistryError) {
            if volume.record.owner != owner {
                volumes[id]?.record = try registry.takeOver(
                    id, by: owner, expecting: volume.record.epoch)
            }
            volumes[id]?.snapshots = try registry.snapshots(of: id)
        } catch {
            log.error("volume \(volume.record.name) cannot be taken over: \(error)")
            return
        }
        await openSnapshots(of: id)
        await openMembers(of: id)
    }

    func takeOverIfWaiting(_ id: VolumeID) async {
        guard let volume = volumes[id] else { return }
        switch volume.phase {
        case .serving, .lost: return
        case .waiting:
            await takeOver(id)
            if volumes[id]?.phase == .serving { await publish() }
        }
    }

    private func openMembers(of id: VolumeID) async {
        guard let volume = volumes[id] else { return }
        var regions: [MemberIndex: MappedRegion] = [:]
        var outcomes: [MemberIndex: OpeningOutcome] = [:]
        var obstacle = "for its appliances"
        for member in volume.record.liveMembers {
            switch await open(member, of: volume.record) {
            case .success(let region):
                regions[member.index] = region
                outcomes[member.index] = .opened
            case .failure(.lost): outcomes[member.index] = .lost
            case .failure(.unreachable): outcomes[member.index] = .unreachable
            case .failure(.held(let reason)):
                outcomes[member.index] = .held
                obstacle = reason
            }
        }
        switch volume.record.verdict(on: outcomes) {
        case .wait:
            guard !volume.hasLoggedWaiting else { return }
            log.warning("volume \(volume.record.name) waits: \(obstacle)")
            volumes[id]?.hasLoggedWaiting = true
        case .lost(let missing):
            guard recordMissing(missing, of: id) else { return }
            volumes[id]?.phase = .lost
            log.critical(
                """
                volume \(volume.record.name) is lost: the memory of all its members is gone; \
                delete it with 'holdfast volume delete \(volume.record.name)'
                """)
        case .serve(let active, let rebuilding, let missing):
            guard recordMissing(missing, of: id) else { return }
            await serve(
                id, regions.filter { active.contains($0.key) },
                rebuilding: regions.filter { rebuilding.contains($0.key) })
        }
    }

    private func recordMissing(_ missing: [MemberIndex], of id: VolumeID) -> Bool {
        guard !missing.isEmpty, let volume = volumes[id] else { return true }
        do throws(RegistryError) {
            try commit([.fail(missing)], to: id)
            return true
        } catch {
            log.error("volume \(volume.record.name) waits for the registry: \(error)")
            return false
        }
    }

    /// Hands a set whose members are open to its thread.
    func serve(
        _ id: VolumeID, _ regions: [MemberIndex: MappedRegion],
        rebuilding: [MemberIndex: MappedRegion] = [:]
    ) async {
        guard let volume = volumes[id] else { return }
        let record = volume.record
        let setup = VolumeSetup(
            id: id, name: record.name, size: record.size, ordering: record.ordering,
            epoch: record.epoch, patience: configuration.patience, active: regions,
            rebuilding: rebuilding,
            identities: Dictionary(
                uniqueKeysWithValues: record.members.map { ($0.index, $0.region) }),
            decisions: { [weak self] id, decision in
                Task { await self?.record(decision, of: id) }
            })
        let settled = await volume.thread.add(setup)
        volumes[id]?.phase = .serving
        volumes[id]?.hasLoggedWaiting = false
        enrolMembers(of: id)
        log.info(
            """
            volume \(record.name) is served at epoch \(record.epoch) by \(regions.count) of \
            \(record.layout.memberCount) members; \(settled) of half-done writes settled
            """)
    }

    private func open(_ member: MemberRecord, of record: VolumeRecord) async
        -> Result<MappedRegion, OpeningProblem>
    {
        var problem = OpeningProblem.unreachable
        for _ in 0..<Self.fenceTries {
            guard appliances[member.appliance]?.isUp == true else { return .failure(.unreachable) }
            guard isReachable(member) else { return .failure(.lost) }
            do {
                let region = try map(
                    member.region, on: member.appliance, epoch: record.epoch, size: record.size)
                guard let label = region.view.readLabel(), label.volume == record.id,
                    label.region == member.region
                else { return .failure(.lost) }
                return .success(region)
            } catch ApplianceConnectionError.refused(.holderAlive(let process)) {
                problem = .held(ApplianceRefusal.holderAlive(processID: process).description)
                try? await Task.sleep(for: .milliseconds(10))
            } catch ApplianceConnectionError.refused(.noSuchRegion) {
                return .failure(.lost)
            } catch {
                log.warning("a member of \(record.name) on \(member.appliance): \(error)")
                return .failure(.unreachable)
            }
        }
        return .failure(problem)
    }

    /// Opens a region for this owner and maps it.
    func map(_ region: RegionID, on appliance: String, epoch: Epoch, size: ByteCount) throws
        -> MappedRegion
    {
        let owner = owner
        let (descriptor, description) = try call(appliance) {
            connection throws(ApplianceConnectionError) in
            try connection.open(region, owner: owner, epoch: epoch).memory
        }
        return try MappedRegion(
            descriptor: descriptor, dataSize: size, isHuge: description.isHuge, isWritable: true,
            isSealed: !description.isKept)
    }

    /// Tells the resiliency logic of every reachable member who its set's members are.
    func enrolMembers(of id: VolumeID) {
        guard let volume = volumes[id] else { return }
        let live = volume.liveMembers
        let cluster = ResiliencyCluster(
            volume: id, epoch: volume.record.epoch,
            members: live.map {
                ResiliencyCluster.Member(
                    index: $0.index, region: $0.region, appliance: $0.appliance)
            })
        for member in live where isReachable(member) {
            try? call(member.appliance) { connection throws(ApplianceConnectionError) in
                try connection.enrol(member.region, in: cluster)
            }
        }
    }
}
