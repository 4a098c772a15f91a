// What a service manager hears, in a socket of ours instead of systemd's.

import Foundation
import Glibc
import TestSupport
import Testing

/// A socket that receives notifications; for one test.
private final class FakeManager {
    let name: String
    private let descriptor: Int32
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

    deinit { close(descriptor) }

    /// The lines of the next notification.
    func next() throws -> [String] {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        try #require(poll(&entry, 1, 30_000) == 1, "nothing came")
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
            .split(separator: "\n").map(String.init)
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
}

extension Interop {
    @Suite(.timeLimit(.minutes(2)))
    struct ServiceManager {
        private func start(
            _ arguments: [String], _ manager: FakeManager, watchdog: Int = 200_000
        ) throws -> RunningProcess {
            try RunningProcess(
                [HoldfastBinary.path] + arguments,
                environment: [
                    "NOTIFY_SOCKET": manager.name, "WATCHDOG_USEC": "\(watchdog)",
                ], signalOnParentDeath: "TERM")
        }

        @Test(arguments: [false, true])
        func theClientDeviceSaysWhenItServesAndThatItLives(abstract: Bool) throws {
            let manager = try FakeManager(abstract: abstract)
            let directory = try TemporaryDirectory()
            let process = try start(["serve", "--dir", directory.path], manager)
            let ready = try manager.next()
            #expect(ready == ["READY=1", "STATUS=no volumes"])
            // Ready means that it answers, at once.
            let status = try ToolRun([HoldfastBinary.path, "status", "--dir", directory.path])
            #expect(status.succeeded, "\(status)")
            _ = try RawNBD(directory.file("nbd.sock"))
            for _ in 0..<3 { #expect(try manager.next() == ["WATCHDOG=1"]) }
            process.signal(SIGTERM)
            _ = try manager.next(with: "STOPPING=1")
            #expect(process.waitForExit(atMost: .seconds(20)) == .exited(0))
        }

        @Test func aHangUpRereadsAndSaysSo() throws {
            let manager = try FakeManager(abstract: false)
            let directory = try TemporaryDirectory()
            let process = try start(["serve", "--dir", directory.path], manager)
            _ = try manager.next(with: "READY=1")
            process.signal(SIGHUP)
            let lines = try manager.next(with: "RELOADING=1")
            let stamp = try #require(lines.last { $0.hasPrefix("MONOTONIC_USEC=") })
            #expect(UInt64(stamp.dropFirst("MONOTONIC_USEC=".count)) != nil)
            #expect(try manager.next(with: "READY=1").contains("STATUS=no volumes"))
            #expect(process.isRunning)
            let said = process.standardError.waitForLine(atMost: .seconds(20)) {
                $0.contains("nothing to reread")
            }
            #expect(said != nil)
            #expect(process.terminate() == .exited(0))
        }

        @Test func anApplianceSaysWhatItLends() throws {
            let manager = try FakeManager(abstract: false)
            let directory = try TemporaryDirectory()
            let process = try start(
                [
                    "appliance", "run", "--name", "a1", "--memory", "64M", "--listen",
                    "unix:\(directory.file("a1.sock"))",
                ], manager)
            let ready = try manager.next()
            #expect(ready.first == "READY=1")
            #expect(ready.last?.contains("lending 64") == true, "\(ready)")
            #expect(try manager.next() == ["WATCHDOG=1"])
            process.signal(SIGHUP)
            _ = try manager.next(with: "RELOADING=1")
            process.signal(SIGTERM)
            _ = try manager.next(with: "STOPPING=1")
            #expect(process.waitForExit(atMost: .seconds(20)) == .exited(0))
        }

        @Test func upSpeaksForAllThatItStarts() throws {
            let manager = try FakeManager(abstract: false)
            let directory = try TemporaryDirectory()
            let process = try start(
                ["up", "--dir", directory.path, "--size", "16M", "--layout", "mirror:2"], manager)
            // The first word is that the volume is served: nobody below said anything before.
            #expect(try manager.next() == ["READY=1", "STATUS=1 volume: 1 healthy"])
            #expect(try manager.next() == ["WATCHDOG=1"])
            #expect(try manager.pending().allSatisfy { $0 == ["WATCHDOG=1"] })
            process.signal(SIGTERM)
            _ = try manager.next(with: "STOPPING=1")
            #expect(process.waitForExit(atMost: .seconds(30)) == .exited(0))
        }

        @Test func aManagerThatIsNotThereDisturbsNobody() throws {
            let directory = try TemporaryDirectory()
            let process = try RunningProcess(
                [HoldfastBinary.path, "serve", "--dir", directory.path],
                environment: ["NOTIFY_SOCKET": directory.file("none"), "WATCHDOG_USEC": "x"])
            let answers = try eventually(atMost: .seconds(20)) {
                try ToolRun([HoldfastBinary.path, "status", "--dir", directory.path]).succeeded
                    ? true : nil
            }
            #expect(answers == true)
            #expect(process.terminate() == .exited(0))
        }
    }
}
