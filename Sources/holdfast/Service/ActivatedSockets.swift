// Sockets that the service manager listens at for us: sd_listen_fds(3).
//
//     LISTEN_PID      whom they are meant for
//     LISTEN_FDS      how many there are, from descriptor 3 on
//     LISTEN_FDNAMES  what each is called, with colons between; a unit that says nothing calls it by its own
//                     name, holdfast.socket
//
// Clients that come while the client device is restarted wait at such a socket, rather than being refused. Those
// that were there before it was are passed in the same way: see StoredConnections.

import CLinux
import FoundationEssentials
import Glibc
import Reactor

/// Sockets that were passed to this process.
struct ActivatedSockets {
    private static let first: Int32 = 3
    /// What those are called at which NBD is served.
    private static let name = "nbd"

    /// Those to serve NBD at.
    private(set) var listeners: [Listener] = []
    /// Those of clients from before.
    private(set) var connections = StoredConnections([:])
    /// The names of others, which are closed.
    private(set) var unknown: [String] = []

    /// Takes them, once: the variables are removed, so that processes started from here take none.
    init() throws(ReactorError) {
        let environment = ProcessInfo.processInfo.environment
        defer {
            for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsafe unsetenv(name) }
        }
        guard environment["LISTEN_PID"] == "\(getpid())",
            let count = environment["LISTEN_FDS"].flatMap({ Int32($0) }), count > 0
        else { return }
        let names = (environment["LISTEN_FDNAMES"] ?? "").split(
            separator: ":", omittingEmptySubsequences: false)
        var stored: [String: Int32] = [:]
        for number in 0..<count {
            let descriptor = Self.first + number
            let name = Int(number) < names.count ? String(names[Int(number)]) : ""
            if StoredConnections.holds(name) {
                if let former = stored.updateValue(descriptor, forKey: name) { close(former) }
                continue
            }
            guard name.isEmpty || name == Self.name || name.hasSuffix(".socket") else {
                close(descriptor)
                unknown.append(name)
                continue
            }
            listeners.append(try Listener(inherited: descriptor))
        }
        connections = StoredConnections(stored)
    }
}
