// Sets whose members are reached in different ways: two by shared memory, one or two by TCP.

import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .enabled(if: Cluster.Transport.isTCPAvailable))
    struct MixedSets {
        /// a1 and a2 are on this host, a3 is far away; further ones are far away too.
        private func start(layout: String = "mirror:3", appliances: Int = 3) throws -> LoadedCluster
        {
            try LoadedCluster(layout: layout) { plan in
                plan.mappedAppliances = ["a1", "a2"]
                plan.appliances = appliances
            }
        }

        @Test(arguments: ["a1", "a3"])
        func `either kind is killed and rebuilt from the other`(appliance: String) throws {
            let loaded = try start()
            defer { loaded.stop() }
            // Twice: then what is read from was itself rebuilt.
            for victims in [[appliance], appliance == "a1" ? ["a3"] : ["a1", "a2"]] {
                for victim in victims { try loaded.cluster.kill(.appliance(victim)) }
                try loaded.writer.waitForWrites(200)
                for victim in victims { try loaded.cluster.start(.appliance(victim)) }
                try loaded.cluster.waitUntilHealthy()
            }
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        @Test(arguments: ["a1", "a3"])
        func `either kind is suspended and comes back`(appliance: String) throws {
            let loaded = try start()
            defer { loaded.stop() }
            let epoch = try loaded.cluster.status().volume(LoadedCluster.volume).epoch
            try loaded.cluster.signal(SIGSTOP, to: .appliance(appliance))
            try loaded.cluster.waitForStatus("given up") {
                try $0.volume(LoadedCluster.volume).epoch > epoch
            }
            try loaded.writer.waitForWrites(200)
            try loaded.cluster.signal(SIGCONT, to: .appliance(appliance))
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        @Test func `the client device dies and is taken over`() throws {
            let loaded = try start()
            defer { loaded.stop() }
            try loaded.cluster.kill(.client)
            try loaded.cluster.start(.client)
            try loaded.writer.waitForWrites(200)
            // A part of the memory is mapped, so the one that hangs is killed.
            try loaded.cluster.signal(SIGSTOP, to: .client)
            let zombie = try #require(try loaded.cluster.takeOver())
            #expect(zombie.waitForExit(atMost: .seconds(20)) == .signalled(SIGKILL))
            try loaded.writer.waitForWrites(200)
            try loaded.expectWhole()
        }

        /// The member that becomes a snapshot leaves its appliance; so in the end each kind had one.
        @Test func `snapshots on either kind hold what was there`() throws {
            let loaded = try start(appliances: 4)
            defer { loaded.stop() }
            let cluster = loaded.cluster
            _ = try loaded.writer.stop()
            let expected = try loaded.writer.contents(of: cluster.uri(of: LoadedCluster.volume))
            let snapshots = ["s1", "s2", "s3", "s4"]
            for snapshot in snapshots {
                try cluster.require("snapshot", "create", LoadedCluster.volume, snapshot)
                try cluster.waitUntilHealthy()
            }
            loaded.writer.start()
            try loaded.writer.waitForWrites(500)
            for snapshot in snapshots {
                let found = try loaded.writer.contents(
                    of: cluster.uri(of: "\(LoadedCluster.volume)@\(snapshot)"))
                #expect(found == expected, "\(snapshot)")
            }
            try loaded.expectWhole()
        }

        @Test func `a member moves from one kind to the other and back`() throws {
            let loaded = try start(layout: "mirror:2", appliances: 4)
            defer { loaded.stop() }
            let cluster = loaded.cluster
            for (from, to) in try moves(loaded) {
                try cluster.require(
                    "volume", "move", LoadedCluster.volume, "--from", from, "--to", to)
                #expect(try loaded.state(of: to) == "active")
                #expect(try loaded.state(of: from) == nil)
                try loaded.writer.waitForWrites(200)
            }
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        /// Moves that change the kind of one member twice each way, wherever the members are at first.
        private func moves(_ loaded: LoadedCluster) throws -> [(String, String)] {
            let holders = Set(try loaded.members().map(\.appliance))
            let near = ["a1", "a2"]
            let far = ["a3", "a4"]
            let kinds = near.contains(where: holders.contains) ? (near, far) : (far, near)
            let first = try #require(kinds.0.first(where: holders.contains))
            let other = try #require(kinds.1.first { !holders.contains($0) })
            return [(first, other), (other, first), (first, other), (other, first)]
        }
    }
}
