// G6: a snapshot is one moment of the volume, and stays so.

import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(10)))
    struct Snapshots {
        /// The whole volume, and no zeros: they would not tell which write they come from.
        private func load(megabytes: Int = 256) -> VerifyingWriter.Load {
            var load = VerifyingWriter.Load()
            load.blockCount = megabytes * 256
            load.zerosPerHundred = 0
            load.readsPerHundred = 10
            return load
        }

        @Test func theCutOfAFullSizeSnapshotUnderLoadIsOneMoment() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter(load())
            try writer.waitForWrites(20000)
            for name in ["monday", "tuesday"] {
                writer.ledger.beginSnapshot()
                let run = try up.cli("snapshot", "create", up.volume, name)
                let window = writer.ledger.endSnapshot()
                try #require(run.succeeded, "\(run)\(up.log)")

                let uri = up.uri(of: "\(up.volume)@\(name)")
                let contents = try writer.contents(of: uri)
                #expect(Array(window.findings(in: contents).prefix(5)) == [])
                // The volume changes; what is in the snapshot does not.
                try writer.waitForWrites(5000)
                #expect(try writer.contents(of: uri) == contents)
                try up.waitUntilHealthy()
                #expect(try writer.contents(of: uri) == contents)
            }
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func snapshotsSurviveTheClientDevice() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter(load(megabytes: 32))
            try up.require("snapshot", "create", up.volume, "kept")
            let uri = up.uri(of: "\(up.volume)@kept")
            let contents = try writer.contents(of: uri)
            let pid = try up.kill(.client)
            try up.waitForClient(otherThan: pid)
            try writer.waitForWrites(1000)
            #expect(try writer.contents(of: uri) == contents)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func theClientDeviceDiesWhileASnapshotIsTaken() throws {
            let up = try HoldfastUp()
            defer { up.stop() }
            let writer = try up.startWriter(load(megabytes: 32))
            for round in 0..<count("HOLDFAST_CHAOS_SNAPSHOT_KILLS", default: 5) {
                let name = "attempt\(round)"
                let status = try up.waitUntilHealthy()
                let command = try RunningProcess([
                    HoldfastBinary.path, "snapshot", "create", up.volume, name, "--dir", up.path,
                ])
                sleepFor(.milliseconds(round * 7))
                try up.kill(status.pid)
                try up.waitForClient(otherThan: status.pid)
                _ = command.waitForExit(atMost: .seconds(60))
                try writer.waitForWrites(300)
                // Taken or not, but not half: either there is no such snapshot or it is whole.
                let volume = try up.status().volume(up.volume)
                if volume.snapshots.contains(where: { $0.name == name }) {
                    let contents = try writer.contents(of: up.uri(of: "\(up.volume)@\(name)"))
                    let torn = contents.filter { if case .foreign = $0 { true } else { false } }
                    #expect(torn == [])
                    try up.require("snapshot", "delete", up.volume, name)
                }
            }
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func aSetOfTwoExtendsFirstAndThenCuts() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:2"])
            defer { up.stop() }
            let writer = try up.startWriter(load(megabytes: 64))
            writer.ledger.beginSnapshot()
            let run = try up.cli("snapshot", "create", up.volume, "monday")
            let window = writer.ledger.endSnapshot()
            try #require(run.succeeded, "\(run)\(up.log)")
            let active = try up.status().volume(up.volume).members.filter { $0.state == "active" }
            #expect(active.count >= 2, "the redundancy was never given up")
            let contents = try writer.contents(of: up.uri(of: "\(up.volume)@monday"))
            #expect(Array(window.findings(in: contents).prefix(5)) == [])
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func deletingTheVolumeEndsTheSnapshotBeingTaken() throws {
            let up = try HoldfastUp(["--size", "1G", "--layout", "mirror:2"])
            defer { up.stop() }
            // Enough to copy that the set is still being extended when the volume goes.
            let data = [UInt8](repeating: 0x6B, count: 32 << 20)
            do {
                let connection = try NBDConnection(up.uri)
                for offset in stride(from: UInt64(0), to: 1 << 30, by: 32 << 20) {
                    try connection.write(data, at: offset)
                }
                try connection.shutdown()
            }
            let snapshot = try RunningProcess([
                HoldfastBinary.path, "snapshot", "create", up.volume, "monday", "--dir", up.path,
            ])
            _ = try up.waitForStatus("extending the set") {
                try $0.volume(up.volume).members.count == 3 || snapshot.isRunning == false
            }
            let delete = try up.cli("volume", "delete", up.volume)
            // Whichever of the two is refused, both end.
            let end = snapshot.waitForExit(atMost: .seconds(60))
            #expect(end != nil, "the snapshot's command hangs; \(delete)\(up.log)")
            #expect(up.stop() == .exited(0))
            #expect(!up.log.contains("CONTINUATION MISUSE"), "\(up.log)")
        }

        @Test func immediatelyMeansWithoutExtending() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:2"])
            defer { up.stop() }
            let writer = try up.startWriter(load(megabytes: 64))
            writer.ledger.beginSnapshot()
            let run = try up.cli("snapshot", "create", up.volume, "now", "--immediate")
            let window = writer.ledger.endSnapshot()
            try #require(run.succeeded, "\(run)\(up.log)")
            let contents = try writer.contents(of: up.uri(of: "\(up.volume)@now"))
            #expect(Array(window.findings(in: contents).prefix(5)) == [])
            try up.waitUntilHealthy()
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }
    }
}
