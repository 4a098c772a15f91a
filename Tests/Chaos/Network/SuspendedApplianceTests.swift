// An appliance far away that hangs is given up and comes back with its memory; when all hang, I/O waits.

import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .enabled(if: Cluster.Transport.isTCPAvailable))
    struct SuspendedFarAppliance {
        @Test func `one is given up, and comes back with its memory`() throws {
            let loaded = try LoadedCluster()
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let region = try #require(try loaded.members().first { $0.appliance == "a2" }?.region)
            // The rebuild that follows is to be seen.
            try cluster.require("rebuild", LoadedCluster.volume, "--limit", "4M")
            try cluster.signal(SIGSTOP, to: .appliance("a2"))
            try cluster.waitForStatus("degraded") {
                try $0.volume(LoadedCluster.volume).members.contains {
                    $0.appliance == "a2" && $0.state == "failed"
                }
            }
            // (Reads are among what the load does.)
            try loaded.writer.waitForWrites(500)
            // What is written from here on is little, and so is what is missed.
            _ = try loaded.writer.stop()
            try cluster.signal(SIGCONT, to: .appliance("a2"))
            let status = try cluster.waitForStatus("rebuilding") {
                try $0.volume(LoadedCluster.volume).members.contains {
                    $0.appliance == "a2" && $0.rebuild != nil
                }
            }
            let member = try #require(
                status.volume(LoadedCluster.volume).members.first { $0.appliance == "a2" })
            let progress = try #require(member.rebuild)
            #expect(member.region == region, "it has another region")
            #expect(progress.missingBytes <= LoadedCluster.writtenBytes, "\(progress)")
            try cluster.require("rebuild", LoadedCluster.volume, "--limit", "0")
            try loaded.waitForLog("is back")
            loaded.writer.start()
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        @Test func `one that hangs again and again stays away for longer`() throws {
            let loaded = try LoadedCluster()
            defer { loaded.stop() }
            let cluster = loaded.cluster
            for _ in 0..<2 {
                try cluster.signal(SIGSTOP, to: .appliance("a2"))
                try cluster.waitForStatus("degraded") {
                    try $0.volume(LoadedCluster.volume).members.contains {
                        $0.appliance == "a2" && $0.state == "failed"
                    }
                }
                try cluster.signal(SIGCONT, to: .appliance("a2"))
                try cluster.waitUntilHealthy()
            }
            try loaded.waitForLog("member 1 on a2 keeps failing; it is tried again in 0.25 seconds")
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        @Test func `all at once make I/O wait`() throws {
            let loaded = try LoadedCluster()
            defer { loaded.stop() }
            let appliances = ["a1", "a2", "a3"]
            for name in appliances { try loaded.cluster.signal(SIGSTOP, to: .appliance(name)) }
            sleepFor(.seconds(3))
            for name in appliances { try loaded.cluster.signal(SIGCONT, to: .appliance(name)) }
            try loaded.writer.waitForWrites(300)
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }
    }
}
