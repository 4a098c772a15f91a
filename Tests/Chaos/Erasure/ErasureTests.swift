// Erasure sets of real processes: G1, G2, G3, G7 where any K of K+M members suffice.

import Glibc
import RemoteMemory
import TestSupport
import Testing

/// A layout, and what chunks the test takes.
struct StripedSetup: Sendable, CustomTestStringConvertible {
    let dataShards: Int
    let parityShards: Int
    var chunk = StripeGeometry.usualChunk
    var isFar = false

    static let size = ByteCount.mebibytes(32)
    static let usual = [
        StripedSetup(dataShards: 2, parityShards: 1), StripedSetup(dataShards: 4, parityShards: 2),
        StripedSetup(dataShards: 8, parityShards: 2, chunk: ByteCount(512)),
    ]
    static let far = StripedSetup(dataShards: 4, parityShards: 2, isFar: true)

    var testDescription: String { "\(layout) in \(chunk)\(isFar ? " by TCP" : "")" }
    var layout: String { "erasure:\(dataShards)+\(parityShards)" }
    var options: [String] {
        [
            "--size", "\(Self.size.bytes >> 20)M", "--layout", layout,
            "--chunk", "\(chunk.bytes)", "--transport", isFar ? "tcp" : "shared-memory",
        ]
    }
    var geometry: StripeGeometry {
        get throws {
            try StripeGeometry(
                dataShards: dataShards, parityShards: parityShards, chunk: chunk,
                size: Self.size)
        }
    }
}

extension Chaos {
    @Suite(.timeLimit(.minutes(10)))
    struct Erasure {
        /// How often the client device is killed; HOLDFAST_CHAOS_ERASURE_KILLS changes it.
        private static let kills = count("HOLDFAST_CHAOS_ERASURE_KILLS", default: 15)

        private func startWriter(_ up: HoldfastUp) throws -> VerifyingWriter {
            var load = VerifyingWriter.Load()
            load.blockCount = 4096
            return try up.startWriter(load)
        }

        @Test(arguments: StripedSetup.usual + [.far])
        func `the client device may be killed at any instant`(setup: StripedSetup) throws {
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            let writer = try startWriter(up)
            var random = SeededGenerator(seed: writer.load.seed)
            for _ in 0..<Self.kills {
                let pid = try up.kill(.client)
                try up.waitForClient(otherThan: pid)
                try writer.waitForWrites(Int.random(in: 1...600, using: &random))
            }
            #expect(writer.progress.lostConnections >= Self.kills)
            try expectNothingLost(writer)
            try up.expectStripesWhole(setup.geometry)
        }

        @Test(arguments: StripedSetup.usual + [.far])
        func `as many appliances as there is parity are lost at once, and rebuilt under load`(
            setup: StripedSetup
        ) throws {
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            let writer = try startWriter(up)
            var random = SeededGenerator(seed: writer.load.seed)
            for _ in 0..<count("HOLDFAST_CHAOS_ERASURE_LOSSES", default: 4) {
                let status = try up.waitUntilHealthy()
                let victims = status.appliances.shuffled(using: &random).prefix(
                    setup.parityShards)
                for victim in victims { try up.kill(try #require(victim.pid)) }
                for victim in victims {
                    try up.waitForIncarnation(of: victim.name, otherThan: victim.incarnation)
                }
                try writer.waitForWrites(300)
            }
            try up.waitUntilHealthy()
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectStripesWhole(setup.geometry)
        }

        @Test(arguments: StripedSetup.usual + [.far])
        func `the client device dies together with as many appliances as there is parity`(
            setup: StripedSetup
        ) throws {
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            let writer = try startWriter(up)
            var random = SeededGenerator(seed: writer.load.seed)
            for round in 0..<count("HOLDFAST_CHAOS_ERASURE_PAIRS", default: 4) {
                let status = try up.waitUntilHealthy()
                let victims = status.appliances.shuffled(using: &random).prefix(
                    setup.parityShards)
                let pids = [status.pid] + victims.compactMap(\.pid)
                for pid in round % 2 == 0 ? pids : pids.reversed() { try up.kill(pid) }
                try up.waitForClient(otherThan: status.pid)
                try writer.waitForWrites(300)
            }
            try up.waitUntilHealthy()
            try expectNothingLost(writer)
            try up.expectStripesWhole(setup.geometry)
        }

        @Test(arguments: StripedSetup.usual)
        func `reads and writes go on while members are missing for good`(
            setup: StripedSetup
        ) throws {
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            let writer = try startWriter(up)
            let status = try up.status()
            // Without the supervisor nobody starts them anew.
            try up.kill(up.supervisor.pid)
            for victim in status.appliances.suffix(setup.parityShards) {
                try up.kill(try #require(victim.pid))
            }
            try writer.waitForWrites(3000)
            // (The writer may be done before anybody has noticed the deaths.)
            let isDegraded = try eventually(atMost: .seconds(30)) { () throws -> Bool? in
                let map = try ToolRun([
                    "nbdinfo", "--map=holdfast:resiliency", "--totals", up.uri,
                ])
                return map.standardOutput.contains(/100\.0%\s+1\b/) ? true : nil
            }
            #expect(isDegraded == true)
            #expect(try up.status().volume(up.volume).health == "degraded")
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
        }

        @Test(arguments: StripedSetup.usual + [StripedSetup.far])
        func `a byte changed behind Holdfast's back is found, and mended where it can be`(
            setup: StripedSetup
        ) throws {
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            try NBDConnection(up.uri).write([UInt8](repeating: 1, count: 1 << 20), at: 8 << 20)
            try up.expectStripesWhole(setup.geometry)
            let status = try up.status()
            let dumps = try RegionDump.members(of: status.volume(up.volume), in: status)
            let row = try setup.geometry.row((8 << 20) / setup.geometry.stripeSize.bytes)
            try #require(dumps.last).flipByte(at: row.start.bytes + 77)
            let scrub = try up.cli("scrub", up.volume, "--json")
            #expect(scrub.standardOutput.contains(/"mismatchedExtents" : 1/), "\(scrub)")
            let canTell = setup.parityShards > 1
            #expect(scrub.standardOutput.contains(/"mendedExtents" : 1/) == canTell, "\(scrub)")
            #expect(scrub.succeeded == canTell)
            if canTell { try up.expectStripesWhole(setup.geometry) }
        }

        @Test func `one loss too many fails requests, and never hands out anything else`() throws {
            let setup = StripedSetup.far
            let up = try HoldfastUp(setup.options)
            defer { up.stop() }
            let connection = try NBDConnection(up.uri)
            try connection.write([UInt8](repeating: 7, count: 1 << 20), at: 0)
            let victims = try up.status().appliances.prefix(setup.parityShards + 1)
            for victim in victims { _ = try up.suspend(.appliance(victim.name)) }
            #expect(throws: NBDError(code: 5)) { try connection.read(4096, at: 0) }
            #expect(throws: NBDError(code: 5)) {
                try connection.write([UInt8](repeating: 8, count: 4096), at: 4096)
            }
            for victim in victims { _ = kill(try #require(victim.pid), SIGCONT) }
            let bytes = try #require(
                eventually(atMost: .seconds(30)) { try? connection.read(1 << 20, at: 0) })
            // The failed write may be there or not; nothing else changed.
            #expect(
                bytes[4096..<8192].allSatisfy { $0 == 7 }
                    || bytes[4096..<8192].allSatisfy { $0 == 8 })
            #expect(bytes[..<4096].allSatisfy { $0 == 7 } && bytes[8192...].allSatisfy { $0 == 7 })
            try up.waitUntilHealthy()
            try up.expectStripesWhole(setup.geometry)
        }
    }
}
