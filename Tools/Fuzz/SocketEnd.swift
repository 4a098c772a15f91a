// The client's end of a connection to what is fuzzed.

import Glibc

/// Sends an input and takes what comes, with a limit on how long nothing happens.
final class SocketEnd {
    /// Nothing that is fuzzed may be silent for longer.
    private static let patience: Int32 = 60_000

    let descriptor: Int32

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
    }

    deinit { close(descriptor) }

    /// Two ends, the second for what is fuzzed.
    static func pair() -> (SocketEnd, Int32) {
        var ends: [Int32] = [0, 0]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0 else {
            fatalError("no sockets: errno \(errno)")
        }
        _ = fcntl(ends[1], F_SETFL, O_NONBLOCK)
        return (SocketEnd(ends[0]), ends[1])
    }

    /// Sends all of `bytes`, and nothing more if asked to; returns what came until `isEnough` or the end.
    func exchange(
        _ bytes: [UInt8], thenEnd: Bool, until isEnough: ([UInt8]) -> Bool = { _ in false }
    ) -> (received: [UInt8], isClosed: Bool) {
        var sent = 0
        var received: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        var hasEnded = false
        while true {
            if sent == bytes.count {
                if thenEnd, !hasEnded {
                    shutdown(descriptor, Int32(SHUT_WR))
                    hasEnded = true
                }
                if isEnough(received) { return (received, false) }
            }
            let events = sent < bytes.count ? POLLIN | POLLOUT : POLLIN
            var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            let ready = poll(&entry, 1, Self.patience)
            // (libFuzzer looks at the time by alarms.)
            if ready < 0, errno == EINTR { continue }
            guard ready > 0 else {
                fatalError("silent for \(Self.patience) ms, after \(received.count) bytes")
            }
            if entry.revents & Int16(POLLOUT) != 0 {
                let count = bytes[sent...].withUnsafeBytes {
                    send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                }
                if count > 0 {
                    sent += count
                } else if errno != EAGAIN {
                    sent = bytes.count
                }
            }
            if entry.revents & Int16(POLLIN | POLLHUP | POLLERR) != 0 {
                let count = recv(descriptor, &buffer, buffer.count, 0)
                if count > 0 {
                    received += buffer[..<count]
                } else if count == 0 || errno != EAGAIN {
                    return (received, true)
                }
            }
        }
    }
}
