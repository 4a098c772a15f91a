// Processes that die while members are far away: the client device again and again, and appliances whose
// memory is kept.

import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .enabled(if: Cluster.Transport.isTCPAvailable))
    struct FarDeath {
        @Test func `the client device dies again and again under load`() throws {
            let loaded = try LoadedCluster()
            defer { loaded.stop() }
            var random = SeededGenerator(seed: loaded.writer.load.seed)
            for _ in 0..<count("HOLDFAST_CHAOS_FAR_KILLS", default: 15) {
                try loaded.cluster.kill(.client)
                try loaded.cluster.start(.client)
                try loaded.writer.waitForWrites(Int.random(in: 1...400, using: &random))
            }
            try loaded.expectWhole()
        }

        @Test func `an appliance that keeps its memory is rebuilt partially`() throws {
            let loaded = try LoadedCluster { $0.keepsMemory = true }
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let before = try cluster.waitUntilHealthy()
            try cluster.require("rebuild", LoadedCluster.volume, "--limit", "4M")
            try cluster.kill(.appliance("a1"))
            try loaded.writer.waitForWrites(200)
            _ = try loaded.writer.stop()
            try cluster.start(.appliance("a1"))
            let status = try cluster.waitForStatus("rebuilding") {
                try $0.volume(LoadedCluster.volume).members.contains { $0.rebuild != nil }
            }
            let progress = try #require(
                status.volume(LoadedCluster.volume).members.compactMap(\.rebuild).first)
            #expect(progress.missingBytes <= LoadedCluster.writtenBytes, "\(progress)")
            #expect(
                try status.appliance("a1").incarnation == before.appliance("a1").incarnation)
            try cluster.require("rebuild", LoadedCluster.volume, "--limit", "0")
            loaded.writer.start()
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        @Test func `the last copy's appliance dies and keeps its memory`() throws {
            let loaded = try LoadedCluster(layout: "mirror:1") { plan in
                plan.keepsMemory = true
                plan.appliances = 1
            }
            defer { loaded.stop() }
            for _ in 0..<5 {
                try loaded.cluster.kill(.appliance("a1"))
                sleepFor(.milliseconds(400))
                try loaded.cluster.start(.appliance("a1"))
                try loaded.writer.waitForWrites(200)
            }
            #expect(loaded.writer.progress.lostConnections == 0)
            // (There is nothing to compare one copy with.)
            try loaded.cluster.waitUntilHealthy()
            try expectNothingLost(loaded.writer)
        }
    }
}
