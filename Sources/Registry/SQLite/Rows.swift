// Records to rows and back.
//
// Reading trusts nothing: a column of the wrong type, an identifier that is none, a record that
// breaks its own invariants, all mean that the file was damaged or edited by hand, and end in
// `StorageFault.corrupt` rather than in a trap or a guess.

import FoundationEssentials
import GRDB
import RemoteMemory

/// One row, read with the table's name at hand for the complaint.
private struct Reader {
    let row: Row
    let table: String

    func text(_ column: String) throws(StorageProblem) -> String {
        try required(column, String.fromDatabaseValue)
    }

    func optionalText(_ column: String) throws(StorageProblem) -> String? {
        let value: DatabaseValue = row[column]
        return value.isNull ? nil : try text(column)
    }

    func integer(_ column: String) throws(StorageProblem) -> Int64 {
        try required(column, Int64.fromDatabaseValue)
    }

    /// An integer that counts something, as the unsigned number it is outside SQLite.
    func count(_ column: String) throws(StorageProblem) -> UInt64 {
        try required(column) { value in
            Int64.fromDatabaseValue(value).flatMap { UInt64(exactly: $0) }
        }
    }

    func optionalCount(_ column: String) throws(StorageProblem) -> UInt64? {
        let value: DatabaseValue = row[column]
        return value.isNull ? nil : try count(column)
    }

    func flag(_ column: String) throws(StorageProblem) -> Bool {
        try required(column) { value in
            switch Int64.fromDatabaseValue(value) {
            case 0: false
            case 1: true
            default: nil
            }
        }
    }

    func identifier(_ column: String) throws(StorageProblem) -> Identifier {
        try required(column) { value in String.fromDatabaseValue(value).flatMap { Identifier($0) } }
    }

    func place(_ column: String) throws(StorageProblem) -> MemberIndex {
        try required(column) { value in
            Int.fromDatabaseValue(value).flatMap { number in
                (0..<MemberIndex.limit).contains(number) ? MemberIndex(number) : nil
            }
        }
    }

    func required<Value>(
        _ column: String, _ read: (DatabaseValue) -> Value?
    ) throws(StorageProblem) -> Value {
        guard let value = read(row[column]) else {
            throw .unreadable(table: table, column: column)
        }
        return value
    }

    /// `make()`, whose complaint about a record is a complaint about the row here.
    func record<Record>(
        _ make: () throws(RegistryError) -> Record
    ) throws(StorageProblem) -> Record {
        do {
            return try make()
        } catch {
            throw .unreadable(table: table, column: "record: \(error)")
        }
    }
}

extension ApplianceRecord {
    init(row: Row) throws(StorageProblem) {
        let reader = Reader(row: row, table: "appliance")
        let name = try reader.text("name")
        let address = try reader.text("address")
        let failureDomain = try reader.optionalText("failure_domain")
        let isDraining = try reader.flag("draining")
        self = try reader.record { () throws(RegistryError) in
            try ApplianceRecord(
                name: name, address: address, failureDomain: failureDomain, isDraining: isDraining)
        }
    }

    func insert(into database: Database) throws {
        try database.execute(
            sql: """
                INSERT INTO appliance (name, address, failure_domain, draining) VALUES (?, ?, ?, ?)
                """, arguments: [name, address, failureDomain, isDraining])
    }
}

extension SnapshotChanges {
    init(row: Row) throws(StorageProblem) {
        let reader = Reader(row: row, table: "snapshot_changes")
        let extents: DatabaseValue = row["extents"]
        self.init(
            cut: Epoch(try reader.count("cut")),
            extentSize: ByteCount(try reader.count("extent_size")),
            words: extents.isNull
                ? nil
                : try reader.required("extents") { value in
                    Data.fromDatabaseValue(value).flatMap(SnapshotChanges.words)
                })
    }
}

extension OwnerID {
    /// The client device of a `row` of the table that says whose registry it is.
    init(holderRow row: Row) throws(StorageProblem) {
        self.init(try Reader(row: row, table: "device").identifier("owner"))
    }
}

extension MemberRecord {
    fileprivate init(row: Row) throws(StorageProblem) {
        let reader = Reader(row: row, table: "member")
        self.init(
            index: try reader.place("position"),
            state: try reader.required("state") { value in
                String.fromDatabaseValue(value).flatMap { MemberState(rawValue: $0) }
            },
            region: RegionID(try reader.identifier("region")),
            appliance: try reader.text("appliance"),
            incarnation: Incarnation(try reader.identifier("incarnation")),
            isLeaving: try reader.flag("leaving"))
    }

    fileprivate func insert(into volume: VolumeID, of database: Database) throws {
        try database.execute(
            sql: """
                INSERT INTO member (volume, position, state, region, appliance, incarnation, leaving)
                VALUES (?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                volume.description, index.number, state.rawValue, region.description, appliance,
                incarnation.description, isLeaving,
            ])
    }
}

extension VolumeRecord {
    /// The volume of a `row` of its table, with the members it has in `database`.
    init(row: Row, in database: Database) throws {
        let reader = Reader(row: row, table: "volume")
        let id = VolumeID(try reader.identifier("id"))
        let name = try reader.text("name")
        let size = ByteCount(try reader.count("size"))
        let layout = try reader.required("layout") { value in
            String.fromDatabaseValue(value).flatMap { Layout($0) }
        }
        let ordering = try reader.required("ordering") { value in
            String.fromDatabaseValue(value).flatMap { Ordering(rawValue: $0) }
        }
        let chunk = try reader.optionalCount("chunk").map { ByteCount($0) }
        let epoch = Epoch(try reader.count("epoch"))
        let owner = try reader.optionalText("owner") == nil ? nil : reader.identifier("owner")
        let members = try Row.fetchAll(
            database, sql: "SELECT * FROM member WHERE volume = ? ORDER BY position",
            arguments: [id.description]
        ).map { try MemberRecord(row: $0) }
        self = try reader.record { () throws(RegistryError) in
            try VolumeRecord(
                name: name, id: id, size: size, layout: layout, ordering: ordering,
                chunk: chunk ?? StripeGeometry.usualChunk, epoch: epoch,
                owner: owner.map { OwnerID($0) }, members: members)
        }
    }

    func insert(into database: Database) throws {
        try database.execute(
            sql: """
                INSERT INTO volume (id, name, size, layout, ordering, chunk, epoch, owner)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                id.description, name, Int64(size.bytes), layout.description, ordering.rawValue,
                stripes.map { Int64($0.chunk.bytes) }, Int64(epoch.number), owner?.description,
            ])
        for member in members { try member.insert(into: id, of: database) }
    }

    /// Puts this record in the place of the volume's stored one, and `snapshot` beside it.
    ///
    /// The few members are all written anew: that is simpler to trust than a difference. They go
    /// before the snapshot comes, because a region may not be both at any moment.
    func replace(in database: Database, cutting snapshot: SnapshotRecord?) throws {
        try database.execute(
            sql: "UPDATE volume SET epoch = ?, owner = ?, layout = ?, size = ? WHERE id = ?",
            arguments: [
                Int64(epoch.number), owner?.description, layout.description, Int64(size.bytes),
                id.description,
            ])
        try database.execute(
            sql: "DELETE FROM member WHERE volume = ?", arguments: [id.description])
        try snapshot?.insert(into: database)
        for member in members { try member.insert(into: id, of: database) }
    }
}

extension VolumeLimits {
    /// The volume of a `row` of the table of limits, and what they are.
    static func entry(row: Row) throws(StorageProblem) -> (VolumeID, VolumeLimits) {
        let reader = Reader(row: row, table: "volume_limit")
        let bandwidth = try reader.optionalCount("bandwidth")
        return (
            VolumeID(try reader.identifier("volume")),
            VolumeLimits(
                iops: try reader.optionalCount("iops"), bandwidth: bandwidth.map { ByteCount($0) })
        )
    }
}

extension SnapshotRecord {
    /// The snapshot of a `row` of its table, with the further regions it has in `database`.
    init(row: Row, in database: Database) throws {
        let reader = Reader(row: row, table: "snapshot")
        let volume = VolumeID(try reader.identifier("volume"))
        let name = try reader.text("name")
        let size = ByteCount(try reader.count("size"))
        let layout: Layout? =
            try reader.optionalText("layout") == nil
            ? nil
            : reader.required("layout") { String.fromDatabaseValue($0).flatMap { Layout($0) } }
        let chunk = try reader.optionalCount("chunk").map { ByteCount($0) }
        let cutAtEpoch = Epoch(try reader.count("cut_at_epoch"))
        let createdAt = try reader.integer("created_at")
        let first = try SnapshotMember(row: row, table: "snapshot", index: MemberIndex(0))
        let others = try Row.fetchAll(
            database,
            sql: """
                SELECT * FROM snapshot_member WHERE volume = ? AND snapshot = ? ORDER BY position
                """,
            arguments: [volume.description, name]
        ).map { try SnapshotMember(row: $0) }
        self = try reader.record { () throws(RegistryError) in
            try SnapshotRecord(
                volume: volume, name: name, size: size,
                stripes: try layout.map { layout throws(RegistryError) in
                    try VolumeRecord.stripes(
                        of: layout, chunk: chunk ?? StripeGeometry.usualChunk, size: size)
                } ?? nil,
                members: [first] + others, cutAtEpoch: cutAtEpoch, createdAt: createdAt)
        }
    }

    fileprivate func insert(into database: Database) throws {
        let layout = stripes.map { Layout.erasure(data: $0.dataShards, parity: $0.parityShards) }
        try database.execute(
            sql: """
                INSERT INTO snapshot (volume, name, size, region, appliance, incarnation,
                                      cut_at_epoch, created_at, layout, chunk)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """,
            arguments: [
                volume.description, name, Int64(size.bytes), region.description, appliance,
                incarnation.description, Int64(cutAtEpoch.number), createdAt,
                layout?.description, stripes.map { Int64($0.chunk.bytes) },
            ])
        for member in members.dropFirst() {
            try database.execute(
                sql: """
                    INSERT INTO snapshot_member (volume, snapshot, position, region, appliance,
                                                 incarnation)
                    VALUES (?, ?, ?, ?, ?, ?)
                    """,
                arguments: [
                    volume.description, name, member.index.number, member.region.description,
                    member.appliance, member.incarnation.description,
                ])
        }
    }
}

extension SnapshotMember {
    /// The region of a `row`; its place is in a column of it unless it is given.
    fileprivate init(row: Row, table: String = "snapshot_member", index: MemberIndex? = nil)
        throws(StorageProblem)
    {
        let reader = Reader(row: row, table: table)
        let place = if let index { index } else { try reader.place("position") }
        self.init(
            index: place,
            region: RegionID(try reader.identifier("region")),
            appliance: try reader.text("appliance"),
            incarnation: Incarnation(try reader.identifier("incarnation")))
    }
}
