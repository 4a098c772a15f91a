// The tables. Their constraints repeat the invariants of the records on purpose: a record checks
// what this process is about to do, a constraint what any process ever did, and the two were written
// against each other.
//
// Identifiers are kept as 32 hexadecimal digits rather than 16 bytes: whoever opens the file by hand
// has an outage to understand, and a few hundred bytes buy legible rows.
//
// A migration that has shipped is never edited. A file with a migration unknown here was written by
// a newer version and is refused.

import GRDB

enum Schema {
    static var migrator: DatabaseMigrator {
        var migrator = DatabaseMigrator()
        migrator.registerMigration("registry-1") { database in
            try database.execute(sql: tables)
            try database.execute(sql: triggers)
        }
        migrator.registerMigration("registry-2") { database in
            try database.execute(sql: departures)
        }
        migrator.registerMigration("registry-3") { database in
            try database.execute(sql: claim)
        }
        migrator.registerMigration("registry-4") { database in
            try database.execute(sql: chunks)
        }
        migrator.registerMigration("registry-5") { database in
            try database.execute(sql: limits)
        }
        migrator.registerMigration("registry-6") { database in
            try database.execute(sql: generations)
        }
        migrator.registerMigration("registry-7") { database in
            try database.execute(sql: changes)
        }
        return migrator
    }

    private static let tables = """
        CREATE TABLE appliance (
            name TEXT PRIMARY KEY CHECK (length(name) BETWEEN 1 AND 64),
            address TEXT NOT NULL,
            failure_domain TEXT
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE volume (
            id TEXT PRIMARY KEY CHECK (length(id) = 32),
            name TEXT NOT NULL UNIQUE CHECK (length(name) BETWEEN 1 AND 64),
            size INTEGER NOT NULL CHECK (size > 0),
            layout TEXT NOT NULL CHECK (layout <> ''),
            ordering TEXT NOT NULL CHECK (ordering IN ('parallel', 'sequential')),
            epoch INTEGER NOT NULL CHECK (epoch >= 0),
            owner TEXT CHECK (length(owner) = 32)
        ) STRICT, WITHOUT ROWID;

        CREATE TABLE member (
            volume TEXT NOT NULL REFERENCES volume (id) ON DELETE CASCADE,
            position INTEGER NOT NULL CHECK (position BETWEEN 0 AND 15),
            state TEXT NOT NULL CHECK (state IN ('active', 'suspect', 'failed', 'rebuilding')),
            region TEXT NOT NULL UNIQUE CHECK (length(region) = 32),
            appliance TEXT NOT NULL REFERENCES appliance (name),
            incarnation TEXT NOT NULL CHECK (length(incarnation) = 32),
            PRIMARY KEY (volume, position)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX member_appliance ON member (appliance);

        CREATE TABLE snapshot (
            volume TEXT NOT NULL REFERENCES volume (id),
            name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 64),
            size INTEGER NOT NULL CHECK (size > 0),
            region TEXT NOT NULL UNIQUE CHECK (length(region) = 32),
            appliance TEXT NOT NULL REFERENCES appliance (name),
            incarnation TEXT NOT NULL CHECK (length(incarnation) = 32),
            cut_at_epoch INTEGER NOT NULL CHECK (cut_at_epoch >= 0),
            created_at INTEGER NOT NULL,
            PRIMARY KEY (volume, name)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX snapshot_appliance ON snapshot (appliance);
        """

    /// The client device whose registry it is, in one row or none.
    private static let claim = """
        CREATE TABLE device (
            one INTEGER PRIMARY KEY CHECK (one = 1),
            owner TEXT NOT NULL CHECK (length(owner) = 32)
        ) STRICT, WITHOUT ROWID;
        """

    /// What is to be emptied, and who is to go.
    private static let departures = """
        ALTER TABLE appliance ADD COLUMN draining INTEGER NOT NULL DEFAULT 0
            CHECK (draining IN (0, 1));
        ALTER TABLE member ADD COLUMN leaving INTEGER NOT NULL DEFAULT 0
            CHECK (leaving IN (0, 1));
        """

    /// Of erasure sets: how many bytes stand together on one member.
    private static let chunks = """
        ALTER TABLE volume ADD COLUMN chunk INTEGER CHECK (chunk > 0);
        """

    /// What clients of a volume get at most, in a second.
    private static let limits = """
        CREATE TABLE volume_limit (
            volume TEXT PRIMARY KEY REFERENCES volume (id) ON DELETE CASCADE,
            iops INTEGER CHECK (iops > 0),
            bandwidth INTEGER CHECK (bandwidth > 0),
            CHECK (iops IS NOT NULL OR bandwidth IS NOT NULL)
        ) STRICT, WITHOUT ROWID;
        """

    /// Of snapshots of erasure sets: their regions but for the first.
    ///
    /// That one is in the row of the snapshot, as the only one of a mirror's is.
    private static let generations = """
        ALTER TABLE snapshot ADD COLUMN layout TEXT CHECK (layout <> '');
        ALTER TABLE snapshot ADD COLUMN chunk INTEGER CHECK (chunk > 0);

        CREATE TABLE snapshot_member (
            volume TEXT NOT NULL,
            snapshot TEXT NOT NULL,
            position INTEGER NOT NULL CHECK (position BETWEEN 1 AND 15),
            region TEXT NOT NULL UNIQUE CHECK (length(region) = 32),
            appliance TEXT NOT NULL REFERENCES appliance (name),
            incarnation TEXT NOT NULL CHECK (length(incarnation) = 32),
            PRIMARY KEY (volume, snapshot, position),
            FOREIGN KEY (volume, snapshot) REFERENCES snapshot (volume, name) ON DELETE CASCADE
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX snapshot_member_appliance ON snapshot_member (appliance);

        CREATE TRIGGER member_region_is_in_no_generation BEFORE INSERT ON member
        WHEN EXISTS (SELECT 1 FROM snapshot_member WHERE region = NEW.region)
        BEGIN SELECT RAISE(ABORT, 'the region of a snapshot is no member'); END;

        CREATE TRIGGER snapshot_region_is_in_no_other BEFORE INSERT ON snapshot
        WHEN EXISTS (SELECT 1 FROM snapshot_member WHERE region = NEW.region)
        BEGIN SELECT RAISE(ABORT, 'the region of a snapshot is in no other'); END;

        CREATE TRIGGER generation_region_is_its_own BEFORE INSERT ON snapshot_member
        WHEN EXISTS (SELECT 1 FROM member WHERE region = NEW.region)
            OR EXISTS (SELECT 1 FROM snapshot WHERE region = NEW.region)
        BEGIN SELECT RAISE(ABORT, 'the region of a member is no snapshot'); END;
        """

    /// What was changed since each snapshot, between an orderly stop and the next start.
    ///
    /// Each row tells of the time until the next one's cut, so that all of a volume are kept and taken together;
    /// a snapshot that is deleted meanwhile leaves its row. Extents that are NULL are not known.
    private static let changes = """
        CREATE TABLE snapshot_changes (
            volume TEXT NOT NULL REFERENCES volume (id) ON DELETE CASCADE,
            cut INTEGER NOT NULL CHECK (cut >= 0),
            epoch INTEGER NOT NULL CHECK (epoch >= cut),
            extent_size INTEGER NOT NULL CHECK (extent_size > 0),
            extents BLOB,
            PRIMARY KEY (volume, cut)
        ) STRICT, WITHOUT ROWID;
        """

    /// What no column constraint can say: fencing rests on epochs that only grow, and a snapshot on
    /// a region nobody writes.
    private static let triggers = """
        CREATE TRIGGER volume_epoch_grows BEFORE UPDATE ON volume
        WHEN NEW.epoch <= OLD.epoch
        BEGIN SELECT RAISE(ABORT, 'the epoch of a volume only grows'); END;

        CREATE TRIGGER member_region_is_no_snapshot BEFORE INSERT ON member
        WHEN EXISTS (SELECT 1 FROM snapshot WHERE region = NEW.region)
        BEGIN SELECT RAISE(ABORT, 'the region of a snapshot is no member'); END;

        CREATE TRIGGER snapshot_region_is_no_member BEFORE INSERT ON snapshot
        WHEN EXISTS (SELECT 1 FROM member WHERE region = NEW.region)
        BEGIN SELECT RAISE(ABORT, 'the region of a member is no snapshot'); END;
        """
}
