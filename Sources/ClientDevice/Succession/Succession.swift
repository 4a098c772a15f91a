// Taking the place of a client device that hangs: one that does not answer, though its process is there.
//
//     it answers?                      refused: what answers does not hang
//     claim the directory              whoever is started meanwhile is refused; a zombie sees it and ends
//     claim the registry               a zombie can commit nothing any more
//     members in shared memory?  ┐
//     registry locked for good?  ┴──▶  kill it, and wait until the kernel says that it is gone
//     then as ever                     epoch + 1, fence, record who is missing, repair, serve
//
// Memory that a process has mapped cannot be taken from it: as long as that process may wake up, it may
// store there. So it is killed when a set has a member in shared memory. Members on other hosts are
// fenced by epoch at their appliances, however alive the old owner is; then it need not be killed, and
// finds out by itself when it goes on. The third reason is a process that was stopped in the middle of a
// change of the registry: it holds the lock of that for good.

import Glibc
package import Logging
import Registry
import RemoteMemory

/// What became of the client device that was there before.
package struct Succession: Sendable {
    package let claim: DeviceClaim
    /// The process in whose place this one is, if it is still there.
    package let zombie: Int32?

    package init(claim: DeviceClaim, zombie: Int32? = nil) {
        self.claim = claim
        self.zombie = zombie
    }

    /// Becomes the client device of `directory`, in the place of one that hangs if there is one.
    ///
    /// - Throws: `ClaimError`; `RegistryError` when the registry cannot be used at all.
    package static func takeOver(_ directory: String, log: Logger) throws -> Succession {
        do throws(ClaimError) {
            return Succession(claim: try DeviceClaim.take(directory))
        } catch {
            guard case .held = error else { throw error }
        }
        guard let record = DeviceClaim.record(in: directory) else {
            throw ClaimError.held(directory: directory, by: nil)
        }
        guard !Predecessor.answers(in: directory) else {
            throw ClaimError.answers(directory: directory, process: record.process)
        }
        let predecessor = Predecessor(record)
        log.warning(
            "the client device of \(directory), process \(record.process), hangs: taking over")
        let claim = try DeviceClaim.replace(directory)
        guard let reason = try reasonToKill(directory, claimedBy: claim.owner) else {
            log.warning(
                """
                process \(record.process) is left alone: all members are fenced by their appliances; it \
                ends by itself when it goes on
                """)
            return Succession(claim: claim, zombie: record.process)
        }
        log.warning("process \(record.process) is killed: \(reason)")
        try predecessor.end()
        return Succession(claim: claim)
    }

    /// Claims the registry; returns why whoever had it must be gone before more is done, nil if it need not.
    private static func reasonToKill(
        _ directory: String, claimedBy owner: OwnerID
    ) throws(RegistryError) -> String? {
        do throws(RegistryError) {
            let registry = try SQLiteRegistry(path: ClientDevice.registryPath(in: directory))
            try registry.claim(by: owner)
            let onThisHost = Set(
                try registry.appliances().filter { $0.address.hasPrefix("unix:") }.map(\.name))
            let mapped = try registry.volumes().first { volume in
                volume.liveMembers.contains { onThisHost.contains($0.appliance) }
            }
            return mapped.map { "volume \($0.name) has members in memory that it has mapped" }
        } catch {
            guard case .storage(.busy, _) = error else { throw error }
            return "it was stopped in the middle of a change of the registry, which stays locked"
        }
    }
}
