// What a service manager (systemd) is told: that the service is ready, what it is doing, that it lives.
//
// The protocol of sd_notify(3) is one datagram of lines to the socket in $NOTIFY_SOCKET; with no such
// variable nobody is told anything. A path that starts with @ is an abstract name. The variables are
// removed from the environment, so that the processes started from here do not speak for this one.

import CLinux
import FoundationEssentials
import Glibc

/// The service manager that started this process, if one did.
struct ServiceManager: Sendable {
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
        let descriptor = socket(
            AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var name = sockaddr_un()
        name.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &name.sun_path) { unsafe $0.copyBytes(from: address) }
        // (An abstract name ends where the address does.)
        let size = socklen_t(MemoryLayout<sa_family_t>.size + address.count)
        let message = Array(lines.joined(separator: "\n").utf8)
        _ = unsafe withUnsafePointer(to: &name) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { rebound in
                unsafe sendto(
                    descriptor, message, message.count, Int32(MSG_NOSIGNAL), rebound, size)
            }
        }
    }
}
