// How many connections there are, of all exports and of each: begun by the front door, ended by data threads.

import BlockServer
import Synchronization

/// Counts connections from the end of their handshake to their own.
final class ConnectionTally: Sendable {
    /// The most connections of all exports: what a busy host has descriptors for.
    static let most = 4096

    private struct Counts {
        var total = 0
        var perExport: [String: Int] = [:]
    }

    private let counts = Mutex(Counts())

    var total: Int { counts.withLock { $0.total } }

    /// The exports that have as many connections as one may have.
    var full: Set<String> {
        counts.withLock { counts in
            guard counts.total >= ExportCatalog.mostConnections else { return [] }
            return Set(
                counts.perExport.filter { $0.value >= ExportCatalog.mostConnections }.keys)
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
