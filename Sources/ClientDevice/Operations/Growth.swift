// What an operator asks for: a larger volume, while it is used.
//
//     regions grow on their appliances ──▶ reached anew here ──▶ hold, drain, record, release ──▶ published
//
// A region that is larger than its volume does no harm. So nothing is undone when somebody refuses or is killed on the
// way: the registry tells the size, and what has grown is there for the next try. A member that failed grows when it
// comes back, before it is opened (ApplianceLink).

import Appliance
package import Control
import Logging
import Registry
import RemoteMemory

extension ClientDevice {
    /// How often it is looked whether the size is recorded.
    private static let growthInterval = Duration.milliseconds(5)

    package func resizeVolume(
        named name: String, _ resize: VolumeResize
    ) async throws(ControlError) -> VolumeStatus {
        try check(resize.size)
        try await waitForAddition(to: name)
        let volume = try findChangeable(name)
        let id = volume.record.id
        let former = volume.record.size
        guard resize.size != former else { return await status(of: volume) }
        guard resize.size > former else {
            throw ControlError(.illegalChange(.wouldNotGrow(from: former, to: resize.size)))
        }
        guard volume.twinning == nil else {
            throw ControlError(
                .conflict, "a member of \(name) is being moved; try again when that has ended")
        }
        guard !volume.isReplacing else {
            throw ControlError(
                .conflict, "a member of \(name) is just being added; try again in a moment")
        }
        // (Whoever is added has to have the size of the others.)
        volumes[id]?.isReplacing = true
        volumes[id]?.isGrowing = true
        defer {
            volumes[id]?.isReplacing = false
            volumes[id]?.isGrowing = false
        }
        try await growRegions(of: volume, to: resize.size)
        try await record(resize.size, of: volume)
        await publish()
        return try await self.volume(named: name)
    }

    /// Has the region of every member that has not failed grow, and this device reach all of it.
    private func growRegions(
        of volume: ManagedVolume, to size: ByteCount
    ) async throws(ControlError) {
        let record = volume.record
        let dataSize = record.stripes?.grown(to: size).regionDataSize ?? size
        let owner = owner
        for member in record.liveMembers {
            do throws(ApplianceConnectionError) {
                try await call(member.appliance) { connection throws(ApplianceConnectionError) in
                    try connection.grow(
                        member.region, owner: owner, epoch: record.epoch, to: dataSize)
                }
            } catch {
                let code: ControlError.Code =
                    switch error {
                    case .refused(.insufficientMemory), .refused(.insufficientHugePages):
                        .insufficientMemory
                    default: .unavailable
                    }
                throw ControlError(
                    code,
                    "volume \(record.name) keeps its size, as its member on \(member.appliance) cannot grow: \(error)"
                )
            }
        }
        if let problem = await volume.thread.enlargeRegions(of: record.id, to: dataSize) {
            throw ControlError(.failed, "volume \(record.name) keeps its size: \(problem)")
        }
    }

    /// Has writes held while the registry is told; throws when the volume is what it was.
    private func record(_ size: ByteCount, of volume: ManagedVolume) async throws(ControlError) {
        let id = volume.record.id
        guard await volume.thread.beginGrowth(of: id, to: size) else {
            throw ControlError(
                .unavailable,
                "volume \(volume.record.name) cannot be resized now, as its set is changing or lacks members: see "
                    + "'holdfast status' and try again")
        }
        while await volume.thread.isGrowing(id) { try? await Task.sleep(for: Self.growthInterval) }
        guard volumes[id]?.record.size == size else {
            throw ControlError(
                .unavailable,
                "volume \(volume.record.name) keeps its size: too few members were left, or the registry did not take "
                    + "it; see 'holdfast status' and the log of the client device, and try again")
        }
    }
}
