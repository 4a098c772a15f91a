// G1, G5, G8: appliances die, the set runs on, and they come back empty.

import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(10)))
    struct ApplianceDeath {
        @Test func eachApplianceInTurnIsLostAndRebuiltUnderLoad() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            for appliance in try up.status().appliances {
                try up.kill(.appliance(appliance.name))
                try up.waitForIncarnation(of: appliance.name, otherThan: appliance.incarnation)
                try writer.waitForWrites(500)
                try up.waitUntilHealthy()
            }
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func twoOfThreeAtOnceLoseNothing() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            let pids = try up.status().appliances.prefix(2).map {
                try up.pid(of: .appliance($0.name))
            }
            for pid in pids { try up.kill(pid) }
            try writer.waitForWrites(500)
            try up.waitUntilHealthy()
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func anApplianceAndTheClientDeviceDieTogether() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            let names = try up.status().appliances.map(\.name)
            for round in 0..<count("HOLDFAST_CHAOS_PAIRS", default: 6) {
                let status = try up.waitUntilHealthy()
                let appliance = try status.appliance(names[round % names.count])
                let victims = [status.pid, appliance.pid].compactMap { $0 }
                for pid in round < names.count ? victims : victims.reversed() { try up.kill(pid) }
                try up.waitForClient(otherThan: status.pid)
                try up.waitForIncarnation(of: appliance.name, otherThan: appliance.incarnation)
                try writer.waitForWrites(500)
            }
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func theClientDeviceDiesDuringARebuild() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            for appliance in try up.status().appliances {
                try up.kill(.appliance(appliance.name))
                try up.waitForIncarnation(of: appliance.name, otherThan: appliance.incarnation)
                let pid = try up.kill(.client)
                try up.waitForClient(otherThan: pid)
                try writer.waitForWrites(200)
                try up.waitUntilHealthy()
            }
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func allAtOnceLoseNothingWhileTheClientDeviceLives() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            for _ in 0..<count("HOLDFAST_CHAOS_ALL", default: 5) {
                let status = try up.waitUntilHealthy()
                // Their memory is mapped in the client device, and outlives them there.
                for pid in status.appliances.compactMap(\.pid) { try up.kill(pid) }
                for appliance in status.appliances {
                    try up.waitForIncarnation(
                        of: appliance.name, otherThan: appliance.incarnation)
                }
                try writer.waitForWrites(300)
            }
            try up.waitUntilHealthy()
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func allOneAfterAnotherLoseNothingWhileTheClientDeviceLives() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter()
            for _ in 0..<3 {
                let status = try up.waitUntilHealthy()
                for appliance in status.appliances {
                    if let pid = appliance.pid { try up.kill(pid) }
                    try up.waitForIncarnation(
                        of: appliance.name, otherThan: appliance.incarnation)
                }
                try writer.waitForWrites(300)
            }
            try up.waitUntilHealthy()
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        /// Kills all appliances and the client device: the memory is gone.
        private func loseEverything(_ up: HoldfastUp) throws {
            let connection = try NBDConnection(up.uri)
            try connection.write([UInt8](repeating: 0x3C, count: 4096), at: 0)
            let status = try up.status()
            for pid in [status.pid] + status.appliances.compactMap(\.pid) { try up.kill(pid) }
            for appliance in status.appliances {
                try up.waitForIncarnation(of: appliance.name, otherThan: appliance.incarnation)
            }
            _ = try up.waitForStatus("known to be lost") {
                try $0.volume(up.volume).health == "lost"
            }
        }

        @Test func whatIsLostIsNeitherZerosNorStaleUntilItIsMadeAnew() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            try loseEverything(up)
            #expect(throws: NBDError.self) { try NBDConnection(up.uri) }
            for command in ["scrub", "rebuild"] {
                let run = try up.cli(command, up.volume)
                #expect(run.status == 1, "\(run)")
                #expect(run.standardError.split(separator: " ").count >= 3, "\(run)")
            }
            // It stays so for the next client device.
            let pid = try up.kill(.client)
            try up.waitForClient(otherThan: pid)
            #expect(try up.status().volume(up.volume).health == "lost")
            #expect(throws: NBDError.self) { try NBDConnection(up.uri) }

            try up.require("volume", "delete", up.volume)
            try up.require(
                "volume", "create", up.volume, "--size", "256M", "--layout", "mirror:3")
            try up.waitUntilHealthy()
            let connection = try NBDConnection(up.uri)
            #expect(try connection.read(4096, at: 0).allSatisfy { $0 == 0 })
            try connection.write([1, 2, 3], at: 0)
            #expect(try connection.read(3, at: 0) == [1, 2, 3])
        }

        @Test func aNewSupervisorMakesALostVolumeAnewAndSaysSo() throws {
            let directory = try TemporaryDirectory()
            let first = try HoldfastUp(in: directory)
            defer { first.stop() }
            try loseEverything(first)
            #expect(first.stop() == .exited(0))

            let second = try HoldfastUp(in: directory)
            defer { second.stop() }
            try second.waitUntilHealthy()
            #expect(try NBDConnection(second.uri).read(4096, at: 0).allSatisfy { $0 == 0 })
            let warning = second.supervisor.standardError.waitForLine(atMost: .seconds(20)) {
                $0.contains("warning") && $0.contains(second.volume) && $0.contains("empty")
            }
            #expect(warning != nil, "\(second.log)")
        }
    }
}
