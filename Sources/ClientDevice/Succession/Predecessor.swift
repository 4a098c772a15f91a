// The process of a client device that hangs: whether it answers, and how it is ended.
//
// A process is ended only by a descriptor that names it for good, and only when it is the one that the
// directory's record speaks of: numbers are reused.

import CLinux
import Glibc

/// The process whose place is taken.
package struct Predecessor: Sendable {
    /// How long the answer of a living client device may take, in milliseconds: an appliance that does not
    /// answer can hold it up for a second.
    private static let patience: UInt64 = 3000
    /// How long a killed process may take to be gone, in milliseconds: its memory is given back first.
    private static let endTime: Int32 = 30_000

    package let process: Int32
    /// When it started, as the kernel says it; 0 for a record that does not tell.
    private let startedAt: UInt64

    package init(_ record: DeviceRecord) {
        process = record.process
        startedAt = record.startedAt
    }

    /// Whether the client device of `directory` answers on its control socket.
    package static func answers(in directory: String) -> Bool {
        let deadline = clinux_monotonic_nanoseconds() + patience * 1_000_000
        let connection = clinux_socket_stream(AF_UNIX)
        defer { close(connection) }
        // (Somebody whose backlog is full does not answer either.)
        clinux_set_nonblocking(connection)
        guard unsafe clinux_unix_connect(connection, directory + "/control.sock") == 0 else {
            return false
        }
        let question = Array(
            "GET /v1/ping HTTP/1.1\r\nHost: holdfast\r\nConnection: close\r\n\r\n".utf8)
        guard
            unsafe send(connection, question, question.count, Int32(MSG_NOSIGNAL)) == question.count
        else { return false }
        while true {
            let now = clinux_monotonic_nanoseconds()
            guard now < deadline else { return false }
            var entry = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
            guard unsafe poll(&entry, 1, Int32((deadline - now) / 1_000_000) + 1) > 0 else {
                continue
            }
            var byte: UInt8 = 0
            return unsafe recv(connection, &byte, 1, 0) == 1
        }
    }

    /// Kills the process and waits until the kernel says that it is gone, its memory unmapped.
    ///
    /// - Throws: `cannotKill` and `doesNotEnd`.
    package func end() throws(ClaimError) {
        let descriptor = clinux_pidfd_open(process)
        guard descriptor >= 0 else {
            if errno == ESRCH { return }
            throw .cannotKill(process: process, errno: errno)
        }
        defer { close(descriptor) }
        // (What the number means now, it means as long as the descriptor is open.)
        guard Self.startTime(of: process) == startedAt else { return }
        guard clinux_pidfd_signal(descriptor, SIGKILL) == 0 || errno == ESRCH else {
            throw .cannotKill(process: process, errno: errno)
        }
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        while true {
            let result = unsafe poll(&entry, 1, Self.endTime)
            if result < 0, errno == EINTR { continue }
            guard result == 1 else { throw .doesNotEnd(process: process) }
            return
        }
    }

    /// When a process started, in the kernel's ticks since it booted; nil when there is none.
    static func startTime(of process: Int32) -> UInt64? {
        let path = "/proc/\(process)/stat"
        let descriptor = unsafe clinux_open(path, O_RDONLY | O_CLOEXEC, 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = unsafe read(descriptor, &bytes, bytes.count)
        let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        // The second field is a name in brackets, which may hold anything; proc(5) counts from 1.
        guard let end = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        return fields.count > 19 ? UInt64(fields[19]) : nil
    }
}
