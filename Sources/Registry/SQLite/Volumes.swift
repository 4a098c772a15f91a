// The volumes, their owners and members.
//
// Each change reads the record, asks the pure transition for the next one and stores that, in one
// transaction. Only what spans several records is checked here: names, appliances, and that a region
// serves once.

import GRDB
public import RemoteMemory

extension SQLiteRegistry {
    /// All volumes, in order of name.
    public func volumes() throws(RegistryError) -> [VolumeRecord] {
        try look { database in
            try Row.fetchAll(database, sql: "SELECT * FROM volume ORDER BY name")
                .map { try VolumeRecord(row: $0, in: database) }
        }
    }

    /// The volume with this name.
    ///
    /// Throws `notFound`.
    public func volume(named name: String) throws(RegistryError) -> VolumeRecord {
        try look { database in try Self.load(named: name, from: database) }
    }

    /// Records a new, empty volume.
    ///
    /// Its members must be active, its appliances known, its regions new. Throws `alreadyExists` for
    /// its name or identifier, `notFound` for an appliance, `illegalChange` for members and regions.
    public func createVolume(_ volume: VolumeRecord) throws(RegistryError) {
        try VolumeRecord.check(fresh: volume.members)
        try change { database in
            let taken = try Row.fetchOne(
                database, sql: "SELECT name FROM volume WHERE name = ? OR id = ?",
                arguments: [volume.name, volume.id.description])
            if taken != nil { throw RegistryError.alreadyExists(.volume, name: volume.name) }
            try Self.checkReferences(of: volume, in: database)
            try volume.insert(into: database)
        }
    }

    /// Forgets a volume and returns its last record, whose regions are now the caller's to free.
    ///
    /// Its owner, if one still runs, learns of it by `notFound` at its next change. Throws
    /// `notFound`, and `inUse` while the volume has snapshots.
    @discardableResult
    public func deleteVolume(named name: String) throws(RegistryError) -> VolumeRecord {
        try change { database in
            let volume = try Self.load(named: name, from: database)
            let id = volume.id.description
            let count = try Int.fetchOne(
                database, sql: "SELECT count(*) FROM snapshot WHERE volume = ?", arguments: [id])
            if let count, count > 0 {
                throw RegistryError.inUse(.volumeHasSnapshots(volume: name, count: count))
            }
            try database.execute(sql: "DELETE FROM volume WHERE id = ?", arguments: [id])
            return volume
        }
    }

    /// Makes `owner` the volume's owner, at the epoch after `expecting`.
    ///
    /// Of several callers with the same `expecting` one succeeds. Throws `notFound` and
    /// `staleEpoch`.
    public func takeOver(
        _ id: VolumeID, by owner: OwnerID, expecting: Epoch
    ) throws(RegistryError) -> VolumeRecord {
        try step(id) { volume throws(RegistryError) in
            (try volume.takenOver(by: owner, expecting: expecting), nil)
        }
    }

    /// Changes the volume's members, all changes or none, at the epoch after `expecting`.
    ///
    /// Throws `notFound` for the volume or an appliance, `alreadyExists` for a snapshot's name,
    /// `illegalChange` for a region in use elsewhere, and what `VolumeRecord.applying` throws.
    public func change(
        _ id: VolumeID, _ changes: [MembershipChange], owner: OwnerID, expecting: Epoch
    ) throws(RegistryError) -> VolumeRecord {
        try step(id) { volume throws(RegistryError) in
            try volume.applying(changes, owner: owner, expecting: expecting)
        }
    }

    /// Makes a lost volume anew on `members`, empty, at the epoch after `expecting`.
    ///
    /// Throws `notFound` for the volume or an appliance, `illegalChange` for a region in use
    /// elsewhere, and what `VolumeRecord.reset` throws.
    public func resetMembers(
        of id: VolumeID, to members: [MemberRecord], owner: OwnerID, expecting: Epoch
    ) throws(RegistryError) -> VolumeRecord {
        try step(id) { volume throws(RegistryError) in
            (try volume.reset(to: members, owner: owner, expecting: expecting), nil)
        }
    }
}

extension SQLiteRegistry {
    /// Replaces a volume by its `next` record, and keeps the snapshot that was cut on the way.
    private func step(
        _ id: VolumeID,
        next: (VolumeRecord) throws(RegistryError) -> (VolumeRecord, SnapshotRecord?)
    ) throws(RegistryError) -> VolumeRecord {
        try change { database in
            let volume = try Self.load(id, from: database)
            let (next, snapshot) = try next(volume)
            if let snapshot, try Self.snapshotExists(snapshot.name, of: id, in: database) {
                throw RegistryError.alreadyExists(
                    .snapshot, name: "\(volume.name)@\(snapshot.name)")
            }
            try Self.checkReferences(of: next, in: database)
            if let snapshot { try Self.checkReferences(of: snapshot, in: database) }
            try next.replace(in: database, cutting: snapshot)
            return next
        }
    }

    static func load(_ id: VolumeID, from database: Database) throws -> VolumeRecord {
        let row = try Row.fetchOne(
            database, sql: "SELECT * FROM volume WHERE id = ?", arguments: [id.description])
        guard let row else { throw RegistryError.notFound(.volume, name: id.description) }
        return try VolumeRecord(row: row, in: database)
    }

    private static func load(named name: String, from database: Database) throws -> VolumeRecord {
        let row = try Row.fetchOne(
            database, sql: "SELECT * FROM volume WHERE name = ?", arguments: [name])
        guard let row else { throw RegistryError.notFound(.volume, name: name) }
        return try VolumeRecord(row: row, in: database)
    }

    /// Throws unless every appliance of the volume is known and no region serves elsewhere.
    ///
    /// The tables' own constraints would catch the same, but could not say which name to act on.
    private static func checkReferences(of volume: VolumeRecord, in database: Database) throws {
        for member in volume.members {
            try check(
                member.region, on: member.appliance, of: volume.id, in: database)
        }
    }

    /// The same of the regions that become a snapshot; those of a mirror's were a member's just now.
    private static func checkReferences(of snapshot: SnapshotRecord, in database: Database) throws {
        for member in snapshot.members {
            try check(member.region, on: member.appliance, of: snapshot.volume, in: database)
        }
    }

    private static func check(
        _ region: RegionID, on appliance: String, of volume: VolumeID, in database: Database
    ) throws {
        guard try applianceExists(appliance, in: database) else {
            throw RegistryError.notFound(.appliance, name: appliance)
        }
        let taken = try Bool.fetchOne(
            database,
            sql: """
                SELECT EXISTS (SELECT 1 FROM member WHERE region = ?1 AND volume <> ?2)
                    OR EXISTS (SELECT 1 FROM snapshot WHERE region = ?1)
                    OR EXISTS (SELECT 1 FROM snapshot_member WHERE region = ?1)
                """, arguments: [region.description, volume.description])
        if taken ?? false { throw RegistryError.illegalChange(.regionTaken(region)) }
    }
}
