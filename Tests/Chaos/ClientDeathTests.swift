// G1, G2, G3: the client device may die at any instant.

import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(10)))
    struct ClientDeath {
        /// How often the client device is killed; HOLDFAST_CHAOS_KILLS changes it.
        private static let kills = count("HOLDFAST_CHAOS_KILLS", default: 50)

        @Test func noAcknowledgedWriteIsLostHoweverOftenItIsKilled() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            var random = SeededGenerator(seed: writer.load.seed)
            for _ in 0..<Self.kills {
                let pid = try up.kill(.client)
                try up.waitForClient(otherThan: pid)
                // A different number of writes each time: the kill finds another moment.
                try writer.waitForWrites(Int.random(in: 1...600, using: &random))
            }
            #expect(writer.progress.lostConnections >= Self.kills)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func itIsKilledAgainBeforeItServes() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            for _ in 0..<count("HOLDFAST_CHAOS_DOUBLE_KILLS", default: 5) {
                let pid = try up.kill(.client)
                // Its successor, wherever it is in its take-over.
                let next = eventually(atMost: .seconds(30), every: .milliseconds(1)) {
                    up.clientProcesses.first { $0 != pid }
                }
                if let next { try? up.kill(next) }
                try writer.waitForWrites(300)
            }
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func overlappingWritesOfManyConnectionsLeaveTheMembersTheSame() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            var load = VerifyingWriter.Load()
            load.blockCount = 64
            load.connections = 8
            load.depth = 32
            let writer = try up.startWriter(load)
            for _ in 0..<5 {
                let pid = try up.kill(.client)
                try up.waitForClient(otherThan: pid)
                try writer.waitForWrites(3000)
            }
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func sequentialOrderingKeepsThePromiseToo() throws {
            let up = try HoldfastUp(HoldfastUp.usualOptions + ["--memory", "1G"])
            defer { up.stop() }
            try up.require(
                "volume", "create", "ordered", "--size", "64M", "--layout", "mirror:3",
                "--ordering", "sequential")
            var load = VerifyingWriter.Load()
            load.blockCount = 4096
            let writer = VerifyingWriter(up.uri(of: "ordered"), load)
            writer.start()
            try writer.waitForWrites(500)
            for _ in 0..<10 {
                let pid = try up.kill(.client)
                try up.waitForClient(otherThan: pid)
                try writer.waitForWrites(300)
            }
            try expectNothingLost(writer)
            let status = try up.waitUntilHealthy("ordered")
            let dumps = try RegionDump.members(of: status.volume("ordered"), in: status)
            #expect(try RegionDump.firstDifference(between: dumps) == nil)
        }
    }
}
