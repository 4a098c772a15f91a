// G4 with members far away, where nobody kills a client device that hangs: whenever it goes on, it finds
// its keys dead, lands no byte, commits nothing, and ends.

import Foundation
import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .enabled(if: Cluster.Transport.isTCPAvailable))
    struct Zombie {
        /// How a client device ends that finds itself succeeded.
        private static let supersededStatus: Int32 = 75

        @Test func `one that wakes up lands no byte and ends`() throws {
            // (Nobody else is to change the epoch: a busy machine is no silent appliance.)
            let loaded = try LoadedCluster { $0.evictAfter = "10s" }
            defer { loaded.stop() }
            for round in 1...count("HOLDFAST_CHAOS_ZOMBIES", default: 4) {
                // It is stopped amidst writes, which it could go on with when it wakes up.
                try loaded.cluster.signal(SIGSTOP, to: .client)
                let zombie = try #require(try loaded.cluster.takeOver())
                try write(round, loaded.cluster)
                // (The load hangs in the zombie's sockets, and is not to go on elsewhere.)
                _ = try? loaded.writer.stop(atMost: .zero)
                let before = try contents(loaded.cluster)
                let epoch = try loaded.cluster.status().volume(LoadedCluster.volume).epoch

                zombie.signal(SIGCONT)
                let end = zombie.waitForExit(atMost: .seconds(30))
                #expect(end == .exited(Self.supersededStatus), "round \(round)")
                _ = try loaded.writer.stop()
                #expect(try contents(loaded.cluster) == before, "round \(round)")
                let after = try loaded.cluster.status().volume(LoadedCluster.volume)
                #expect(after.epoch == epoch && after.health == "healthy", "round \(round)")
                #expect(try loaded.cluster.mismatchedExtents(of: LoadedCluster.volume) == 0)
                loaded.writer.start()
                try loaded.writer.waitForWrites(100)
            }
            try loaded.expectWhole()
        }

        /// Writes through the client device that serves now, beyond the blocks of the load.
        private func write(_ round: Int, _ cluster: Cluster) throws {
            let connection = try NBDConnection(cluster.uri(of: LoadedCluster.volume))
            let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: 1 << 20)
            for megabyte in 0..<8 {
                let offset = LoadedCluster.writtenBytes + UInt64(megabyte) << 20
                try connection.write(bytes, at: offset)
                #expect(try connection.read(bytes.count, at: offset) == bytes)
            }
        }

        /// All bytes of the volume.
        private func contents(_ cluster: Cluster) throws -> [UInt8] {
            let connection = try NBDConnection(cluster.uri(of: LoadedCluster.volume))
            let chunk = 4 << 20
            return try stride(from: 0, to: LoadedCluster.megabytes << 20, by: chunk).flatMap {
                try connection.read(chunk, at: UInt64($0))
            }
        }
    }
}
