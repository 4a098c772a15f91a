// Members far away come back with the memory they had: what they missed meanwhile is copied, and no more.
//
//     failed ──▶ the registry: removed, added as rebuilding, with the same region ──▶ opened ──▶ rebuilt
//     absent (the last member) ──▶ opened ──▶ repaired, as after a takeover
//
// Opening a region anew ends the channel of before: nothing that was on its way there can land later.

import Appliance
import Logging
import Registry
import RemoteMemory
import TCPTransport

extension ClientDevice {
    /// Brings a failed member back with its memory; false when that cannot be done now.
    func readmit(_ member: MemberRecord, to id: VolumeID) async -> Bool {
        guard let volume = volumes[id], !volume.isReplacing else { return false }
        volumes[id]?.isReplacing = true
        defer { volumes[id]?.isReplacing = false }
        let name = volume.record.name
        let again = MemberRecord(
            index: member.index, state: .rebuilding, region: member.region,
            appliance: member.appliance, incarnation: member.incarnation)
        do throws(RegistryError) {
            try commit([.remove([member.index]), .add(again)], to: id)
        } catch {
            log.error("volume \(name): \(error)")
            return false
        }
        volumes[id]?.missingSince[member.index] = nil
        let record = volumes[id]?.record ?? volume.record
        switch await open(again, of: record) {
        case .success(let memory):
            await volume.thread.add(
                memory, identity: again.region, as: again.index, to: id, epoch: record.epoch,
                keepsData: true)
            volumes[id]?.relapses[again.region, default: Relapses()].cameBack(at: .now)
            await enrolMembers(of: id)
            log.info(
                "volume \(name): member \(again.index) on \(again.appliance) is back; it is rebuilt"
            )
            return true
        case .failure(.lost): giveUp([.remove([again.index])], of: id)
        case .failure(.unreachable), .failure(.held):
            noteFailure(of: again, in: id)
            giveUp([.fail([again.index])], of: id)
        }
        return false
    }

    /// Notes that a member failed: whoever does so again and again stays away for longer each time.
    func noteFailure(of member: MemberRecord, in id: VolumeID) {
        guard let volume = volumes[id] else { return }
        let regions = Set(volume.record.members.map(\.region))
        volumes[id]?.relapses = volume.relapses.filter { regions.contains($0.key) }
        let pause = volumes[id]?.relapses[member.region, default: Relapses()].failed(at: .now)
        guard let pause, pause > .zero else { return }
        log.warning(
            """
            volume \(volume.record.name): member \(member.index) on \(member.appliance) keeps \
            failing; it is tried again in \(pause)
            """)
    }

    private func giveUp(_ changes: [MembershipChange], of id: VolumeID) {
        guard let volume = volumes[id] else { return }
        do throws(RegistryError) {
            try commit(changes, to: id)
        } catch {
            log.error("volume \(volume.record.name): \(error)")
        }
    }

    /// Opens the last member of a set again, after it was out of reach.
    func reopenAbsentMember(of id: VolumeID) async {
        guard let volume = volumes[id], volume.phase == .serving, !volume.isReplacing,
            let index = await volume.thread.absentMember(of: id),
            let member = volumes[id]?.record.member(index), isRemote(member)
        else { return }
        if let stripes = volume.record.stripes { return await reopenMembers(of: id, stripes) }
        if isLost(member) { return await lose(member, of: id) }
        guard isReachable(member) else { return }
        switch await open(member, of: volumes[id]?.record ?? volume.record) {
        case .success(let memory):
            await volume.thread.memberReturned(index, of: id, memory)
            log.info("volume \(volume.record.name): its last member, \(index), is back")
        case .failure(.lost): await lose(member, of: id)
        case .failure(.unreachable), .failure(.held): return
        }
    }

    /// Opens the far members of an erasure set again, after fewer than K members were within reach.
    ///
    /// All of them: what was sent to those that stayed, before the set stood still, must not land any more.
    private func reopenMembers(of id: VolumeID, _ stripes: StripeGeometry) async {
        guard let volume = volumes[id] else { return }
        for member in volume.activeMembers where isRemote(member) && isLost(member) {
            await lose(member, of: id)
        }
        let far = volume.activeMembers.filter { isRemote($0) }
        let near = volume.activeMembers.count - far.count
        let record = volumes[id]?.record ?? volume.record
        let reachable = far.filter { isReachable($0) }
        guard reachable.count + near >= stripes.dataShards else { return }
        var memories: [MemberIndex: MemberMemory] = [:]
        for (member, result) in await open(reachable, of: record) {
            if case .success(let memory) = result { memories[member.index] = memory }
        }
        guard await volume.thread.membersReturned(memories, to: id) else { return }
        log.info(
            "volume \(record.name): \(memories.count + near) members are back, of \(stripes.dataShards) needed"
        )
    }

    /// A member's channel broke: its appliance is asked at once.
    func channelBroke(_ id: VolumeID, _ index: MemberIndex, _ fault: ChannelFault) async {
        guard let volume = volumes[id], let member = volume.record.member(index),
            fault != .dropped
        else { return }
        log.warning(
            "volume \(volume.record.name): member \(index) on \(member.appliance): \(fault)")
        await lookAfter(member.appliance)
        await lookAfter(id)
    }
}
