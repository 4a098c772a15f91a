// How many clients there may be, and how long they may take to come in, as an operator chooses it.

import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(3)))
    struct ConnectionLimits {
        private static let go = RawNBD.exportRequest(Array("vol0".utf8))

        private func serve(_ options: String...) throws -> HoldfastUp {
            try HoldfastUp(["--size", "64M", "--layout", "mirror:1"] + options)
        }

        @Test func whoComesWhenThereAreAsManyAsThereMayBeWaits() throws {
            let up = try serve("--nbd-connections", "2")
            let first = try RawNBD(up.socket)
            var second: RawNBD? = try RawNBD(up.socket)
            for client in [first, second] { try client?.enter("vol0") }
            let third = try RawNBD(up.socket, receiveLimit: .seconds(1))
            #expect(throws: HarnessError.self) { try third.greet() }
            let line = up.supervisor.standardError.waitForLine(atMost: .seconds(20)) {
                $0.contains("have to wait: there are 2 connections")
            }
            #expect(line != nil, "\(up.log)")
            second = nil
            let isIn = eventually(atMost: .seconds(20)) { (try? third.greet()).map { true } }
            #expect(isIn == true)
            #expect(try third.ask(Wire.Option.go, Self.go).type == Wire.Reply.ack)
        }

        @Test func whoIsInItsHandshakeByThenIsRefused() throws {
            let up = try serve("--nbd-connections", "1")
            let (first, second) = (try RawNBD(up.socket), try RawNBD(up.socket))
            try second.greet()
            try first.enter("vol0")
            let refusal = try second.ask(Wire.Option.go, Self.go)
            #expect(refusal.type == Wire.Reply.errorPolicy)
            #expect(
                String(decoding: refusal.payload, as: UTF8.self)
                    == "no more connections are taken: there are 1")
        }

        @Test func theClientsOfOneExportDoNotKeepOthersOut() throws {
            let up = try serve("--nbd-export-connections", "2")
            try up.require("volume", "create", "second", "--size", "16M", "--layout", "mirror:1")
            let clients = try (0..<3).map { _ in try RawNBD(up.socket) }
            for client in clients[..<2] { try client.enter("vol0") }
            try clients[2].greet()
            let refusal = try clients[2].ask(Wire.Option.go, Self.go)
            #expect(refusal.type == Wire.Reply.errorPolicy)
            #expect(
                String(decoding: refusal.payload, as: UTF8.self)
                    == "'vol0' takes no more connections: it has 2")
            let other = RawNBD.exportRequest(Array("second".utf8))
            #expect(try clients[2].ask(Wire.Option.go, other).type == Wire.Reply.ack)
        }

        @Test func whoTakesLongerThanIsAllowedIsDisconnected() throws {
            let up = try serve("--nbd-handshake-time", "2s")
            let client = try RawNBD(up.socket)
            let start = ContinuousClock.now
            try client.greet()
            #expect(client.isClosedByServer())
            let time = ContinuousClock.now - start
            #expect(time > .milliseconds(1900) && time < .seconds(6), "\(time)")
        }

        @Test(arguments: [
            ["--nbd-connections", "0"], ["--nbd-connections", "65537"],
            ["--nbd-connections=-1"], ["--nbd-connections", "many"],
            ["--nbd-export-connections", "0"], ["--nbd-export-connections", "65537"],
            ["--nbd-connections", "10", "--nbd-export-connections", "11"],
            ["--nbd-handshake-time", "5"], ["--nbd-handshake-time", "0s"],
            ["--nbd-handshake-time", "999ms"], ["--nbd-handshake-time", "11m"],
            ["--nbd-handshake-time", "99999999999999999999s"],
        ])
        func numbersThatMakeNoSenseAreMisuse(options: [String]) throws {
            let directory = try TemporaryDirectory()
            for command in ["serve", "up"] {
                let run = try ToolRun(
                    [HoldfastBinary.path, command, "--dir", directory.path] + options)
                #expect(run.status == 64, "\(run)")
                #expect(run.standardError.contains("--nbd-"), "\(run)")
            }
        }

        /// Runs a command where a process may have so many descriptors.
        private func limited(_ descriptors: Int, _ command: [String]) -> [String] {
            ["sh", "-c", "ulimit -n \(descriptors) && exec \"$0\" \"$@\"", HoldfastBinary.path]
                + command
        }

        @Test(arguments: ["serve", "up"])
        func moreClientsThanDescriptorsAreRefused(command: String) throws {
            let directory = try TemporaryDirectory()
            let run = try ToolRun(
                limited(2000, [command, "--dir", directory.path, "--nbd-connections", "721"]))
            #expect(run.status == 1, "\(run)")
            #expect(
                run.standardError.contains(
                    "721 connections need 2001 open files, with handshakes, appliances and snapshots, and this "
                        + "process may have 2000: raise that (LimitNOFILE= of the unit, or ulimit -Hn)"
                ),
                "\(run)")
        }

        @Test func whereNoNumberWasAskedForFewDescriptorsAreTold() throws {
            let directory = try TemporaryDirectory()
            let process = try RunningProcess(limited(3000, ["serve", "--dir", directory.path]))
            let line = process.standardError.waitForLine(atMost: .seconds(20)) {
                $0.contains(" warning ") && $0.contains("4096 connections need 5376 open files")
            }
            #expect(line != nil, "\(process.standardError.text)")
            let isServing = eventually(atMost: .seconds(20)) {
                try? RawNBD(directory.file("nbd.sock"))
            }
            try isServing?.greet()
            #expect(isServing != nil && process.isRunning)
        }
    }
}
