// The processes of a cluster, one by one: the harness that the storms rely on.

import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)))
    struct ClusterProcesses {
        private func start(
            _ transport: Cluster.Transport, hasNetwork: Bool = false, keepsMemory: Bool = false
        ) throws -> (cluster: Cluster, writer: VerifyingWriter) {
            var plan = Cluster.Plan()
            plan.transport = transport
            plan.evictAfter = "300ms"
            plan.hasNetwork = hasNetwork
            plan.keepsMemory = keepsMemory
            let cluster = try Cluster(plan)
            try cluster.require("volume", "create", "v", "--size", "64M", "--layout", "mirror:2")
            var load = VerifyingWriter.Load()
            load.blockCount = 4096
            let writer = VerifyingWriter(cluster.uri(of: "v"), load)
            writer.start()
            try writer.waitForWrites(500)
            return (cluster, writer)
        }

        private func expectWhole(_ cluster: Cluster, _ writer: VerifyingWriter) throws {
            try cluster.waitUntilHealthy()
            try writer.waitForWrites(200)
            try expectNothingLost(writer)
            #expect(try cluster.mismatchedExtents(of: "v") == 0)
        }

        @Test(arguments: Cluster.Transport.available)
        func `what is killed stays away until it is started`(transport: Cluster.Transport) throws {
            let (cluster, writer) = try start(transport)
            defer { cluster.stop() }
            for role in [.client, .appliance("a1"), .appliance("a2")] as [Cluster.Role] {
                try cluster.kill(role)
                #expect(!cluster.isRunning(role))
                #expect(cluster.end(of: role) == .signalled(SIGKILL))
                try cluster.start(role)
                #expect(cluster.isRunning(role))
                try cluster.waitUntilHealthy()
            }
            try expectWhole(cluster, writer)
        }

        @Test(arguments: Cluster.Transport.available)
        func `what is suspended goes on as it was`(transport: Cluster.Transport) throws {
            let (cluster, writer) = try start(transport)
            defer { cluster.stop() }
            for role in [.client, .appliance("a1")] as [Cluster.Role] {
                let pid = try cluster.pid(of: role)
                try cluster.signal(SIGSTOP, to: role)
                sleepFor(.milliseconds(600))
                try cluster.signal(SIGCONT, to: role)
                #expect(try cluster.pid(of: role) == pid)
                try cluster.waitUntilHealthy()
            }
            try expectWhole(cluster, writer)
        }

        @Test(arguments: Cluster.Transport.available)
        func `appliances come and go`(transport: Cluster.Transport) throws {
            let (cluster, writer) = try start(transport)
            defer { cluster.stop() }
            try cluster.addAppliance("a4")
            #expect(try cluster.status().appliances.count == 4)
            let run = try cluster.removeAppliance("a4")
            #expect(run.succeeded, "\(run)")
            #expect(try cluster.status().appliances.count == 3)
            #expect(cluster.applianceNames == ["a1", "a2", "a3"])
            try expectWhole(cluster, writer)
        }

        @Test(.needs(.networkLab), .enabled(if: Cluster.Transport.isTCPAvailable))
        func `hosts whose path is cut are missed, and healed`() throws {
            let (cluster, writer) = try start(.tcp, hasNetwork: true)
            defer { cluster.stop() }
            let lab = try #require(cluster.lab)
            for direction in NetworkLab.Direction.allCases {
                let status = try cluster.waitUntilHealthy()
                let member = try #require(status.volume("v").members.first)
                lab.setCondition(.cut, of: member.appliance, direction)
                let isMissed = try eventually(atMost: .seconds(60), every: .milliseconds(50)) {
                    try cluster.status().volume("v").epoch > status.volume("v").epoch ? true : nil
                }
                #expect(isMissed == true, "\(direction)")
                try writer.waitForWrites(200)
                try lab.heal()
            }
            try expectWhole(cluster, writer)
        }

        @Test(.enabled(if: Cluster.Transport.isTCPAvailable))
        func `an appliance with kept memory is the same incarnation`() throws {
            let (cluster, writer) = try start(.tcp, keepsMemory: true)
            defer { cluster.stop() }
            let before = try cluster.waitUntilHealthy().appliance("a1").incarnation
            try cluster.kill(.appliance("a1"))
            try cluster.start(.appliance("a1"))
            try cluster.waitUntilHealthy()
            #expect(try cluster.status().appliance("a1").incarnation == before)
            try cluster.kill(.appliance("a1"))
            cluster.forgetMemory(of: "a1")
            try cluster.start(.appliance("a1"))
            let isNew = try eventually(atMost: .seconds(60), every: .milliseconds(50)) {
                try cluster.status().appliance("a1").incarnation != before ? true : nil
            }
            #expect(isNew == true)
            try expectWhole(cluster, writer)
        }
    }
}

extension Cluster.Transport {
    /// Whether this build can make a cluster key, and with it reach appliances by TCP.
    static let isTCPAvailable =
        (try? ToolRun([HoldfastBinary.path, "key", "create", "--help"]))?
        .standardOutput.contains("holdfast key create") == true

    static var available: [Cluster.Transport] {
        isTCPAvailable ? allCases : [.sharedMemory]
    }
}
