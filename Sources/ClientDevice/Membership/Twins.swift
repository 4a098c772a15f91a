// Twins of an erasure set: a member is moved, and a snapshot made, by a second region beside it that is filled
// while the set is used.
//
//     memory allocated ──▶ opened, filled by the engine ──▶ writes held ──▶ the registry holds it
//            └──────────────────┴────── lost, called off ──▶ freed, and nothing has changed
//
// The registry hears of a twin when it is one no more. So what a device that dies leaves behind is known to
// nobody; but its appliance knows whose set it was made for (it is enrolled as soon as it is there), and the next
// client device gives it back (Appliances).

import Appliance
import Logging
import Registry
import RemoteMemory
import ResiliencySet

/// Why twins came to nothing.
enum TwinError: Error, CustomStringConvertible {
    case busy
    case lost(appliance: String?)
    case calledOff
    case registry(RegistryError)
    case memory(String)

    var description: String {
        switch self {
        case .busy: "the set is changing now; see 'holdfast status' and try again"
        case .lost(let appliance):
            "a region that was being filled\(appliance.map { " on \($0)" } ?? "") was lost, or too few "
                + "members were left to fill it from; the volume is what it was: try again"
        case .calledOff: "it was called off"
        case .registry(let error): "\(error)"
        case .memory(let sentence): sentence
        }
    }
}

extension ClientDevice {
    /// Makes twins, each on its appliance, and has them filled; returns when that is under way.
    func beginTwins(
        _ purpose: ManagedVolume.Twinning.Purpose, of id: VolumeID,
        on appliances: [(place: MemberIndex, appliance: String)]
    ) async throws(TwinError) {
        guard let volume = volumes[id], volume.phase == .serving, volume.twinning == nil,
            !volume.isReplacing, volume.cut == nil
        else { throw .busy }
        var regions: [SnapshotMember] = []
        for (place, name) in appliances {
            guard let incarnation = self.appliances[name]?.description?.incarnation else {
                throw .lost(appliance: name)
            }
            regions.append(
                SnapshotMember(
                    index: place, region: RegionID(.random()), appliance: name,
                    incarnation: incarnation))
        }
        volumes[id]?.twinProblem = nil
        volumes[id]?.twinning = ManagedVolume.Twinning(
            purpose: purpose, regions: regions)
        for region in regions {
            let problem: TwinError
            do {
                let memory = try await makeTwin(region, of: id)
                // (Called off meanwhile, perhaps.)
                guard volumes[id]?.twinning?.region(of: region.index) == region else {
                    throw volumes[id]?.twinProblem ?? .calledOff
                }
                if await volume.thread.addTwin(
                    memory, identity: region.region, of: region.index, in: id)
                {
                    continue
                }
                problem = .busy
            } catch let error as TwinError {
                problem = error
            } catch {
                problem = .memory("\(error)")
            }
            // (They may have come to an end before this one was there.)
            if volumes[id]?.twinning == nil { await free(region.region, on: region.appliance) }
            await endTwins(of: id, because: problem)
            throw problem
        }
        volumes[id]?.twinning?.isFilling = true
    }

    /// Allocates, enrols, opens and labels the region of a twin.
    private func makeTwin(_ twin: SnapshotMember, of id: VolumeID) async throws -> MemberMemory {
        guard let record = volumes[id]?.record else { throw ReplacementError.notServing }
        let cluster = cluster(of: record)
        try await call(twin.appliance) { connection throws(ApplianceConnectionError) in
            try connection.allocate(
                twin.region, dataSize: record.regionDataSize, populate: false)
            try connection.enrol(twin.region, in: cluster)
        }
        return try await open(
            twin.region, on: twin.appliance, epoch: record.epoch, size: record.regionDataSize,
            labelling: RegionLabel(
                volume: id, region: twin.region, size: record.size, epoch: record.epoch))
    }

    /// Puts twins that are whole where they belong.
    func carryTwinsOn(_ id: VolumeID) async {
        guard let volume = volumes[id], let twinning = volume.twinning, twinning.isFilling,
            !twinning.isCutting
        else { return }
        if case .move(let place) = twinning.purpose, let member = volume.record.member(place),
            member.state == .active, !isLeaving(member)
        {
            return await endTwins(of: id, because: .calledOff)
        }
        guard await volume.thread.wholeTwins(of: id).isSuperset(of: twinning.twins),
            volumes[id]?.twinning?.regions == twinning.regions,
            volumes[id]?.twinning?.isCutting == false, volumes[id]?.isReplacing == false
        else { return }
        // (Whoever takes a place is not added to it meanwhile.)
        volumes[id]?.twinning?.isCutting = true
        volumes[id]?.isReplacing = true
        let begun =
            switch twinning.purpose {
            case .move(let place): await volume.thread.beginReplacement(of: place, in: id)
            case .snapshot: await volume.thread.beginCutOfGeneration(of: id)
            }
        guard !begun, volumes[id]?.twinning?.regions == twinning.regions else { return }
        volumes[id]?.twinning?.isCutting = false
        volumes[id]?.isReplacing = false
    }

    /// The engine has no use for a twin any more.
    func twinDropped(_ region: RegionID, of id: VolumeID) async {
        guard let twin = volumes[id]?.twinning?.regions.first(where: { $0.region == region })
        else { return }
        await endTwins(of: id, because: .lost(appliance: twin.appliance))
    }

    /// Frees the twins of a volume; nothing else has come of them.
    func endTwins(of id: VolumeID, because problem: TwinError) async {
        guard let volume = volumes[id], let twinning = volume.twinning else { return }
        volumes[id]?.twinProblem = problem
        forgetTwins(of: id)
        log.warning("volume \(volume.record.name): \(describe(twinning)): \(problem)")
        await volume.thread.dropTwins(twinning.twins, of: id)
        for region in twinning.regions where isThere(region) {
            await free(region.region, on: region.appliance)
        }
        twinning.finished?.resume(throwing: problem)
    }

    /// They are twins no more.
    private func forgetTwins(of id: VolumeID) {
        if volumes[id]?.twinning?.isCutting == true { volumes[id]?.isReplacing = false }
        for twin in volumes[id]?.twinning?.twins ?? MemberSet() {
            volumes[id]?.samples[twin] = nil
        }
        volumes[id]?.twinning = nil
    }

    private func describe(_ twinning: ManagedVolume.Twinning) -> String {
        switch twinning.purpose {
        case .move(let place): "member \(place) is not moved"
        case .snapshot(let name): "snapshot \(name) is not made"
        }
    }

    /// Whether a region of a snapshot or twin can be reached.
    func isThere(_ region: SnapshotMember) -> Bool {
        guard let handle = appliances[region.appliance], handle.isUp else { return false }
        return handle.description?.incarnation == region.incarnation
    }

    /// Whether the memory of such a region is known to be gone, rather than out of reach for the moment.
    func isLost(_ region: SnapshotMember) -> Bool {
        guard let handle = appliances[region.appliance] else { return true }
        return handle.isDead
            || (handle.description.map { $0.incarnation != region.incarnation } ?? false)
    }

    // MARK: The registry

    /// What is recorded when writes are held for the twins.
    func changes(for twinning: ManagedVolume.Twinning?) -> [MembershipChange] {
        guard let twinning else { return [] }
        switch twinning.purpose {
        case .move(let place):
            return twinning.region(of: place).map { twin in
                [
                    .replace(
                        MemberRecord(
                            index: place, state: .active, region: twin.region,
                            appliance: twin.appliance, incarnation: twin.incarnation))
                ]
            } ?? []
        case .snapshot(let name):
            return [
                .cutGeneration(twinning.regions, snapshot: name, at: Self.now)
            ]
        }
    }

    /// A twin is the member: what was there before is let go of.
    func placeTaken(_ place: MemberIndex, from former: MemberRecord?, of id: VolumeID) async {
        guard let volume = volumes[id] else { return }
        forgetTwins(of: id)
        volumes[id]?.missingSince[place] = nil
        volumes[id]?.samples[place] = nil
        volumes[id]?.promotions.removeValue(forKey: place)?.resume(returning: false)
        let home = volume.record.member(place)?.appliance ?? "another appliance"
        log.info(
            "volume \(volume.record.name): member \(place) is on \(home) now; epoch \(volume.record.epoch)"
        )
        guard let former, isReachable(former) else { return }
        await free(former.region, on: former.appliance)
    }

    /// The twins are a snapshot.
    func generationCut(of id: VolumeID) async {
        guard let volume = volumes[id] else { return }
        let held = await volume.thread.heldFor(id)
        let finished = volumes[id]?.twinning?.finished
        volumes[id]?.snapshots = (try? registry.snapshots(of: id)) ?? volume.snapshots
        forgetTwins(of: id)
        finished?.resume(returning: held)
    }

    // MARK: Members that are to leave

    /// Begins to move the next member of an erasure set that is to leave.
    func moveLeavingMember(of id: VolumeID) async {
        guard let volume = volumes[id], volume.record.stripes != nil, volume.twinning == nil,
            !volume.isSnapshotting, !volume.isReplacing, mayMove(volume),
            let member = present(volume).first(where: { isLeaving($0) && $0.state == .active })
        else { return }
        do {
            let size = RegionLayout.regionSize(forDataOf: volume.record.regionDataSize)
            let appliance = try await place(
                size, for: volume, on: nil, inPlaceOf: member.index, acceptsCrowding: false)
            try await beginTwins(
                .move(member.index), of: id, on: [(member.index, appliance)])
            volumes[id]?.obstacle = nil
            log.info(
                "volume \(volume.record.name): member \(member.index) is being moved from \(member.appliance) to \(appliance)"
            )
        } catch {
            // (Who is busy has a reason of its own to be so.)
            if case TwinError.busy = error { return }
            guard volumes[id]?.obstacle != "\(error)" else { return }
            log.warning(
                "volume \(volume.record.name) keeps a member that is to leave: \(error)")
            volumes[id]?.obstacle = "\(error)"
        }
    }
}
