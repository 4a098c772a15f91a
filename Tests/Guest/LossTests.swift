// What a user of the disk must not notice but by waiting: an appliance that dies, the rebuild after it, a
// snapshot. fio verifies what it writes all the while, and tells the longest a write had to wait.

import Foundation
import TestSupport
import Testing

extension Disk.OnCluster {
    @Suite(.needs(.tool("fio"))) struct Losses {
        /// How many writes there are before and after each event.
        private static let writes = 100

        @Test func aVerifyingLoadGoesOnAcrossLossRebuildAndSnapshot() throws {
            let cluster = try Cluster.current
            try cluster.withVolume("verified", size: "96M") {
                try loseOneAndCutASnapshot(cluster)
            }
        }

        private func loseOneAndCutASnapshot(_ cluster: Cluster) throws {
            let disk = try cluster.attach("verified", options: ["-C", "4"])
            let stamped = [UInt8]((0..<8 << 20).map { UInt8(truncatingIfNeeded: $0 >> 9) })
            try NBDConnection(cluster.uri(of: "verified")).write(stamped, at: 64 << 20)

            try underLoad("nothing but the load", on: disk) {}
            try underLoad("loss of an appliance, and the rebuild on another", on: disk) {
                let lost = try #require(
                    cluster.status().volume("verified").members.first?.appliance)
                try cluster.kill(.appliance(lost))
                try cluster.waitForStatus("rebuilt elsewhere") { status in
                    let volume = try status.volume("verified")
                    return volume.health == "healthy"
                        && volume.members.allSatisfy { $0.appliance != lost }
                }
                try cluster.start(.appliance(lost))
                try cluster.waitForStatus("back") { try $0.appliance(lost).state == "up" }
            }
            try underLoad("a snapshot, and the rebuild of what it took", on: disk) {
                try cluster.require("snapshot", "create", "verified", "monday")
                try cluster.waitUntilHealthy()
            }

            let last = try FioLoad.verify(disk.path, size: "8M")
            #expect(last.errors == 0, "\(last.text)")
            try disk.detach()
            let found = try NBDConnection(cluster.uri(of: "verified")).read(8 << 20, at: 64 << 20)
            #expect(found == stamped)
            #expect(try cluster.status().volume("verified").counters.errors == 0)
            try cluster.require("snapshot", "delete", "verified", "monday")
            #expect(try cluster.mismatchedExtents(of: "verified") == 0)
        }

        private func underLoad(
            _ event: String, on disk: NBDClientDevice, _ body: () throws -> Void
        ) throws {
            let load = try FioLoad(on: disk.path, size: "16M")
            try disk.waitForWrites(Self.writes)
            try body()
            try disk.waitForWrites(Self.writes)
            let report = try load.stop()
            Guest.tell("\(event): the longest write took \(report.longestWrite)")
            #expect(report.errors == 0, "\(report.text)")
        }
    }
}
