// What was changed since each snapshot, kept from an orderly stop until the next start.
//
//     last request answered ──▶ saved, at epoch e ──▶ (nobody) ──▶ taken over from e ──▶ taken, and gone from here
//
// While a volume is used its maps are in memory alone: on the way of a write there is no registry. So what stands
// here was true when it was saved, and whoever writes the volume must have taken it before: it is taken once, and
// counts only at the epoch at which it was saved. After a crash there is nothing, and all counts as changed.

import FoundationEssentials
import GRDB
public import RemoteMemory

extension SQLiteRegistry {
    /// Saves what was changed since each snapshot of a volume, in the place of what was saved before; nobody may
    /// write it any more.
    ///
    /// Throws `notFound`, and `staleEpoch` unless the volume is at `epoch`.
    public func saveChanges(
        _ changes: [SnapshotChanges], of id: VolumeID, at epoch: Epoch
    ) throws(RegistryError) {
        try change { database in
            let volume = try Self.load(id, from: database)
            guard volume.epoch == epoch else {
                throw RegistryError.staleEpoch(expected: epoch, found: volume.epoch)
            }
            try Self.deleteChanges(of: id, in: database)
            for change in changes { try change.insert(for: id, at: epoch, into: database) }
        }
    }

    /// Takes what was saved of a volume's changes, if it was saved at `epoch`; nothing is left of it here.
    public func takeChanges(
        of id: VolumeID, savedAt epoch: Epoch
    ) throws(RegistryError) -> [SnapshotChanges] {
        try change { database in
            let rows = try Row.fetchAll(
                database,
                sql: "SELECT * FROM snapshot_changes WHERE volume = ? AND epoch = ? ORDER BY cut",
                arguments: [id.description, Int64(epoch.number)])
            let changes = try rows.map { try SnapshotChanges(row: $0) }
            try Self.deleteChanges(of: id, in: database)
            return changes
        }
    }

    private static func deleteChanges(of id: VolumeID, in database: Database) throws {
        try database.execute(
            sql: "DELETE FROM snapshot_changes WHERE volume = ?", arguments: [id.description])
    }
}

extension SnapshotChanges {
    fileprivate func insert(
        for volume: VolumeID, at epoch: Epoch, into database: Database
    ) throws {
        try database.execute(
            sql: """
                INSERT INTO snapshot_changes (volume, cut, epoch, extent_size, extents)
                VALUES (?, ?, ?, ?, ?)
                """,
            arguments: [
                volume.description, Int64(cut.number), Int64(epoch.number),
                Int64(extentSize.bytes), words.map(Self.bytes),
            ])
    }

    /// 64 extents after the other, each the lowest byte first.
    private static func bytes(of words: [UInt64]) -> Data {
        Data(words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } })
    }

    /// Nil when they are not whole words.
    static func words(of bytes: Data) -> [UInt64]? {
        guard bytes.count.isMultiple(of: 8) else { return nil }
        let bytes = Array(bytes)
        return stride(from: 0, to: bytes.count, by: 8).map { start in
            bytes[start..<start + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
    }
}
