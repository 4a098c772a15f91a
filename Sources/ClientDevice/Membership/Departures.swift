// Members that are to leave: moved away, on an appliance that is being emptied, or one too many.
//
//     marked in the registry ──▶ a successor is added and rebuilt ──▶ dropped by the engine, recorded as
//     failed ──▶ its memory freed ──▶ forgotten
//
// A member of an erasure set is replaced by its twin in one step instead (Twins).
//
// Whoever is killed between two of these steps leaves a set that the next client device reads the same
// next step from (SetShape). A member is dropped as if it had failed: what is in flight is answered when
// the registry knows that it is no member any more, and nothing is read from it after.

import Appliance
import Logging
import Registry
import RemoteMemory

extension ClientDevice {
    /// Whether a member is to be removed once the set is whole without it.
    func isLeaving(_ member: MemberRecord) -> Bool {
        member.isLeaving || appliances[member.appliance]?.record.isDraining == true
    }

    /// The next step to the members that the layout wants.
    func nextStep(of volume: ManagedVolume) -> SetShape.Step {
        guard volume.retiring.isEmpty else { return .nothing }
        // (Each member of an erasure set has bytes of its own: who leaves is replaced by its twin.)
        if let stripes = volume.record.stripes {
            return present(volume).count < stripes.memberCount
                ? .add(isUrgent: true) : .nothing
        }
        let members = present(volume).map { member in
            SetShape.Member(
                index: member.index, isWhole: member.state.holdsData && isReachable(member),
                isLeaving: isLeaving(member), site: site(of: member),
                freePerMille: freePerMille(of: member.appliance))
        }
        let step = SetShape.next(members, wanted: volume.record.layout.memberCount)
        // While a snapshot is being made the set has one more on purpose.
        if volume.isSnapshotting, step != .add(isUrgent: true) { return .nothing }
        return step
    }

    private func freePerMille(of appliance: String) -> Int {
        guard let description = appliances[appliance]?.description,
            description.capacity > description.allocated
        else { return 0 }
        let free = (description.capacity - description.allocated).bytes
        return Int(Double(free) / Double(description.capacity.bytes) * 1000)
    }

    /// Whether a member of the volume may be moved now: those of an appliance that is emptied go one
    /// volume after another, so that the rebuilds do not take each other's time.
    func mayMove(_ volume: ManagedVolume) -> Bool {
        if present(volume).contains(where: \.isLeaving) { return true }
        return !volumes.values.contains { other in
            other.record.id != volume.record.id && other.phase == .serving && isMoving(other)
        }
    }

    private func isMoving(_ volume: ManagedVolume) -> Bool {
        if case .move = volume.twinning?.purpose { return true }
        let members = present(volume)
        return members.contains { isLeaving($0) }
            && members.contains { !isLeaving($0) && $0.state == .rebuilding }
    }

    /// Whether the only member that is missing is being moved: its twin will be it.
    func awaitsTwin(_ volume: ManagedVolume) -> Bool {
        guard let stripes = volume.record.stripes, case .move(let place) = volume.twinning?.purpose
        else { return false }
        let missing = stripes.members.subtracting(MemberSet(present(volume).map(\.index)))
        return missing == MemberSet(place)
    }

    /// Drops a member; what is left of it is removed when its failure is recorded.
    func retire(_ index: MemberIndex, of id: VolumeID, keeping minimum: Int) async {
        guard let volume = volumes[id], let member = volume.record.member(index) else { return }
        volumes[id]?.retiring.insert(index)
        guard await volume.thread.retire(index, of: id, keeping: minimum) else {
            volumes[id]?.retiring.remove(index)
            return
        }
        log.info("volume \(volume.record.name): member \(index) on \(member.appliance) is removed")
    }
}
