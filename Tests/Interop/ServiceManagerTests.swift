// What a service manager hears, in a socket of ours instead of systemd's.

import Foundation
import Glibc
import TestSupport
import Testing

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
