// The appliances a volume may be placed on.

import GRDB

extension SQLiteRegistry {
    /// All appliances, in order of name.
    public func appliances() throws(RegistryError) -> [ApplianceRecord] {
        try look { database in
            try Row.fetchAll(database, sql: "SELECT * FROM appliance ORDER BY name")
                .map { try ApplianceRecord(row: $0) }
        }
    }

    /// Makes an appliance known.
    ///
    /// Throws `alreadyExists` when its name is taken.
    public func addAppliance(_ appliance: ApplianceRecord) throws(RegistryError) {
        try change { database in
            if try Self.applianceExists(appliance.name, in: database) {
                throw RegistryError.alreadyExists(.appliance, name: appliance.name)
            }
            try appliance.insert(into: database)
        }
    }

    /// Forgets an appliance and returns what was known of it.
    ///
    /// Throws `notFound`, and `inUse` while a member, failed ones too, or a snapshot is on it.
    @discardableResult
    public func removeAppliance(_ name: String) throws(RegistryError) -> ApplianceRecord {
        try change { database in
            let row = try Row.fetchOne(
                database, sql: "SELECT * FROM appliance WHERE name = ?", arguments: [name])
            guard let row else { throw RegistryError.notFound(.appliance, name: name) }
            let appliance = try ApplianceRecord(row: row)
            if let use = try Self.use(ofAppliance: name, in: database) {
                throw RegistryError.inUse(use)
            }
            try database.execute(sql: "DELETE FROM appliance WHERE name = ?", arguments: [name])
            return appliance
        }
    }

    /// Marks an appliance as one to be emptied, or no longer so, and returns its record.
    ///
    /// Throws `notFound`.
    @discardableResult
    public func setDraining(
        _ isDraining: Bool, of name: String
    ) throws(RegistryError) -> ApplianceRecord {
        try change { database in
            try database.execute(
                sql: "UPDATE appliance SET draining = ? WHERE name = ?",
                arguments: [isDraining, name])
            let row = try Row.fetchOne(
                database, sql: "SELECT * FROM appliance WHERE name = ?", arguments: [name])
            guard let row else { throw RegistryError.notFound(.appliance, name: name) }
            return try ApplianceRecord(row: row)
        }
    }

    static func applianceExists(_ name: String, in database: Database) throws -> Bool {
        try Bool.fetchOne(
            database, sql: "SELECT EXISTS (SELECT 1 FROM appliance WHERE name = ?)",
            arguments: [name]) ?? false
    }

    /// The first volume, by name, that has a member or else a snapshot on the appliance.
    private static func use(
        ofAppliance name: String, in database: Database
    ) throws -> RegistryUse? {
        let member = try String.fetchOne(
            database,
            sql: """
                SELECT volume.name FROM member JOIN volume ON volume.id = member.volume
                WHERE member.appliance = ? ORDER BY volume.name
                """, arguments: [name])
        if let member { return .applianceHoldsMember(appliance: name, volume: member) }
        let row = try Row.fetchOne(
            database,
            sql: """
                SELECT snapshot.* FROM snapshot JOIN volume ON volume.id = snapshot.volume
                WHERE snapshot.appliance = ?1 OR EXISTS (
                    SELECT 1 FROM snapshot_member AS other
                    WHERE other.volume = snapshot.volume AND other.snapshot = snapshot.name
                        AND other.appliance = ?1)
                ORDER BY volume.name, snapshot.name
                """, arguments: [name])
        let found = try row.map { try SnapshotRecord(row: $0, in: database) }
        guard let snapshot = found else { return nil }
        let volume = try load(snapshot.volume, from: database)
        return .applianceHoldsSnapshot(
            appliance: name, volume: volume.name, snapshot: snapshot.name)
    }
}
