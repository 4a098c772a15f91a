// Garbage, half messages and replays at every port, while a volume is written: nobody crashes, and who
// behaves notices nothing.

import Foundation
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .enabled(if: Cluster.Transport.isTCPAvailable))
    struct HostileBytes {
        /// How long an answer to nonsense is waited for.
        private static let patience = Duration.milliseconds(20)

        @Test func `every port bears garbage, half messages and replays`() throws {
            let loaded = try LoadedCluster(layout: "mirror:2") { $0.nbd = ["tcp:127.0.0.1:0"] }
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let recorder = try Recorder(
                at: "tcp:127.0.0.1:0", inFrontOf: try cluster.address(of: "a3"))
            defer { recorder.stop() }
            let accesses = try record(loaded, recorder)
            let (nbd, requests) = try recordNBD(cluster)
            let questions = try recordControl(cluster)
            #expect(accesses.count >= 2 && !requests.isEmpty && !questions.isEmpty)

            var random = SeededGenerator(seed: loaded.writer.load.seed)
            let ports: [(String, [[UInt8]])] = [
                (try cluster.address(of: "a3"), accesses),
                (try cluster.address(of: "a1"), accesses),
                (nbd, requests), ("unix:\(cluster.directory.file("nbd.sock"))", requests),
                ("unix:\(cluster.directory.file("control.sock"))", questions),
            ]
            // Some that say half and then nothing are there all the time.
            var silent: [ByteSocket] = []
            for (address, recordings) in ports {
                for recording in recordings.prefix(4) {
                    let socket = try ByteSocket(to: address)
                    socket.send(recording.prefix(recording.count / 2))
                    silent.append(socket)
                }
                for bytes in nonsense(recordings, using: &random) {
                    let socket = try ByteSocket(to: address, patience: Self.patience)
                    socket.send(bytes)
                    _ = socket.receive()
                }
                try loaded.writer.waitForWrites(100)
            }
            for role in [.client, .appliance("a1"), .appliance("a2"), .appliance("a3")]
                as [Cluster.Role]
            {
                #expect(cluster.isRunning(role), "\(role): \(cluster.log)")
            }
            withExtendedLifetime(silent) {}
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }

        /// What a client device says to an appliance, control and access, while a volume is written.
        private func record(_ loaded: LoadedCluster, _ recorder: Recorder) throws -> [[UInt8]] {
            let cluster = loaded.cluster
            // From now on a3 is reached through the recorder alone.
            let holders = try loaded.members().map(\.appliance)
            let other = ["a1", "a2"].first { !holders.contains($0) } ?? "a1"
            if holders.contains("a3") {
                try cluster.require(
                    "volume", "move", LoadedCluster.volume, "--from", "a3", "--to", other)
            }
            try cluster.require("appliance", "remove", "a3")
            try cluster.require("appliance", "add", "a3", recorder.address)
            let from = try #require(try loaded.members().first?.appliance)
            try cluster.require(
                "volume", "move", LoadedCluster.volume, "--from", from, "--to", "a3")
            try loaded.writer.waitForWrites(200)
            return recorder.recordings.filter { !$0.isEmpty }
        }

        /// What an NBD client says that writes to another volume, and where.
        private func recordNBD(_ cluster: Cluster) throws -> (address: String, [[UInt8]]) {
            try cluster.require("volume", "create", "other", "--size", "4M", "--layout", "mirror:2")
            let uri = try #require(
                try cluster.status().nbd.first { $0.hasPrefix("nbd://") }.flatMap(URL.init))
            let address = "tcp:127.0.0.1:\(try #require(uri.port))"
            let recorder = try Recorder(at: "tcp:127.0.0.1:0", inFrontOf: address)
            defer { recorder.stop() }
            let port = recorder.address.split(separator: ":").last ?? ""
            let connection = try NBDConnection("nbd://127.0.0.1:\(port)/other")
            try connection.write([UInt8](repeating: 7, count: 20000), at: 4096)
            _ = try connection.read(20000, at: 0)
            try connection.zero(8192, at: 0)
            try connection.trim(8192, at: 65536)
            try connection.flush()
            return (address, recorder.recordings.filter { !$0.isEmpty })
        }

        /// What a command says to the client device.
        private func recordControl(_ cluster: Cluster) throws -> [[UInt8]] {
            let directory = try TemporaryDirectory()
            let recorder = try Recorder(
                at: "unix:\(directory.file("control.sock"))",
                inFrontOf: "unix:\(cluster.directory.file("control.sock"))")
            defer { recorder.stop() }
            for arguments in [["status"], ["volume", "show", "nowhere"], ["appliance", "list"]] {
                _ = try ToolRun([HoldfastBinary.path] + arguments + ["--dir", directory.path])
            }
            return recorder.recordings.filter { !$0.isEmpty }
        }

        /// What is sent to one port, each on a connection of its own.
        private func nonsense(
            _ recordings: [[UInt8]], using random: inout SeededGenerator
        ) -> [[UInt8]] {
            var all = recordings
            for recording in recordings {
                for part in 1...4 {
                    all.append(Array(recording.prefix(recording.count * part / 5)))
                }
                for _ in 0..<4 {
                    var bytes = recording
                    for _ in 0..<8 {
                        bytes[Int.random(in: 0..<bytes.count, using: &random)] ^= UInt8.random(
                            in: 1...255, using: &random)
                    }
                    all.append(bytes)
                    all.append(bytes + recording)
                }
            }
            for size in [1, 15, 16, 48, 100, 4096, 100_000] {
                all.append((0..<size).map { _ in UInt8.random(in: 0...255, using: &random) })
                all.append([UInt8](repeating: 0, count: size))
                all.append([UInt8](repeating: 0xFF, count: size))
                // (The beginning of a TLS record.)
                all.append([0x16, 3, 1, 0xFF, 0xFF] + [UInt8](repeating: 1, count: size))
            }
            return all
        }
    }
}
