// What was changed since each snapshot, from one client device to the next.

import Logging
import Registry
import RemoteMemory

extension ClientDevice {
    /// Takes what the owner of the volume until `epoch` saved when it stopped.
    ///
    /// Without it all counts as changed, which costs a backup and nothing else.
    func takeChanges(of id: VolumeID, savedAt epoch: Epoch) {
        do throws(RegistryError) {
            volumes[id]?.savedChanges = try registry.takeChanges(of: id, savedAt: epoch)
        } catch {
            log.warning(
                """
                what was changed since the snapshots of \(volumes[id]?.record.name ?? "\(id)") is not known: \(error)
                """)
        }
    }

    /// Saves what is known of the changes of a thread's volumes, for the next client device; their last requests
    /// have been answered.
    func saveChanges(on thread: DataThread) async {
        for (id, volume) in volumes where volume.thread === thread && !volume.snapshots.isEmpty {
            // (What waits for its members has not been touched since it was taken over.)
            let changes = await thread.savedChanges(of: id) ?? volume.savedChanges
            guard !changes.isEmpty, let record = volumes[id]?.record else { continue }
            do throws(RegistryError) {
                try registry.saveChanges(changes, of: id, at: record.epoch)
            } catch {
                log.warning(
                    """
                    what was changed since the snapshots of \(record.name) will not be known: \(error)
                    """)
            }
        }
    }
}
