// What was changed since a snapshot is known from one client device to the next if that one stopped in order, and
// counts as changed if anything else became of it.

import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .enabled(if: Requirement.tool("nbdinfo").isMet))
    struct Changes {
        private static let size: UInt64 = 64 << 20
        private static let extent: UInt64 = 64 << 10
        private static let all = [0..<size]

        struct Setup: Sendable, CustomTestStringConvertible {
            var layout: String
            var transport: Cluster.Transport
            var appliances = 3
            var testDescription: String { "\(layout) by \(transport.rawValue)" }
        }

        static let setups = [
            Setup(layout: "mirror:3", transport: .sharedMemory, appliances: 5),
            Setup(layout: "mirror:2", transport: .tcp),
            Setup(layout: "erasure:2+1", transport: .sharedMemory),
        ]

        private func cluster(_ setup: Setup = setups[0]) throws -> Cluster {
            var plan = Cluster.Plan()
            plan.transport = setup.transport
            plan.appliances = setup.appliances
            let cluster = try Cluster(plan)
            try cluster.require(
                "volume", "create", "vol0", "--size", "64M", "--layout", setup.layout)
            return cluster
        }

        private func write(_ megabytes: UInt64..., to cluster: Cluster) throws {
            let connection = try NBDConnection(cluster.uri(of: "vol0"))
            for place in megabytes {
                try connection.write([UInt8](repeating: 1, count: 4096), at: place << 20)
            }
            try connection.shutdown()
        }

        /// What writes there are to leave behind.
        private func extents(_ megabytes: UInt64...) -> [Range<UInt64>] {
            megabytes.map { $0 << 20..<$0 << 20 + Self.extent }
        }

        private func changed(
            _ cluster: Cluster, since snapshot: String, in export: String = "vol0"
        ) throws -> [Range<UInt64>] {
            try ChangedExtents(of: cluster.uri(of: export), since: snapshot).ranges
        }

        private func snapshot(_ name: String, of cluster: Cluster) throws {
            try cluster.require("snapshot", "create", "vol0", name)
            try cluster.waitUntilHealthy()
        }

        /// Stops the client device as the service manager does, and starts another.
        private func restart(_ cluster: Cluster) throws {
            try cluster.signal(SIGTERM, to: .client)
            let end = eventually(atMost: .seconds(20)) { cluster.end(of: .client) }
            try #require(end == .exited(0), "\(cluster.log)")
            try cluster.start(.client)
        }

        @Test(arguments: setups)
        func `an orderly restart keeps what is known`(setup: Setup) throws {
            let cluster = try cluster(setup)
            defer { cluster.stop() }
            try snapshot("monday", of: cluster)
            try write(3, to: cluster)
            try snapshot("tuesday", of: cluster)
            try write(5, to: cluster)
            try restart(cluster)
            #expect(try changed(cluster, since: "tuesday") == extents(5))
            #expect(try changed(cluster, since: "monday") == extents(3, 5))
            #expect(try changed(cluster, since: "monday", in: "vol0@tuesday") == extents(3))
            try write(6, to: cluster)
            try restart(cluster)
            #expect(try changed(cluster, since: "tuesday") == extents(5, 6))
            try cluster.require("snapshot", "delete", "vol0", "tuesday")
            try restart(cluster)
            #expect(try changed(cluster, since: "monday") == extents(3, 5, 6))
        }

        @Test(arguments: setups)
        func `after a crash everything counts as changed, until the next snapshot`(
            setup: Setup
        ) throws {
            let cluster = try cluster(setup)
            defer { cluster.stop() }
            try snapshot("monday", of: cluster)
            try write(3, to: cluster)
            // What was saved before, and taken, is not found a second time.
            try restart(cluster)
            #expect(try changed(cluster, since: "monday") == extents(3))
            try write(4, to: cluster)
            try cluster.kill(.client)
            try cluster.start(.client)
            #expect(try changed(cluster, since: "monday") == Self.all)
            try snapshot("tuesday", of: cluster)
            try write(5, to: cluster)
            #expect(try changed(cluster, since: "monday") == Self.all)
            #expect(try changed(cluster, since: "monday", in: "vol0@tuesday") == Self.all)
            #expect(try changed(cluster, since: "tuesday") == extents(5))
            try restart(cluster)
            #expect(try changed(cluster, since: "monday") == Self.all)
            #expect(try changed(cluster, since: "tuesday") == extents(5))
        }

        /// What becomes of a cluster between two snapshots, under a writer.
        enum Incident: CaseIterable, Sendable {
            case none, restart, applianceDies, deviceDies, restartTwice, takeOver
        }

        private func happen(_ incident: Incident, to cluster: Cluster, _ round: Int) throws {
            switch incident {
            case .none: return
            case .restart: try restart(cluster)
            case .restartTwice:
                try restart(cluster)
                try restart(cluster)
            case .deviceDies:
                try cluster.kill(.client)
                try cluster.start(.client)
            case .takeOver:
                try cluster.signal(SIGSTOP, to: .client)
                // (Left alone where nothing is mapped, it lets its clients go when it wakes up.)
                try cluster.takeOver()?.signal(SIGCONT)
            case .applianceDies:
                let names = try cluster.status().volume("vol0").members.map(\.appliance)
                let victim = names[round % names.count]
                try cluster.kill(.appliance(victim))
                try cluster.start(.appliance(victim))
            }
        }

        @Test(arguments: setups)
        func `what differs between two snapshots was changed, whatever happened meanwhile`(
            setup: Setup
        ) throws {
            let cluster = try cluster(setup)
            defer { cluster.stop() }
            var load = VerifyingWriter.Load()
            load.blockCount = Int(Self.size / 2) >> 12
            load.zerosPerHundred = 5
            let writer = VerifyingWriter(cluster.uri(of: "vol0"), load)
            writer.start()
            try writer.waitForWrites(500)
            var former: (name: String, contents: [BlockContent])?
            for round in 0..<count("HOLDFAST_CHAOS_BACKUPS", default: 10) {
                let incident = Incident.allCases[round % Incident.allCases.count]
                try happen(incident, to: cluster, round)
                // (Few enough to leave some extents alone.)
                try writer.waitForWrites(100)
                try cluster.waitUntilHealthy()
                let name = "s\(round)"
                try snapshot(name, of: cluster)
                let export = "vol0@\(name)"
                let contents = try writer.contents(of: cluster.uri(of: export))
                if let former {
                    let changed = try changed(cluster, since: former.name, in: export)
                    let differing = contents.indices.filter {
                        contents[$0] != former.contents[$0]
                    }
                    let unmarked = differing.filter { block in
                        !changed.contains { $0.contains(UInt64(block) << 12) }
                    }
                    #expect(!differing.isEmpty && unmarked == [], "\(incident), seed \(load.seed)")
                    let isKnown = changed.allSatisfy { $0.upperBound <= Self.size / 2 }
                    let outlives = incident != .deviceDies && incident != .takeOver
                    #expect(isKnown == outlives, "\(incident): \(changed)\(cluster.log)")
                    try cluster.require("snapshot", "delete", "vol0", former.name)
                }
                former = (name, contents)
            }
            #expect(try writer.stop().problems == [])
            #expect(try writer.verifyAll() == [])
        }

        @Test func `whoever takes over from one that hangs knows nothing of its changes`() throws {
            let cluster = try cluster()
            defer { cluster.stop() }
            try snapshot("monday", of: cluster)
            try write(3, to: cluster)
            try cluster.signal(SIGSTOP, to: .client)
            _ = try cluster.takeOver()
            #expect(try changed(cluster, since: "monday") == Self.all)
            try snapshot("tuesday", of: cluster)
            try write(5, to: cluster)
            #expect(try changed(cluster, since: "tuesday") == extents(5))
        }

        @Test func `members that fail and are rebuilt change nothing`() throws {
            let cluster = try cluster()
            defer { cluster.stop() }
            try write(1, 2, 9, to: cluster)
            try snapshot("monday", of: cluster)
            let holders = try cluster.status().volume("vol0").members.map(\.appliance)
            let victim = try #require(holders.first)
            try cluster.kill(.appliance(victim))
            try write(7, to: cluster)
            try cluster.start(.appliance(victim))
            try cluster.waitUntilHealthy()
            #expect(try changed(cluster, since: "monday") == extents(7))
            try restart(cluster)
            #expect(try changed(cluster, since: "monday") == extents(7))
        }
    }
}
