// What an operator asks for: another layout, a member elsewhere, an appliance emptied.
//
// Each is checked, written to the registry, and set going; housekeeping carries it on from there
// (Departures), also in the next client device. So these calls return at once, and whoever wants to see
// the end of it looks at the status.

import Appliance
package import Control
import Logging
import Registry
import RemoteMemory

extension ClientDevice {
    /// How long a change waits for a member that is just being added, in tries of 10 ms.
    private static let additionTries = 500

    package func changeVolume(
        named name: String, _ change: VolumeChange
    ) async throws(ControlError) -> VolumeStatus {
        let volume = try findChangeable(name)
        let id = volume.record.id
        guard change.layout != volume.record.layout else { return await status(of: volume) }
        if volume.record.stripes != nil || change.layout.isErasure {
            throw ControlError(.illegalChange(.fixedLayout(volume.record.layout)))
        }
        let staying = present(volume).filter { !isLeaving($0) }
        let missing = max(0, change.layout.memberCount - staying.count)
        let candidates = await candidates(without: Set(present(volume).map(\.appliance)))
        do throws(PlacementError) {
            _ = try Placement.choose(
                missing, regionsOf: RegionLayout.regionSize(forDataOf: volume.record.size),
                among: candidates,
                beside: staying.map { site(of: $0) })
        } catch {
            throw ControlError(error, "volume \(name) stays \(volume.record.layout): it")
        }
        do throws(RegistryError) {
            try commit([.setLayout(change.layout)], to: id)
        } catch {
            throw ControlError(error)
        }
        await volume.thread.setMemberCount(change.layout.memberCount, of: id)
        log.info("volume \(name) is to be \(change.layout) instead of \(volume.record.layout)")
        for _ in 0..<max(1, missing) { await replaceMissingMembers(of: id) }
        await publish()
        return try await self.volume(named: name)
    }

    package func moveMember(
        ofVolume name: String, _ move: MemberMove
    ) async throws(ControlError) -> VolumeStatus {
        try await waitForAddition(to: name)
        let volume = try findChangeable(name)
        let id = volume.record.id
        guard let member = present(volume).first(where: { $0.appliance == move.from }) else {
            throw ControlError(
                .notFound,
                "volume \(name) has no member on \(move.from); 'holdfast volume show \(name)' shows where "
                    + "they are")
        }
        guard !isLeaving(member) else {
            // Asked for again, perhaps by somebody who waits for the end of it.
            let isOnItsWay =
                present(volume).contains { $0.appliance == move.to }
                || volume.twinning?.region(of: member.index)?.appliance == move.to
            if move.to == nil || isOnItsWay {
                return await status(of: volume)
            }
            throw ControlError(
                .conflict,
                "the member of \(name) on \(move.from) is being moved already; wait for the end of that"
            )
        }
        if let target = move.to { try check(target, for: volume) }
        guard volume.record.stripes == nil else {
            try await moveByTwin(member, of: volume, to: move.to)
            return try await self.volume(named: name)
        }
        do throws(ReplacementError) {
            _ = try await addMember(
                to: id, on: move.to, acceptsCrowding: false, inPlaceOf: member.index)
        } catch {
            // (Its memory may have been refused after its record was made.)
            if volumes[id]?.record.member(member.index)?.isLeaving == true {
                _ = try? commit([.setLeaving(member.index, false)], to: id)
            }
            throw ControlError(
                .unavailable, "the member of \(name) stays on \(move.from): \(error)")
        }
        log.info("volume \(name): its member on \(move.from) is being moved")
        return try await self.volume(named: name)
    }

    /// Has a twin of a member of an erasure set filled elsewhere, which will take its place.
    private func moveByTwin(
        _ member: MemberRecord, of volume: ManagedVolume, to appliance: String?
    ) async throws(ControlError) {
        let name = volume.record.name
        let id = volume.record.id
        guard volume.twinning == nil else {
            throw ControlError(
                .conflict, "another member of \(name) is being moved; wait for the end of that")
        }
        guard member.state == .active else {
            throw ControlError(
                .unavailable,
                "the member of \(name) on \(member.appliance) is \(member.state.rawValue): wait until it is whole, or "
                    + "until another takes its place")
        }
        do {
            let size = RegionLayout.regionSize(forDataOf: volume.record.regionDataSize)
            let home = try await place(
                size, for: volume, on: appliance, inPlaceOf: member.index, acceptsCrowding: false)
            // (The mark first: who takes over finds it, and begins anew.)
            try commit([.setLeaving(member.index, true)], to: id)
            try await beginTwins(.move(member.index), of: id, on: [(member.index, home)])
        } catch {
            if volumes[id]?.record.member(member.index)?.isLeaving == true {
                _ = try? commit([.setLeaving(member.index, false)], to: id)
            }
            throw ControlError(
                .unavailable, "the member of \(name) stays on \(member.appliance): \(error)")
        }
        log.info("volume \(name): its member on \(member.appliance) is being moved")
    }
}

extension ClientDevice {
    package func drainAppliance(
        named name: String, _ drain: DrainStart
    ) async throws(ControlError) -> ApplianceStatus {
        try checkKnown(name)
        if !drain.isCancelled { try await checkRoomElsewhere(for: name) }
        do throws(RegistryError) {
            appliances[name]?.record = try registry.setDraining(!drain.isCancelled, of: name)
        } catch {
            throw ControlError(error)
        }
        log.info("appliance \(name) is \(drain.isCancelled ? "not drained any more" : "drained")")
        for id in volumes.keys { await replaceMissingMembers(of: id) }
        guard let status = await status(ofAppliance: name) else {
            throw ControlError(
                .unavailable, "appliance \(name) is gone meanwhile; nothing is left to do")
        }
        return status
    }

    /// Throws unless every member on an appliance finds a place on another.
    private func checkRoomElsewhere(for name: String) async throws(ControlError) {
        var candidates = await candidates(without: [name])
        for volume in volumes.values.sorted(by: { $0.record.name < $1.record.name }) {
            let present = present(volume)
            guard volume.phase == .serving, present.contains(where: { $0.appliance == name }) else {
                continue
            }
            let size = RegionLayout.regionSize(forDataOf: volume.record.regionDataSize)
            do throws(PlacementError) {
                let chosen = try Placement.choose(
                    1, regionsOf: size, among: candidates,
                    beside: present.filter { !isLeaving($0) && $0.appliance != name }.map {
                        site(of: $0)
                    }, excluding: Set(present.map(\.appliance)))
                for index in candidates.indices where chosen.contains(candidates[index].name) {
                    candidates[index].free = candidates[index].free - size
                    candidates[index].promised = candidates[index].promised + size
                }
            } catch {
                throw ControlError(
                    error, "appliance \(name) cannot be drained: volume \(volume.record.name)")
            }
        }
    }

    // MARK: What is asked for must make sense

    func findChangeable(_ name: String) throws(ControlError) -> ManagedVolume {
        let volume = try find(name)
        guard volume.phase == .serving else {
            throw ControlError(.unavailable, ReplacementError.notServing.description)
        }
        guard !volume.isSnapshotting else {
            throw ControlError(.conflict, "a snapshot of \(name) is being made; try again after it")
        }
        guard !volume.isGrowing else {
            throw ControlError(.conflict, "volume \(name) is being resized; try again after it")
        }
        return volume
    }

    private func checkKnown(_ appliance: String) throws(ControlError) {
        guard appliances[appliance] != nil else {
            throw ControlError(
                .notFound,
                "there is no appliance '\(appliance)'; 'holdfast appliance list' shows those there are"
            )
        }
    }

    private func check(_ target: String, for volume: ManagedVolume) throws(ControlError) {
        try checkKnown(target)
        guard appliances[target]?.isUp == true else {
            throw ControlError(.unavailable, "appliance \(target) is down; choose another")
        }
        guard appliances[target]?.record.isDraining != true else {
            throw ControlError(.conflict, "appliance \(target) is being drained; choose another")
        }
        guard !present(volume).contains(where: { $0.appliance == target }) else {
            throw ControlError(
                .conflict,
                "appliance \(target) holds a member of \(volume.record.name) already; choose another"
            )
        }
    }

    /// Waits while a member is being added, which takes moments.
    func waitForAddition(to name: String) async throws(ControlError) {
        for _ in 0..<Self.additionTries where try find(name).isReplacing {
            try? await Task.sleep(for: .milliseconds(10))
        }
    }
}
