// What a service manager (systemd) is told: that the service is ready, what it is doing, that it lives, and what
// it is to keep for the next process (sd_pid_notify_with_fds(3)).
//
// The protocol of sd_notify(3) is one datagram of lines to the socket in $NOTIFY_SOCKET; with no such
// variable nobody is told anything. A path that starts with @ is an abstract name. The variables are
// removed from the environment, so that the processes started from here do not speak for this one.

import CLinux
import FoundationEssentials
import Glibc

/// Why a service manager could not be told something that it has to know.
enum ServiceManagerError: Error, CustomStringConvertible {
    case system(call: String, errno: Int32)
    /// It did not say that it has heard all.
    case silent

    var description: String {
        switch self {
        case .system(let call, let code): unsafe "\(call): \(String(cString: strerror(code)))"
        case .silent: "the service manager does not answer"
        }
    }
}

/// The service manager that started this process, if one did.
struct ServiceManager: Sendable {
    /// How long it may take to take a message that it must have, in seconds.
    private static let patience = 5

    private let address: [UInt8]
    /// Without a sign of life for this long the service is restarted; nil when nobody watches.
    let watchdog: Duration?

    /// The manager that the environment names; nil for none.
    init?() {
        defer {
            for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] { unsafe unsetenv(name) }
        }
        let environment = ProcessInfo.processInfo.environment
        guard let path = environment["NOTIFY_SOCKET"], let address = Self.address(of: path)
        else { return nil }
        self.address = address
        let isMeant = environment["WATCHDOG_PID"].map { $0 == "\(getpid())" } ?? true
        let period = environment["WATCHDOG_USEC"].flatMap { UInt64($0) }
        watchdog =
            isMeant ? period.flatMap { $0 > 0 ? .microseconds(Int64(clamping: $0)) : nil } : nil
    }

    /// The service does what it is for.
    func ready(_ status: String) { tell("READY=1", Self.status(status)) }

    /// What the service is doing, in a line.
    func status(_ status: String) { tell(Self.status(status)) }

    /// The service is about to end.
    func stopping() { tell("STOPPING=1", Self.status("stopping")) }

    /// The service is rereading its configuration; `ready` ends that.
    func reloading() {
        tell("RELOADING=1", "MONOTONIC_USEC=\(clinux_monotonic_nanoseconds() / 1000)")
    }

    /// The service lives.
    func isAlive() { tell("WATCHDOG=1") }

    /// Has a descriptor kept, under a name, for the process that comes after this one.
    func keep(_ descriptor: Int32, as name: String) throws(ServiceManagerError) {
        try tell("FDSTORE=1\nFDNAME=\(name)", with: descriptor)
    }

    /// Has all descriptors of a name closed that are kept.
    func forget(_ name: String) throws(ServiceManagerError) {
        try tell("FDSTOREREMOVE=1\nFDNAME=\(name)", with: -1)
    }

    /// Returns when the manager has taken all that it was told: sd_notify_barrier(3).
    func synchronize() throws(ServiceManagerError) {
        var ends: [Int32] = [-1, -1]
        guard unsafe pipe(&ends) == 0 else { throw .system(call: "pipe", errno: errno) }
        defer { close(ends[0]) }
        let told = Result { () throws(ServiceManagerError) in
            try tell("BARRIER=1", with: ends[1])
        }
        // (What is waited for is that its copy is closed, the last one.)
        close(ends[1])
        try told.get()
        var entry = pollfd(fd: ends[0], events: 0, revents: 0)
        guard unsafe poll(&entry, 1, Int32(Self.patience * 1000)) == 1 else { throw .silent }
    }

    private static func status(_ text: String) -> String {
        "STATUS=" + String(text.map { $0.isNewline ? " " : $0 })
    }

    /// The bytes of a socket's name; nil for what is none.
    private static func address(of path: String) -> [UInt8]? {
        var bytes = Array(path.utf8)
        guard bytes.count > 1, bytes.count < 108 else { return nil }
        switch path.first {
        case "/": return bytes
        case "@":
            bytes[0] = 0
            return bytes
        default: return nil
        }
    }

    /// Sends without waiting: a manager that does not listen must not hold the service up.
    private func tell(_ lines: String...) {
        guard let connection = try? connect(SOCK_NONBLOCK.rawValue) else { return }
        defer { close(connection) }
        let message = Array(lines.joined(separator: "\n").utf8)
        _ = unsafe send(connection, message, message.count, Int32(MSG_NOSIGNAL))
    }

    /// Sends a message that must not be lost, with a descriptor unless that is negative.
    private func tell(_ text: String, with descriptor: Int32) throws(ServiceManagerError) {
        let connection = try connect(0)
        defer { close(connection) }
        var limit = timeval(tv_sec: Self.patience, tv_usec: 0)
        unsafe setsockopt(
            connection, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        let message = Array(text.utf8)
        guard
            unsafe clinux_send_descriptor(connection, message, message.count, descriptor)
                == message.count
        else { throw .system(call: "sendmsg", errno: errno) }
    }

    private func connect(_ flags: UInt32) throws(ServiceManagerError) -> Int32 {
        let connection = socket(
            AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | flags), 0)
        guard connection >= 0 else { throw .system(call: "socket", errno: errno) }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &name.sun_path) { unsafe $0.copyBytes(from: address) }
        // (An abstract name ends where the address does.)
        let size = socklen_t(MemoryLayout<sa_family_t>.size + address.count)
        let result = unsafe withUnsafePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { rebound in
                unsafe Glibc.connect(connection, rebound, size)
            }
        }
        guard result == 0 else {
            let code = errno
            close(connection)
            throw .system(call: "connect", errno: code)
        }
        return connection
    }
}
