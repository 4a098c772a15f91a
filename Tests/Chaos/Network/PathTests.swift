// Paths that are bad in every way, while a volume is written and while a member is rebuilt.

import TestSupport
import Testing

extension Chaos {
    @Suite(
        .timeLimit(.minutes(5)), .needs(.networkLab),
        .enabled(if: Cluster.Transport.isTCPAvailable))
    struct Paths {
        /// A condition with a name for the report.
        struct Case: Sendable, CustomTestStringConvertible {
            let testDescription: String
            let condition: PathCondition
            let direction: NetworkLab.Direction

            init(
                _ name: String, _ direction: NetworkLab.Direction = .both,
                _ set: (inout PathCondition) -> Void
            ) {
                testDescription = name
                self.direction = direction
                var condition = PathCondition()
                set(&condition)
                self.condition = condition
            }
        }

        static let cases = [
            Case("nothing comes from it", .outgoing) { $0.isCut = true },
            Case("nothing reaches it", .incoming) { $0.isCut = true },
            Case("30 % are lost") { $0.lostPerThousand = 300 },
            Case("late and out of order") {
                $0.delay = .milliseconds(5)
                $0.jitter = .milliseconds(10)
                $0.overtakingPerThousand = 200
                $0.doubledPerThousand = 20
            },
            Case("1 MB/s") { $0.bytesPerSecond = 1 << 20 },
        ]

        /// One host's path is bad while the volume is written, and again while its member is rebuilt.
        @Test(arguments: cases)
        func `a bad path to one host is borne and healed`(path: Case) throws {
            let loaded = try LoadedCluster { $0.hasNetwork = true }
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let lab = try #require(cluster.lab)
            lab.setCondition(path.condition, of: "a2", path.direction)
            try loaded.writer.waitForWrites(200)
            sleepFor(.seconds(1))
            try loaded.writer.waitForWrites(200)
            try lab.heal()
            try cluster.waitUntilHealthy()

            // So slow that the path is bad in the midst of it.
            try cluster.require("rebuild", LoadedCluster.volume, "--limit", "2M")
            try cluster.kill(.appliance("a2"))
            try cluster.start(.appliance("a2"))
            try cluster.waitForStatus("rebuilding") {
                try $0.volume(LoadedCluster.volume).members.contains { $0.rebuild != nil }
            }
            lab.setCondition(path.condition, of: "a2", path.direction)
            try loaded.writer.waitForWrites(200)
            sleepFor(.seconds(1))
            try lab.heal()
            // (It fails when the rebuild begins anew; the limit is gone all the same.)
            _ = try cluster.cli("rebuild", LoadedCluster.volume, "--limit", "0")
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        @Test(arguments: NetworkLab.Direction.allCases)
        func `a client device that is cut off goes on`(direction: NetworkLab.Direction) throws {
            let loaded = try LoadedCluster { $0.hasNetwork = true }
            defer { loaded.stop() }
            let lab = try #require(loaded.cluster.lab)
            lab.setCondition(.cut, of: Cluster.clientHost, direction)
            sleepFor(.seconds(2))
            try lab.heal()
            try loaded.writer.waitForWrites(200)
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }
    }
}
