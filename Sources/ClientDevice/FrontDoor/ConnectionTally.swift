// How many connections there are, of all exports and of each: begun by the front door, ended by data threads.

import BlockServer
import Synchronization

/// Counts connections from the end of their handshake to their own.
final class ConnectionTally: Sendable {
    private struct Counts {
        var total = 0
        var perExport: [String: Int] = [:]
    }

    private let limits: DoorLimits
    private let counts = Mutex(Counts())

    init(_ limits: DoorLimits) { self.limits = limits }

    var total: Int { counts.withLock { $0.total } }

    /// What has as many connections as it may have.
    var occupancy: Occupancy {
        counts.withLock { counts in
            guard counts.total < limits.connections else { return Occupancy(total: counts.total) }
            guard counts.total >= limits.exportConnections else { return Occupancy() }
            return Occupancy(
                full: counts.perExport.filter { $0.value >= limits.exportConnections })
        }
    }

    fileprivate func begin(_ export: String) {
        counts.withLock {
            $0.total += 1
            $0.perExport[export, default: 0] += 1
        }
    }

    fileprivate func end(_ export: String) {
        counts.withLock {
            $0.total -= 1
            let left = ($0.perExport[export] ?? 1) - 1
            $0.perExport[export] = left > 0 ? left : nil
        }
    }
}

/// One connection that counts, until the last reference goes.
package final class CountedConnection: Sendable {
    private let tally: ConnectionTally
    private let export: String

    init(_ export: String, _ tally: ConnectionTally) {
        self.tally = tally
        self.export = export
        tally.begin(export)
    }

    deinit { tally.end(export) }
}
