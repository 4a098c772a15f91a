// What an operator asks for: how fast the clients of a volume may go.

package import Control
import Logging
import Registry
import RemoteMemory

extension ClientDevice {
    package func limitVolume(
        named name: String, _ change: LimitChange
    ) async throws(ControlError) -> VolumeStatus {
        let volume = try find(name)
        let id = volume.record.id
        if let bandwidth = change.bandwidth, bandwidth > .zero,
            bandwidth < VolumeLimits.leastBandwidth
        {
            throw ControlError(
                .invalid,
                "a limit of bandwidth is \(VolumeLimits.leastBandwidth) a second or more, or 0 for none"
            )
        }
        var limits = volume.limits
        if let iops = change.iops { limits.iops = iops > 0 ? iops : nil }
        if let bandwidth = change.bandwidth {
            limits.bandwidth = bandwidth > .zero ? bandwidth : nil
        }
        do throws(RegistryError) {
            try registry.setLimits(limits, of: id)
        } catch {
            throw ControlError(error)
        }
        volumes[id]?.limits = limits
        await volume.thread.limit(id, to: limits)
        let words = [
            limits.iops.map { "\($0) requests" }, limits.bandwidth.map { "\($0)" },
        ].compactMap { $0 }
        log.info(
            "volume \(name): clients get \(words.isEmpty ? "as much as there is" : "at most \(words.joined(separator: " and ")) a second")"
        )
        return try await self.volume(named: name)
    }
}
