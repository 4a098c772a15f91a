// A stream socket and the bytes one chooses to send, to any address that Holdfast listens at.

import Foundation
import Glibc

/// A connection to `unix:PATH` or `tcp:IPv4:PORT`; for use by one thread at a time, but for `shut`.
package final class ByteSocket: Sendable {
    let descriptor: Int32

    init(owning descriptor: Int32, patience: Duration = .seconds(20)) {
        self.descriptor = descriptor
        let (seconds, attoseconds) = patience.components
        var limit = timeval(
            tv_sec: Int(seconds), tv_usec: Int(attoseconds / 1_000_000_000_000))
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(
                descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    deinit {
        close(descriptor)
    }

    /// Connects; what is neither sent nor received within `patience` is an end.
    package convenience init(
        to address: String, patience: Duration = .seconds(20)
    ) throws(HarnessError) {
        guard let place = SocketPlace(address) else {
            throw HarnessError("\(address) is no address")
        }
        let descriptor = socket(place.family, Int32(SOCK_STREAM.rawValue) | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw HarnessError("no socket") }
        self.init(owning: descriptor, patience: patience)
        guard place.use({ connect(descriptor, $0, $1) }) == 0 else {
            throw HarnessError("\(address): \(String(cString: strerror(errno)))")
        }
    }

    /// Sends `bytes`; false when the other end does not take them.
    @discardableResult
    package func send(_ bytes: some Collection<UInt8>) -> Bool {
        let bytes = Array(bytes)
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count > 0 else { return false }
            sent += count
        }
        return true
    }

    /// Receives some bytes; none at the end, or when the other end is silent.
    package func receive() -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return Array(bytes.prefix(max(0, count)))
    }

    /// Ends both directions, whoever waits for them.
    package func shut() {
        _ = shutdown(descriptor, Int32(SHUT_RDWR))
    }
}

/// An address as the kernel takes it.
struct SocketPlace {
    private var storage = sockaddr_storage()
    private let size: Int
    let family: Int32

    init?(_ address: String) {
        let parts = address.split(separator: ":").map(String.init)
        if parts.count == 2, parts[0] == "unix" {
            var name = sockaddr_un()
            name.sun_family = sa_family_t(AF_UNIX)
            withUnsafeMutableBytes(of: &name.sun_path) { $0.copyBytes(from: parts[1].utf8) }
            withUnsafeMutableBytes(of: &storage) { storage in
                withUnsafeBytes(of: name) { storage.copyBytes(from: $0) }
            }
            (family, size) = (AF_UNIX, MemoryLayout<sockaddr_un>.size)
        } else if parts.count == 3, parts[0] == "tcp", let port = UInt16(parts[2]) {
            var name = sockaddr_in()
            name.sin_family = sa_family_t(AF_INET)
            name.sin_port = port.bigEndian
            guard inet_pton(AF_INET, parts[1], &name.sin_addr) == 1 else { return nil }
            withUnsafeMutableBytes(of: &storage) { storage in
                withUnsafeBytes(of: name) { storage.copyBytes(from: $0) }
            }
            (family, size) = (AF_INET, MemoryLayout<sockaddr_in>.size)
        } else {
            return nil
        }
    }

    func use(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
        withUnsafePointer(to: storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(size))
            }
        }
    }
}
