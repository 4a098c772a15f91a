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
import ResiliencySet

extension ClientDevice {
    /// How long the previous owner's process may take to be gone before others are looked after, in tries
    /// of 10 ms.
    private static let fenceTries = 200

    /// Why a member cannot be opened.
    enum OpeningProblem: Error {
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
                takeChanges(of: id, savedAt: volume.record.epoch)
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
        case .creating, .serving, .halted, .lost: return
        case .waiting:
            await takeOver(id)
            if volumes[id]?.phase == .serving { await publish() }
        }
    }

    private func openMembers(of id: VolumeID) async {
        guard let volume = volumes[id] else { return }
        let since = volume.firstTry ?? ContinuousClock.now
        volumes[id]?.firstTry = since
        let record = volume.record
        var memories: [MemberIndex: MemberMemory] = [:]
        var outcomes: [MemberIndex: OpeningOutcome] = [:]
        var obstacle = "for its appliances"
        for (member, result) in await open(record.liveMembers, of: record) {
            switch result {
            case .success(let memory):
                memories[member.index] = memory
                outcomes[member.index] = .opened
            case .failure(.lost): outcomes[member.index] = .lost
            case .failure(.unreachable): outcomes[member.index] = .unreachable
            case .failure(.held(let reason)):
                outcomes[member.index] = .held
                obstacle = reason
            }
        }
        // (An appliance may be a moment later than this device: to do without it costs a rebuild.)
        let isEarly = ContinuousClock.now - since < configuration.evictAfter
        if isEarly, outcomes.values.contains(.unreachable) { return }
        switch record.verdict(on: outcomes) {
        case .wait:
            guard !volume.hasLoggedWaiting else { return }
            log.warning("volume \(record.name) waits: \(obstacle)")
            volumes[id]?.hasLoggedWaiting = true
        case .lost(let missing):
            guard recordMissing(missing, of: id) else { return }
            volumes[id]?.phase = .lost
            log.critical(
                """
                volume \(record.name) is lost: the memory of all its members is gone; \
                delete it with 'holdfast volume delete \(record.name)'
                """)
        case .serve(let active, let rebuilding, let missing):
            let lost = missing.filter { record.member($0)?.state == .active }
            // Maps of an earlier failure of these members must not count for this one.
            for member in active {
                guard await dropMaps(of: lost, in: memories[member], record.member(member))
                else { return }
            }
            guard recordMissing(missing, of: id) else { return }
            if lost.contains(where: { outcomes[$0] != .lost }) {
                // A member that could not be fenced may still answer the old owner's reads, until that one's
                // lease is over.
                let lease = Tuning.lease(UInt64(configuration.evictAfter / .nanoseconds(1)))
                try? await Task.sleep(for: .nanoseconds(lease + lease / 4))
            }
            await serve(
                id, memories.filter { active.contains($0.key) },
                rebuilding: memories.filter { rebuilding.contains($0.key) }, lost: lost)
        }
    }

    /// False when the region went away: then the set is opened again.
    private func dropMaps(
        of lost: [MemberIndex], in memory: MemberMemory?, _ member: MemberRecord?
    ) async -> Bool {
        guard !lost.isEmpty else { return true }
        guard let memory, let member, let link = appliances[member.appliance]?.link else {
            return false
        }
        do {
            try await link.dropMaps(of: lost, in: memory)
            return true
        } catch {
            log.warning("a member on \(member.appliance): \(error)")
            return false
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
        _ id: VolumeID, _ memories: [MemberIndex: MemberMemory],
        rebuilding: [MemberIndex: MemberMemory] = [:], lost: [MemberIndex] = []
    ) async {
        guard let volume = volumes[id] else { return }
        let record = volume.record
        var setup = VolumeSetup(
            id: id, name: record.name, size: record.size, ordering: record.ordering,
            epoch: record.epoch, patience: configuration.patience, active: memories,
            rebuilding: rebuilding,
            identities: Dictionary(
                uniqueKeysWithValues: record.members.map { ($0.index, $0.region) }),
            decisions: { [weak self] id, decision in
                Task { await self?.record(decision, of: id) }
            })
        setup.evictAfter = UInt64(configuration.evictAfter / .nanoseconds(1))
        setup.stripes = record.stripes
        setup.memberCount = record.layout.memberCount
        setup.limits = volume.limits
        setup.cuts = volume.snapshots.map(\.cutAtEpoch)
        setup.changes = volume.savedChanges
        setup.lost = lost
        setup.away = record.members.filter { $0.state == .failed && !lost.contains($0.index) }
            .map(\.index)
        setup.breaks = { [weak self] id, member, fault in
            Task { await self?.channelBroke(id, member, fault) }
        }
        setup.drops = { [weak self] id, region in
            Task { await self?.twinDropped(region, of: id) }
        }
        let settled = await volume.thread.add(setup)
        volumes[id]?.phase = .serving
        volumes[id]?.savedChanges = []
        volumes[id]?.hasLoggedWaiting = false
        volumes[id]?.firstTry = nil
        await enrolMembers(of: id)
        log.info(
            """
            volume \(record.name) is served at epoch \(record.epoch) by \(memories.count) of \
            \(record.layout.memberCount) members; \(settled) of half-done writes settled
            """)
    }

    /// Opens members side by side: one that does not answer delays no other.
    func open(
        _ members: [MemberRecord], of record: VolumeRecord
    ) async -> [(MemberRecord, Result<MemberMemory, OpeningProblem>)] {
        await withTaskGroup(of: (MemberRecord, Result<MemberMemory, OpeningProblem>).self) {
            group in
            for member in members {
                group.addTask { (member, await self.open(member, of: record)) }
            }
            var results: [(MemberRecord, Result<MemberMemory, OpeningProblem>)] = []
            for await result in group { results.append(result) }
            return results
        }
    }

    /// Opens a member with the memory it had.
    func open(_ member: MemberRecord, of record: VolumeRecord) async
        -> Result<MemberMemory, OpeningProblem>
    {
        var problem = OpeningProblem.unreachable
        for _ in 0..<Self.fenceTries {
            guard appliances[member.appliance]?.isUp == true else {
                return .failure(isDead(member) ? .lost : .unreachable)
            }
            guard isReachable(member) else { return .failure(.lost) }
            do {
                let memory = try await open(
                    member.region, on: member.appliance, epoch: record.epoch,
                    size: record.regionDataSize)
                guard let label = memory.label, label.volume == record.id,
                    label.region == member.region
                else { return .failure(.lost) }
                return .success(memory)
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

    private func isDead(_ member: MemberRecord) -> Bool {
        appliances[member.appliance].map(\.isDead) ?? true
    }

    /// Opens a region for this owner.
    func open(
        _ region: RegionID, on appliance: String, epoch: Epoch, size: ByteCount,
        labelling label: RegionLabel? = nil
    ) async throws -> MemberMemory {
        guard let handle = appliances[appliance], handle.isUp else {
            throw ApplianceConnectionError.closed
        }
        do {
            return try await handle.link.open(
                region, owner: owner, epoch: epoch, size: size, labelling: label)
        } catch let error as ApplianceConnectionError {
            noteFailure(of: appliance, error)
            throw error
        }
    }

    /// Tells the resiliency logic of every reachable member who its set's members are.
    func enrolMembers(of id: VolumeID) async {
        guard let volume = volumes[id] else { return }
        let cluster = cluster(of: volume.record)
        for member in volume.liveMembers where isReachable(member) {
            try? await call(member.appliance) { connection throws(ApplianceConnectionError) in
                try connection.enrol(member.region, in: cluster)
            }
        }
    }

    func cluster(of record: VolumeRecord) -> ResiliencyCluster {
        ResiliencyCluster(
            volume: record.id, epoch: record.epoch,
            members: record.liveMembers.map {
                ResiliencyCluster.Member(
                    index: $0.index, region: $0.region, appliance: $0.appliance)
            })
    }
}
