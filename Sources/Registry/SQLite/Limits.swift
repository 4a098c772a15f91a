// What the clients of each volume get at most.
//
// A table of its own: limits say nothing of who holds a volume's data, so a change of them is no new epoch.

import GRDB
public import RemoteMemory

extension SQLiteRegistry {
    /// The limits of the volumes that have any.
    public func limits() throws(RegistryError) -> [VolumeID: VolumeLimits] {
        try look { database in
            let rows = try Row.fetchAll(database, sql: "SELECT * FROM volume_limit")
            return Dictionary(
                try rows.map { try VolumeLimits.entry(row: $0) },
                uniquingKeysWith: { first, _ in first })
        }
    }

    /// Records the limits of a volume, in the place of those it had.
    ///
    /// Throws `notFound`.
    public func setLimits(
        _ limits: VolumeLimits, of id: VolumeID
    ) throws(RegistryError) {
        try change { database in
            _ = try Self.load(id, from: database)
            try database.execute(
                sql: "DELETE FROM volume_limit WHERE volume = ?", arguments: [id.description])
            guard limits != .none else { return }
            try database.execute(
                sql: "INSERT INTO volume_limit (volume, iops, bandwidth) VALUES (?, ?, ?)",
                arguments: [
                    id.description, limits.iops.map { Int64(clamping: $0) },
                    limits.bandwidth.map { Int64(clamping: $0.bytes) },
                ])
        }
    }
}
