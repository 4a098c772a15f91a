// What an operator asks for: volumes.

import Appliance
package import Control
import Logging
import Registry
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport

extension ClientDevice: ControlledDevice {
    package func volumes() async throws(ControlError) -> [VolumeStatus] {
        var statuses: [VolumeStatus] = []
        for volume in volumes.values.sorted(by: { $0.record.name < $1.record.name }) {
            statuses.append(await status(of: volume))
        }
        return statuses
    }

    package func volume(named name: String) async throws(ControlError) -> VolumeStatus {
        await status(of: try find(name))
    }

    package func createVolume(_ creation: VolumeCreation) async throws(ControlError) -> VolumeStatus
    {
        try check(creation.size)
        let record = try await record(of: creation)
        let members = record.members
        do throws(RegistryError) {
            try registry.createVolume(record)
        } catch {
            throw ControlError(error)
        }
        volumes[record.id] = ManagedVolume(record: record, thread: leastLoadedThread)
        volumes[record.id]?.phase = .creating
        do {
            var memories: [MemberIndex: MemberMemory] = [:]
            for member in members {
                memories[member.index] = try await makeRegion(
                    member, of: record.id, populate: configuration.populate)
            }
            await serve(record.id, memories)
        } catch {
            for member in members { await free(member.region, on: member.appliance) }
            volumes[record.id] = nil
            _ = try? registry.deleteVolume(named: record.name)
            throw ControlError(.failed, "volume \(record.name) is not created: \(error)")
        }
        await publish()
        return try await volume(named: record.name)
    }

    /// Throws unless a volume can have this size.
    func check(_ size: ByteCount) throws(ControlError) {
        guard size > .zero, size.bytes % RegionLayout.volumeGranularity.bytes == 0,
            size <= RegionLayout.largestVolume
        else {
            throw ControlError(
                .invalid,
                """
                a volume has a size of 4 KiB up to \(RegionLayout.largestVolume), in steps of 4 KiB; \
                \(size.bytes) bytes is none
                """)
        }
    }

    /// What the registry is to hold of a new volume; its members have places, and no memory yet.
    private func record(of creation: VolumeCreation) async throws(ControlError) -> VolumeRecord {
        func record(_ members: [MemberRecord]) throws(ControlError) -> VolumeRecord {
            do throws(RegistryError) {
                return try VolumeRecord(
                    name: creation.name, id: VolumeID(.random()), size: creation.size,
                    layout: creation.layout, ordering: creation.ordering,
                    chunk: creation.chunk ?? StripeGeometry.usualChunk, owner: owner,
                    members: members)
            } catch {
                throw ControlError(error)
            }
        }
        if creation.chunk != nil, case .mirror = creation.layout {
            throw ControlError(.invalid, "a mirror has no chunks; leave --chunk out")
        }
        let size = try record([]).regionDataSize
        return try record(
            await placeMembers(
                of: creation.layout, regionsOf: RegionLayout.regionSize(forDataOf: size)))
    }

    private func placeMembers(
        of layout: Layout, regionsOf size: ByteCount
    ) async throws(ControlError) -> [MemberRecord] {
        let candidates = await candidates(without: [])
        let names: [String]
        do throws(PlacementError) {
            names = try Placement.choose(
                layout.memberCount, regionsOf: size, among: candidates,
                surviving: layout.lossesSurvived)
        } catch {
            throw ControlError(error, "\(layout)")
        }
        return names.enumerated().compactMap { number, name in
            guard let incarnation = appliances[name]?.description?.incarnation else { return nil }
            return MemberRecord(
                index: MemberIndex(number), state: .active, region: RegionID(.random()),
                appliance: name, incarnation: incarnation)
        }
    }

    package func deleteVolume(named name: String) async throws(ControlError) {
        let volume = try find(name)
        let id = volume.record.id
        guard !volume.isSnapshotting else {
            throw ControlError(.conflict, "a snapshot of \(name) is being made; try again after it")
        }
        guard !volume.isGrowing else {
            throw ControlError(.conflict, "volume \(name) is being resized; try again after it")
        }
        if let report = await volume.thread.report(id), report.connections > 0 {
            throw ControlError(
                .conflict,
                "volume \(name) has \(report.connections) clients connected; disconnect them first")
        }
        guard volume.twinning?.isCutting != true else {
            throw ControlError(
                .conflict, "a member of \(name) is taking another's place; try again in a moment")
        }
        await endTwins(of: id, because: .calledOff)
        do throws(RegistryError) {
            _ = try registry.deleteVolume(named: name)
        } catch {
            throw ControlError(error)
        }
        let members = volumes[id]?.record.members ?? []
        volumes[id] = nil
        await publish()
        await volume.thread.remove(id)
        for member in members where isReachable(member) {
            await free(member.region, on: member.appliance)
        }
        log.info("volume \(name) is deleted")
    }

    package func rebuild(
        volume name: String, _ start: RebuildStart
    ) async throws(ControlError) -> VolumeStatus {
        let volume = try find(name)
        let id = volume.record.id
        guard volume.phase == .serving else {
            throw ControlError(.unavailable, ReplacementError.notServing.description)
        }
        if let limit = start.limit {
            await volume.thread.limitRebuilds(of: id, to: limit > .zero ? limit : nil)
            log.info(
                "volume \(name): rebuilds copy \(limit > .zero ? "at most \(limit)/s" : "freely")")
        }
        while let current = volumes[id],
            present(current).count < current.record.layout.memberCount
        {
            if await readmitsMember(to: id, isAskedFor: true) { continue }
            do throws(ReplacementError) {
                _ = try await addMember(to: id)
            } catch {
                throw ControlError(.unavailable, "volume \(name) stays degraded: \(error)")
            }
        }
        return try await self.volume(named: name)
    }

    package func scrub(volume name: String) async throws(ControlError) -> ScrubReport {
        let volume = try find(name)
        let id = volume.record.id
        guard !volume.activeMembers.isEmpty, await volume.thread.beginScrub(id) else {
            throw ControlError(.unavailable, ReplacementError.notServing.description)
        }
        let members = volume.activeMembers.count
        let started = ContinuousClock.now
        while true {
            guard let standing = await volume.thread.scrubStanding(id) else {
                throw ControlError(.unavailable, "volume \(name) is gone")
            }
            if standing.isOver {
                volumes[id]?.scrub = nil
                guard standing.standing.compared == standing.standing.total else {
                    throw ControlError(.unavailable, "volume \(name) has no member left to compare")
                }
                return ScrubReport(
                    volume: name, membersCompared: members,
                    comparedBytes: standing.standing.compared,
                    mismatchedExtents: UInt64(standing.standing.differentExtents),
                    mendedExtents: UInt64(standing.standing.mendedExtents),
                    firstMismatchOffset: standing.standing.firstDifference)
            }
            let seconds = (ContinuousClock.now - started) / .seconds(1)
            let speed = Double(standing.standing.compared.bytes) / max(seconds, 0.001)
            let rest = standing.standing.total - standing.standing.compared
            volumes[id]?.scrub = ScrubProgress(
                doneBytes: standing.standing.compared, totalBytes: standing.standing.total,
                bytesPerSecond: ByteCount(UInt64(speed)),
                secondsLeft: speed > 0 ? Double(rest.bytes) / speed : nil)
            try? await Task.sleep(for: .milliseconds(20))
        }
    }

    func find(_ name: String) throws(ControlError) -> ManagedVolume {
        guard let volume = volumes.values.first(where: { $0.record.name == name }) else {
            throw ControlError(
                .notFound,
                "there is no volume '\(name)'; 'holdfast volume list' shows those there are")
        }
        return volume
    }
}

extension ControlError {
    /// What the registry says, for whoever asked.
    init(_ error: RegistryError) {
        let code: Code =
            switch error {
            case .notFound: .notFound
            case .illegalChange(.chunkOutOfRange), .illegalChange(.fixedLayout),
                .illegalChange(.wouldNotGrow), .illegalChange(.growthOutOfRange):
                .invalid
            case .alreadyExists, .inUse, .illegalChange: .conflict
            case .invalidName: .invalid
            case .staleEpoch, .notOwner, .superseded: .unavailable
            case .storage: .failed
            }
        self.init(code, "\(error)")
    }

    /// Why `subject` finds no place, for whoever asked.
    init(_ error: PlacementError, _ subject: String) {
        let code: Code =
            switch error {
            case .tooFewAppliances: .unavailable
            case .insufficientMemory, .oneDomain, .crowdedDomain: .insufficientMemory
            }
        self.init(code, "\(subject) \(error)")
    }
}
