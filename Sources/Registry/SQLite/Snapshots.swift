// The snapshots of a volume. They come into being by `MembershipChange.cut` and
// `cutGeneration`, in the same transaction in which the volume's epoch grows; here they are only listed and forgotten.

import GRDB
public import RemoteMemory

extension SQLiteRegistry {
    /// The snapshots of a volume in the order they were cut.
    ///
    /// Throws `notFound` for the volume.
    public func snapshots(of id: VolumeID) throws(RegistryError) -> [SnapshotRecord] {
        try look { database in
            // By epoch, not by time: clocks step back, epochs do not.
            let rows = try Row.fetchAll(
                database, sql: "SELECT * FROM snapshot WHERE volume = ? ORDER BY cut_at_epoch",
                arguments: [id.description])
            // A volume without snapshots is not the same as no volume.
            if rows.isEmpty { _ = try Self.load(id, from: database) }
            return try rows.map { try SnapshotRecord(row: $0, in: database) }
        }
    }

    /// Forgets a snapshot and returns its record, whose regions are now the caller's to free.
    ///
    /// Throws `notFound`.
    @discardableResult
    public func deleteSnapshot(
        of id: VolumeID, named name: String
    ) throws(RegistryError) -> SnapshotRecord {
        try change { database in
            let row = try Row.fetchOne(
                database, sql: "SELECT * FROM snapshot WHERE volume = ? AND name = ?",
                arguments: [id.description, name])
            guard let row else { throw RegistryError.notFound(.snapshot, name: name) }
            let snapshot = try SnapshotRecord(row: row, in: database)
            try database.execute(
                sql: "DELETE FROM snapshot WHERE volume = ? AND name = ?",
                arguments: [id.description, name])
            return snapshot
        }
    }

    static func snapshotExists(
        _ name: String, of id: VolumeID, in database: Database
    ) throws -> Bool {
        try Bool.fetchOne(
            database, sql: "SELECT EXISTS (SELECT 1 FROM snapshot WHERE volume = ? AND name = ?)",
            arguments: [id.description, name]) ?? false
    }
}
