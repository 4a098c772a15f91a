// Memory that does not suffice on appliances far away: refusals, obstacles, and a file system that is full.

import Foundation
import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .enabled(if: Cluster.Transport.isTCPAvailable))
    struct FarMemory {
        @Test func `a volume that does not fit is refused and the rest goes on`() throws {
            let loaded = try LoadedCluster()
            defer { loaded.stop() }
            let before = try loaded.cluster.status().appliances.map(\.allocatedBytes)
            let run = try loaded.cluster.cli(
                "volume", "create", "big", "--size", "512M", "--layout", "mirror:3")
            #expect(run.status == 1, "\(run)")
            #expect(run.standardError.contains("needs"), "\(run)")
            #expect(run.standardError.contains("free"), "\(run)")
            let after = try loaded.cluster.status()
            #expect(after.volumes.map(\.name) == [LoadedCluster.volume])
            #expect(after.appliances.map(\.allocatedBytes) == before)
            try loaded.expectWhole()
        }

        /// The one that could take the place of the lost member has too little memory left.
        @Test func `a rebuild without room stays degraded and says why`() throws {
            let loaded = try LoadedCluster(layout: "mirror:2") { $0.memory = "128M" }
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let holders = Set(try loaded.members().map(\.appliance))
            let other = try #require(["a1", "a2", "a3"].first { !holders.contains($0) })
            try cluster.require(
                "volume", "create", "filler", "--size", "80M", "--layout", "mirror:1")
            #expect(
                try cluster.status().volume("filler").members.map(\.appliance) == [other])
            let victim = try #require(holders.min())
            try cluster.kill(.appliance(victim))
            // (First the member is waited for: its appliance may come back with it.)
            let status = try cluster.waitForStatus("known to have no room") {
                try $0.volume(LoadedCluster.volume).obstacle != nil
            }
            let volume = try status.volume(LoadedCluster.volume)
            #expect(volume.health == "degraded")
            let obstacle = try #require(volume.obstacle)
            #expect(obstacle.contains("too little") || obstacle.contains("needs"), "\(obstacle)")
            #expect(try cluster.require("status").contains(obstacle))
            try cluster.require("volume", "delete", "filler")
            try cluster.start(.appliance(victim))
            try loaded.expectWhole()
            #expect(try cluster.status().volume(LoadedCluster.volume).obstacle == nil)
        }

        @Test(.needs(.root))
        func `a full file system costs the member and nothing else`() throws {
            let loaded = try LoadedCluster(layout: "mirror:2") { $0.appliances = 1 + 1 }
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let disk = try MemoryDisk(megabytes: 160)
            let full = try RunningProcess([
                HoldfastBinary.path, "appliance", "run", "--name", "full", "--memory", "96M",
                "--listen", "tcp:127.0.0.1:0", "--memory-dir", disk.directory.path,
                "--cluster-key", cluster.keyFile,
            ])
            defer { full.terminate() }
            let address = try #require(full.standardOutput.waitForLine(atMost: .seconds(30)))
            try cluster.require("appliance", "add", "full", address)
            try cluster.require(
                "volume", "move", LoadedCluster.volume, "--from", "a1", "--to", "full")
            try loaded.writer.waitForWrites(200)
            // Beyond the blocks that the load writes, nothing is allocated yet.
            disk.fill()
            let connection = try NBDConnection(cluster.uri(of: LoadedCluster.volume))
            let bytes = [UInt8](repeating: 0x6B, count: 1 << 20)
            for megabyte in 17..<LoadedCluster.megabytes {
                try connection.write(bytes, at: UInt64(megabyte) << 20)
            }
            #expect(full.isRunning, "\(full.standardError.text)")
            try cluster.waitForStatus("without the member") {
                try $0.volume(LoadedCluster.volume).members.contains {
                    $0.appliance == "full" && $0.state == "active"
                } == false
            }
            for megabyte in 17..<LoadedCluster.megabytes {
                #expect(try connection.read(1 << 20, at: UInt64(megabyte) << 20) == bytes)
            }
            disk.makeRoom()
            try loaded.expectWhole()
            #expect(full.isRunning, "\(full.standardError.text)")
            #expect(loaded.writer.progress.lostConnections == 0)
        }
    }
}

/// A tmpfs of its own for an appliance's memory, which can be filled; gone with the last reference.
private final class MemoryDisk: Sendable {
    let directory: TemporaryDirectory
    private var ballast: String { directory.file("ballast") }

    init(megabytes: Int) throws {
        directory = try TemporaryDirectory()
        try ToolRun.output(
            "mount", "-t", "tmpfs", "-o", "size=\(megabytes)M,mode=700", "holdfast-test",
            directory.path)
    }

    deinit {
        _ = try? ToolRun(["umount", "--lazy", directory.path])
    }

    /// Leaves no room for a further page.
    func fill() {
        let descriptor = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let page = [UInt8](repeating: 0xB5, count: 4096)
        while write(descriptor, page, page.count) > 0 {}
    }

    func makeRoom() {
        unlink(ballast)
    }
}
