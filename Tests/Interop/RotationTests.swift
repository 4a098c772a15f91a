// A cluster key that is replaced on one process after the other, while a volume is used.

import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(3)))
    struct Rotation {
        /// A client device and an appliance, each with a key file of its own, as on two machines.
        private struct Pair {
            let directory: TemporaryDirectory
            let appliance: RunningProcess
            let device: RunningProcess
            let address: String

            init() throws {
                directory = try TemporaryDirectory()
                let (near, far) = (directory.file("near.key"), directory.file("far.key"))
                try Self.makeKey(near)
                try ToolRun.output("cp", "-p", near, far)
                appliance = try RunningProcess([
                    HoldfastBinary.path, "appliance", "run", "--name", "a1", "--memory", "256M",
                    "--listen", "tcp:127.0.0.1:0", "--cluster-key", far,
                ])
                let line = appliance.standardOutput.waitForLine(atMost: .seconds(30)) {
                    $0.hasPrefix("tcp:")
                }
                address = try #require(line)
                let device = try RunningProcess([
                    HoldfastBinary.path, "serve", "--dir", directory.path, "--cluster-key", near,
                ])
                self.device = device
                let path = directory.path
                let isServing = try eventually(atMost: .seconds(30)) {
                    try ToolRun([HoldfastBinary.path, "status", "--dir", path]).succeeded
                        ? true : nil
                }
                try #require(isServing == true)
            }

            static func makeKey(_ file: String) throws {
                unlink(file)
                try ToolRun.output(HoldfastBinary.path, "key", "create", file)
            }

            func run(_ arguments: String...) throws -> ToolRun {
                try ToolRun([HoldfastBinary.path] + arguments + ["--dir", directory.path])
            }

            /// What adding the appliance under a wrong name is answered: only who was let in is told
            /// its name.
            func knocking() throws -> String {
                try run("appliance", "add", "stranger", address).standardError
            }

            /// Hangs a process up, and returns the line that it logs about that.
            func hangUp(_ process: RunningProcess, _ expected: String) throws -> String? {
                process.signal(SIGHUP)
                return process.standardError.waitForLine(atMost: .seconds(30)) {
                    $0.contains("SIGHUP") && $0.contains(expected)
                }
            }
        }

        @Test func `old connections go on, and new ones need the new key`() throws {
            let pair = try Pair()
            #expect(try pair.run("appliance", "add", "a1", pair.address).succeeded)
            let created = try pair.run(
                "volume", "create", "v", "--size", "16M", "--layout", "mirror:1")
            try #require(created.succeeded, "\(created)")
            let client = try NBDConnection(
                "nbd+unix:///v?socket=\(pair.directory.file("nbd.sock"))")
            try client.write([UInt8](repeating: 1, count: 4096), at: 0)
            #expect(try pair.knocking().contains("is named a1"))

            // The appliance has the new key, the client device does not.
            try Pair.makeKey(pair.directory.file("far.key"))
            #expect(try pair.hangUp(pair.appliance, "were reread") != nil)
            try client.write([UInt8](repeating: 2, count: 4096), at: 4096)
            #expect(try !pair.knocking().contains("is named a1"))
            #expect(
                try !pair.run("volume", "create", "w", "--size", "16M", "--layout", "mirror:1")
                    .succeeded)

            // A file that is no key changes nothing.
            try ToolRun.output("truncate", "-s", "7", pair.directory.file("near.key"))
            #expect(try pair.hangUp(pair.device, "those in use stay") != nil)
            try client.write([UInt8](repeating: 3, count: 4096), at: 8192)

            unlink(pair.directory.file("near.key"))
            try ToolRun.output(
                "cp", "-p", pair.directory.file("far.key"), pair.directory.file("near.key"))
            #expect(try pair.hangUp(pair.device, "were reread") != nil)
            #expect(try pair.knocking().contains("is named a1"))
            let isUp = try eventually(atMost: .seconds(30)) {
                try pair.run("volume", "create", "x", "--size", "16M", "--layout", "mirror:1")
                    .succeeded ? true : nil
            }
            #expect(isUp == true)
            for block in 1...3 as ClosedRange<UInt8> {
                let bytes = try client.read(4096, at: UInt64(block - 1) * 4096)
                #expect(bytes == [UInt8](repeating: block, count: 4096))
            }
            try client.shutdown()
            #expect(pair.device.terminate() == .exited(0))
            #expect(pair.appliance.terminate() == .exited(0))
        }

        @Test func `a key that disappeared is a mistake, not a wish`() throws {
            let pair = try Pair()
            unlink(pair.directory.file("near.key"))
            #expect(try pair.hangUp(pair.device, "there is no cluster key") != nil)
            #expect(try pair.knocking().contains("is named a1"))
        }
    }
}
