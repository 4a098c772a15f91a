// The supervisor: one to a directory, an orderly end, and a successor that finds everything.

import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)))
    struct Supervisor {
        private static let small = ["--size", "64M", "--layout", "mirror:3"]

        @Test func aSecondOneOnTheSameDirectoryNamesTheFirst() throws {
            let up = try HoldfastUp(Self.small)
            defer { up.stop() }
            let second = try HoldfastUp.spawn(Self.small, in: up.directory)
            #expect(second.waitForExit(atMost: .seconds(30)) == .exited(1))
            let sentence = second.standardError.text
            #expect(sentence.contains("\(up.supervisor.pid)"), "\(sentence)")
            #expect(try NBDConnection(up.uri).read(512, at: 0).count == 512)
        }

        @Test(arguments: [SIGTERM, SIGINT])
        func aSignalEndsItInOrder(number: Int32) throws {
            let up = try HoldfastUp(Self.small)
            defer { up.stop() }
            let pids = up.pids
            #expect(pids.count >= 5, "supervisor, client device, three appliances")
            up.supervisor.signal(number)
            #expect(up.supervisor.waitForExit(atMost: .seconds(30)) == .exited(0), "\(up.log)")
            #expect(up.pids == [], "something outlived the supervisor")
        }

        @Test func requestsInFlightAreFinishedBeforeTheEnd() throws {
            let up = try HoldfastUp(Self.small)
            defer { up.stop() }
            var load = VerifyingWriter.Load()
            load.blockCount = 4096
            load.reconnectLimit = .seconds(1)
            let writer = try up.startWriter(load)
            #expect(up.stop() == .exited(0))
            // The connection ends cleanly: no request is answered with an error.
            #expect(try writer.stop().requestErrors == 0)
        }

        @Test func aSecondSignalEndsItAtOnce() throws {
            let up = try HoldfastUp(Self.small)
            defer { up.stop() }
            // A client with a large request half sent keeps the drain from finishing early.
            let raw = try RawNBD(up.socket)
            try raw.enter(up.volume)
            raw.send(RawNBD.request(Wire.Command.write, length: 32 << 20) + [1, 2, 3])
            up.supervisor.signal(SIGTERM)
            up.supervisor.signal(SIGTERM)
            #expect(up.supervisor.waitForExit(atMost: .seconds(20)) != nil)
            let isGone = eventually(atMost: .seconds(20)) { up.pids.isEmpty ? true : nil }
            #expect(isGone == true, "left: \(up.pids)")
        }

        @Test func aSuccessorOfAKilledOneFindsTheData() throws {
            let directory = try TemporaryDirectory()
            let first = try HoldfastUp(Self.small, in: directory)
            defer { first.stop() }
            var load = VerifyingWriter.Load()
            load.blockCount = 4096
            let writer = try first.startWriter(load)
            let before = try first.status()
            first.supervisor.signal(SIGKILL)
            #expect(first.supervisor.waitForExit(atMost: .seconds(10)) == .signalled(SIGKILL))

            let second = try HoldfastUp(Self.small, in: directory)
            defer { second.stop() }
            try writer.waitForWrites(500)
            let after = try second.waitUntilHealthy()
            for appliance in before.appliances {
                let now = try after.appliance(appliance.name)
                #expect(now.pid == appliance.pid, "the living appliance was not adopted")
                #expect(now.incarnation == appliance.incarnation)
            }
            try expectNothingLost(writer)
            try second.expectMembersIdentical()
            #expect(second.stop() == .exited(0))
        }

        @Test func aSuccessorOfFewerCopiesEndsWhatItFound() throws {
            let directory = try TemporaryDirectory()
            let first = try HoldfastUp(Self.small, in: directory)
            defer { first.stop() }
            first.supervisor.signal(SIGKILL)
            _ = first.supervisor.waitForExit(atMost: .seconds(10))

            let second = try HoldfastUp(
                ["--size", "64M", "--layout", "mirror:2"], in: directory)
            defer { second.stop() }
            try NBDConnection(second.uri).write([1], at: 0)
            second.supervisor.signal(SIGTERM)
            #expect(second.supervisor.waitForExit(atMost: .seconds(30)) == .exited(0))
            #expect(second.pids == [], "something outlived the supervisor")
        }

        @Test func anOrderlyEndAndANewStartSayWhatBecameOfTheMemory() throws {
            let directory = try TemporaryDirectory()
            var up: HoldfastUp? = try HoldfastUp(Self.small, in: directory)
            let uri = try #require(up?.uri)
            try NBDConnection(uri).write([1, 2, 3], at: 0)
            #expect(up?.stop() == .exited(0))
            up = nil
            // The appliances ended, and the memory with them: a start must not serve old claims.
            let next = try HoldfastUp(Self.small, in: directory)
            defer { next.stop() }
            #expect(try NBDConnection(next.uri).read(3, at: 0) == [0, 0, 0])
        }

        @Test func nothingAnswersWithoutASupervisor() throws {
            let directory = try TemporaryDirectory()
            for command in [["status"], ["volume", "list"], ["snapshot", "list", "vol0"]] {
                let run = try ToolRun([HoldfastBinary.path] + command + ["--dir", directory.path])
                #expect(run.status == 1, "\(run)")
                #expect(run.standardError.contains("holdfast up"), "it says how to start: \(run)")
            }
        }
    }
}
