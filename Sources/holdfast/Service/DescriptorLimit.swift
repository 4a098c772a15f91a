// How many descriptors this process may have: each client takes one, and so does each connection to an appliance.

import CLinux
import Glibc

/// Why so many clients cannot be served.
struct TooFewDescriptors: Error, CustomStringConvertible {
    let connections: Int
    let needed: Int
    let allowed: UInt

    var description: String {
        "\(connections) connections need \(needed) open files, with handshakes, appliances and snapshots, and this "
            + "process may have \(allowed): raise that (LimitNOFILE= of the unit, or ulimit -Hn), or set "
            + "--nbd-connections lower"
    }
}

/// RLIMIT_NOFILE of this process.
enum DescriptorLimit {
    /// What is kept for everything but clients: appliances, the regions of volumes and snapshots, the registry.
    static let others = 1024

    private static var present: rlimit? {
        var limit = rlimit()
        let isKnown =
            unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
        return isKnown ? limit : nil
    }

    /// Allows this process as many as its user may have.
    static func raise() {
        guard var limit = present else { return }
        limit.rlim_cur = limit.rlim_max
        unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// Throws when this user's processes may have too few for so many clients, of whom so many connections.
    static func check(clients: Int, connections: Int) throws(TooFewDescriptors) {
        guard let limit = present else { return }
        let needed = clients + others
        guard limit.rlim_max < UInt(needed) else { return }
        throw TooFewDescriptors(
            connections: connections, needed: needed, allowed: UInt(limit.rlim_max))
    }
}
