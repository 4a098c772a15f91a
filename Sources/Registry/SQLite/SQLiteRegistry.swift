// The embedded registry: one SQLite file for one client device at a time.
//
//     thread ─┐                        ┌ read records ─▶ pure transition ─▶ write records ┐
//     thread ─┼─▶ DatabaseQueue ─▶ one transaction                                        ├─▶ fsync
//     thread ─┘                        └ any error: roll back, nothing changed ───────────┘
//
// Every public operation is one transaction on one connection, so the operations of all threads have
// one order, and each reads what it changes inside its own transaction: that makes `expecting` a
// true compare-and-set. No rule of membership lives here; this folder moves records in and out.
//
// Durability. A failed member is recorded before the write it missed is acknowledged (G5), and
// writers are held while a snapshot's transaction commits (G6): the commit is on somebody's path, so
// it must be both final and short.
//   - `synchronous=FULL`: a commit that returned survives power loss, not only kill -9.
//   - Write-ahead log, not a rollback journal: 1 flush a commit instead of 4 (counted with strace).
//     A change takes 1 to 4 ms on 2 shared cores and a virtual disk (ext4), most of it that flush;
//     the same statements took 0.3 ms with the log and 0.4 ms with the journal on that disk when
//     idle, 0.3 ms and 7 to 13 ms when it was busy.
//   - Locks for the length of a transaction only (SQLite's usual mode), so that a client device that
//     hangs can be succeeded: it holds no lock, unless it was stopped inside a transaction.
//     It costs nothing that can be measured: 800 changes by turns here, 287 µs in the median with the
//     lock taken each time and 286 µs with a lock kept for good (95 of 100 within 336 µs, both).
// A killed process leaves the log behind, and the index of it that processes share; the next open
// rebuilds the index, replays whole transactions and drops a torn one by checksum.
//
// Who may change. A client device claims the registry before it uses it (Claim.swift), and each
// change finds out, inside its transaction, whether that claim still stands. So a client device that
// was succeeded while it hung can commit nothing when it wakes up, whatever it was about to do.

import GRDB
public import RemoteMemory
import Synchronization

/// The registry in a SQLite file; every operation blocks until it is durable.
///
/// Callable from any thread, but not from within itself. Operations throw `RegistryError.storage`
/// besides the errors they name.
public final class SQLiteRegistry: Sendable {
    /// The most space the file may take: thousands of volumes.
    ///
    /// A registry that would outgrow it is
    /// fed by something gone wild, and says `diskFull` before it fills the disk for others.
    public static let sizeLimit = ByteCount.mebibytes(64)

    /// Where the registry is kept, as it was given.
    public let path: String

    private let queue: DatabaseQueue
    /// As whom this process changes the registry; nil before it has claimed it.
    let claimant = Mutex<OwnerID?>(nil)

    /// Opens the registry at `path`, or creates an empty one; its directory must exist.
    ///
    /// The file gets mode 0600, and is checked for damage. Throws `storage`: `busy` when another
    /// process is in the middle of a change and does not go on, `newerVersion` when this version
    /// cannot know what it means.
    public convenience init(path: String) throws(RegistryError) {
        try self.init(path: path, sizeLimit: Self.sizeLimit)
    }

    /// For tests, which reach a full disk by a small `sizeLimit`.
    package init(path: String, sizeLimit: ByteCount) throws(RegistryError) {
        self.path = path
        do {
            try PrivateFile.prepare(at: path)
            queue = try DatabaseQueue(
                path: path, configuration: Self.configuration(sizeLimit: sizeLimit))
            try queue.inDatabase(Self.verify)
            try Schema.migrator.migrate(queue)
        } catch {
            throw RegistryError(storage: error, path: path)
        }
    }

    /// Runs `body` as one transaction: durable when it returns, undone when it throws.
    ///
    /// Throws `superseded` when the registry is another's by now.
    func change<Result>(_ body: (Database) throws -> Result) throws(RegistryError) -> Result {
        do {
            return try queue.write { database in
                try checkClaim(in: database)
                return try body(database)
            }
        } catch {
            throw RegistryError(storage: error, path: path)
        }
    }

    /// Runs `body` on one consistent state of the registry.
    func look<Result>(_ body: (Database) throws -> Result) throws(RegistryError) -> Result {
        do {
            return try queue.read(body)
        } catch {
            throw RegistryError(storage: error, path: path)
        }
    }

    private static func configuration(sizeLimit: ByteCount) -> Configuration {
        var configuration = Configuration()
        configuration.label = "holdfast.registry"
        configuration.foreignKeysEnabled = true
        // Another process may be in the middle of a change: give it this many seconds.
        configuration.busyMode = .timeout(1)
        configuration.prepareDatabase { database in
            let journal = try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL")
            guard journal == "wal" else { throw StorageProblem.noWriteAheadLog }
            try database.execute(sql: "PRAGMA synchronous = FULL")
            let page = try UInt64.fetchOne(database, sql: "PRAGMA page_size") ?? 4096
            try database.execute(sql: "PRAGMA max_page_count = \(sizeLimit.bytes / page)")
        }
        return configuration
    }

    /// Refuses what this version must not touch: a newer schema, or a damaged file.
    ///
    /// Checking all of it takes about a millisecond, and damage is better met now than when a
    /// member has just failed.
    private static func verify(_ database: Database) throws {
        let verdict = try String.fetchOne(database, sql: "PRAGMA integrity_check(1)")
        guard verdict == "ok" else { throw StorageProblem.damaged(verdict ?? "no verdict") }
        guard try !Schema.migrator.hasBeenSuperseded(database) else {
            throw StorageProblem.newerSchema
        }
    }
}
