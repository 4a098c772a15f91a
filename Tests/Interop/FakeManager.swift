// A service manager of ours instead of systemd: what it hears, and what it is asked to keep.

import Foundation
import Glibc
import TestSupport
import Testing

/// A socket that receives notifications; for one test.
final class FakeManager {
    let name: String
    private let descriptor: Int32
    /// What it was asked to keep, by name.
    private(set) var store: [(name: String, descriptor: Int32)] = []
    private var directory: TemporaryDirectory?

    /// Listens at a path, or under an abstract name.
    init(abstract: Bool) throws {
        if abstract {
            name = "@holdfast-test-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        } else {
            let directory = try TemporaryDirectory()
            self.directory = directory
            name = directory.file("notify")
        }
        descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        var bytes = Array(name.utf8)
        if abstract { bytes[0] = 0 }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let size = socklen_t(MemoryLayout<sa_family_t>.size + bytes.count)
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, size) }
        }
        try #require(bound == 0)
    }

    deinit {
        close(descriptor)
        for kept in store { close(kept.descriptor) }
    }

    /// The lines of the next notification.
    func next() throws -> [String] {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        try #require(poll(&entry, 1, 30_000) == 1, "nothing came")
        let (text, passed) = receive()
        let lines = text.split(separator: "\n").map(String.init)
        let name = lines.first { $0.hasPrefix("FDNAME=") }.map { String($0.dropFirst(7)) } ?? ""
        if lines.contains("FDSTORE=1") {
            store.append((name, passed))
        } else if lines.contains("FDSTOREREMOVE=1") {
            for kept in store where kept.name == name { close(kept.descriptor) }
            store.removeAll { $0.name == name }
        } else if passed >= 0 {
            // (A barrier: closing it says that all before was heard.)
            close(passed)
        }
        return lines
    }

    /// The next message, and the descriptor that came with it; -1 for none.
    private func receive() -> (text: String, passed: Int32) {
        var bytes = [UInt8](repeating: 0, count: 4096)
        // (One header, as cmsg(3) has it: its size, level and type, then the descriptor.)
        var control = [UInt64](repeating: 0, count: 8)
        return bytes.withUnsafeMutableBytes { bytes in
            control.withUnsafeMutableBytes { control in
                var piece = iovec(iov_base: bytes.baseAddress, iov_len: bytes.count)
                return withUnsafeMutablePointer(to: &piece) { piece in
                    var message = msghdr()
                    message.msg_iov = piece
                    message.msg_iovlen = 1
                    message.msg_control = control.baseAddress
                    message.msg_controllen = control.count
                    let count = recvmsg(descriptor, &message, Int32(MSG_CMSG_CLOEXEC))
                    let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
                    guard message.msg_controllen >= 20 else { return (text, -1) }
                    return (text, control.load(fromByteOffset: 16, as: Int32.self))
                }
            }
        }
    }

    /// The next notification with this line; those before are dropped.
    func next(with line: String) throws -> [String] {
        while true {
            let lines = try next()
            if lines.contains(line) { return lines }
        }
    }

    /// What arrived and was not taken yet.
    func pending() throws -> [[String]] {
        var all: [[String]] = []
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        while poll(&entry, 1, 0) == 1 { all.append(try next()) }
        return all
    }

    /// Closes what it keeps.
    func forgetAll() {
        for kept in store { close(kept.descriptor) }
        store = []
    }
}
