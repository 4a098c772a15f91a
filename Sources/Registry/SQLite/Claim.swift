// Whose registry it is: one client device at a time, the latest to claim it.
//
//     first:   claim(A) ── change ── change ── (stopped) ············· change ✗ superseded by B
//     second:                                  claim(B) ── change ── change ──▶
//
// Owner and epoch of a volume fence changes of that volume. A claim fences everything else as well:
// volumes made or deleted, snapshots deleted, appliances added or removed by a process that does not
// know yet that it was succeeded. It never expires, and needs no clock.

import GRDB
public import RemoteMemory
import Synchronization

extension SQLiteRegistry {
    /// Makes the registry this client device's; from here on whoever had it can change nothing.
    public func claim(by owner: OwnerID) throws(RegistryError) {
        let previous = claimant.withLock { claimant in
            defer { claimant = nil }
            return claimant
        }
        do throws(RegistryError) {
            try change { database in
                try database.execute(
                    sql: """
                        INSERT INTO device (one, owner) VALUES (1, ?)
                        ON CONFLICT (one) DO UPDATE SET owner = excluded.owner
                        """, arguments: [owner.description])
            }
        } catch {
            claimant.withLock { $0 = previous }
            throw error
        }
        claimant.withLock { $0 = owner }
    }

    /// The client device that claimed the registry last; nil when none ever did.
    public func holder() throws(RegistryError) -> OwnerID? {
        try look { try Self.holder(in: $0) }
    }

    /// Throws `superseded` when another client device claimed the registry after this one.
    func checkClaim(in database: Database) throws {
        guard let claimant = claimant.withLock({ $0 }),
            let holder = try Self.holder(in: database), holder != claimant
        else { return }
        throw RegistryError.superseded(by: holder)
    }

    private static func holder(in database: Database) throws -> OwnerID? {
        let row = try Row.fetchOne(database, sql: "SELECT owner FROM device")
        return try row.map { try OwnerID(holderRow: $0) }
    }
}
