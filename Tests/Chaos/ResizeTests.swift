// Volumes grow under load, near and far, whoever dies meanwhile: what was written is there, and what is new can be used.

import Foundation
import Glibc
import TestSupport
import Testing

/// A layout and a transport.
struct ResizeSetup: Sendable, CustomTestStringConvertible {
    let layout: String
    let transport: Cluster.Transport

    static let all = Cluster.Transport.available.flatMap { transport in
        ["mirror:2", "mirror:3", "erasure:4+2"].map {
            ResizeSetup(layout: $0, transport: transport)
        }
    }

    var testDescription: String { "\(layout) by \(transport.rawValue)" }
    var isErasure: Bool { layout.hasPrefix("erasure") }

    private var members: Int { layout == "mirror:2" ? 2 : isErasure ? 6 : 3 }

    /// Starts a cluster with so many appliances beside those of the members.
    func start(
        spares: Int = 0, _ adjust: (inout Cluster.Plan) -> Void = { _ in }
    ) throws -> LoadedCluster {
        try LoadedCluster(layout: layout) {
            $0.transport = transport
            $0.appliances = members + spares
            adjust(&$0)
        }
    }
}

extension Chaos {
    @Suite(.timeLimit(.minutes(10)))
    struct Resize {
        private static let megabyte = UInt64(1 << 20)
        private static let former = UInt64(LoadedCluster.megabytes) << 20

        private static func pattern(_ seed: UInt8) -> [UInt8] {
            (0..<Int(megabyte)).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) ^ seed }
        }

        private func size(_ cluster: Cluster) throws -> UInt64 {
            try cluster.status().volume(LoadedCluster.volume).sizeBytes
        }

        private func resize(_ cluster: Cluster, to megabytes: UInt64) throws {
            let output = try cluster.require(
                "volume", "resize", LoadedCluster.volume, "\(megabytes)M")
            #expect(output.hasPrefix("\(LoadedCluster.volume) has "), "\(output)")
        }

        @Test(arguments: ResizeSetup.all)
        func `a volume grows under load, and all of it is kept`(setup: ResizeSetup) throws {
            let loaded = try setup.start()
            defer { loaded.stop() }
            let (cluster, uri) = (loaded.cluster, loaded.cluster.uri(of: LoadedCluster.volume))
            try NBDConnection(uri).write(Self.pattern(1), at: Self.former - Self.megabyte)
            let connections = loaded.writer.progress.lostConnections
            for (step, megabytes) in ([80, 81, 96] as [UInt64]).enumerated() {
                // Who is connected already may use what is new, whatever it was told.
                let old = try RawNBD(cluster.directory.file("nbd.sock"))
                try old.enter(LoadedCluster.volume)
                let place = try size(cluster)
                func writeBehindTheEnd() throws -> UInt32 {
                    old.send(
                        RawNBD.request(Wire.Command.write, offset: place - 4096, length: 8192)
                            + [UInt8](repeating: UInt8(step + 1), count: 8192))
                    return try old.receiveReply().error
                }
                #expect(try writeBehindTheEnd() == UInt32(ENOSPC))
                try resize(cluster, to: megabytes)
                #expect(try writeBehindTheEnd() == 0)
                let new = try NBDConnection(uri)
                #expect(new.size == Int64(megabytes << 20))
                #expect(
                    try new.read(8192, at: place - 4096)
                        == [UInt8](repeating: UInt8(step + 1), count: 8192))
                let last = (megabytes << 20) - Self.megabyte
                if megabytes > 81 {
                    #expect(
                        try new.read(Int(Self.megabyte), at: last)
                            == [UInt8](repeating: 0, count: Int(Self.megabyte)))
                }
                try new.write(Self.pattern(UInt8(megabytes)), at: last)
                try loaded.writer.waitForWrites(200)
            }
            #expect(loaded.writer.progress.lostConnections == connections, "nobody was cut off")
            try cluster.kill(.client)
            try cluster.start(.client)
            #expect(try size(cluster) == 96 << 20)
            let after = try NBDConnection(uri)
            #expect(after.size == 96 << 20)
            #expect(try after.read(Int(Self.megabyte), at: 95 << 20) == Self.pattern(96))
            #expect(
                try after.read(4096, at: Self.former - Self.megabyte)
                    == Array(Self.pattern(1)[..<4096]))
            try loaded.expectWhole()
        }

        @Test(arguments: ResizeSetup.all)
        func `the client device may be killed at any moment of it`(setup: ResizeSetup) throws {
            let loaded = try setup.start()
            defer { loaded.stop() }
            let cluster = loaded.cluster
            var random = SeededGenerator(seed: loaded.writer.load.seed)
            for step in 1...UInt64(count("HOLDFAST_CHAOS_RESIZE_KILLS", default: 8)) {
                let before = try size(cluster)
                let after = before + step << 16
                let command = try RunningProcess([
                    HoldfastBinary.path, "volume", "resize", LoadedCluster.volume, "\(after)",
                    "--dir", cluster.path,
                ])
                usleep(UInt32.random(in: 0...60_000, using: &random))
                try cluster.kill(.client)
                _ = command.waitForExit(atMost: .seconds(60))
                try cluster.start(.client)
                let found = try size(cluster)
                #expect(found == before || found == after)
                try cluster.waitUntilHealthy()
                let connection = try NBDConnection(cluster.uri(of: LoadedCluster.volume))
                #expect(connection.size == Int64(found))
                try connection.write([1, 2, 3], at: found - 3)
                #expect(try connection.read(3, at: found - 3) == [1, 2, 3])
                // What had grown already does not keep it from growing.
                if found == before {
                    try cluster.require("volume", "resize", LoadedCluster.volume, "\(after)")
                }
                try loaded.writer.waitForWrites(100)
            }
            try loaded.expectWhole()
        }

        @Test(arguments: ResizeSetup.all.filter { $0.transport == .tcp })
        func `a member that was away grows when it is back`(setup: ResizeSetup) throws {
            let loaded = try setup.start { $0.keepsMemory = true }
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let uri = cluster.uri(of: LoadedCluster.volume)
            let away = try #require(try loaded.members().first)
            try cluster.kill(.appliance(away.appliance))
            try cluster.waitForStatus("without a member") {
                try $0.volume(LoadedCluster.volume).members.contains { $0.state == "failed" }
            }
            try resize(cluster, to: 96)
            try NBDConnection(uri).write(Self.pattern(2), at: 90 << 20)
            try loaded.writer.waitForWrites(100)
            try cluster.start(.appliance(away.appliance))
            try cluster.waitUntilHealthy()
            let back = try loaded.members().first { $0.appliance == away.appliance }
            #expect(back?.region == away.region, "it is the region of before")
            #expect(try cluster.mismatchedExtents(of: LoadedCluster.volume) == 0)
            // It holds all of it: others are not needed any more.
            for other in try loaded.members().map(\.appliance) where other != away.appliance {
                try cluster.kill(.appliance(other))
                if setup.layout != "mirror:2" { break }
            }
            #expect(
                try NBDConnection(uri).read(Int(Self.megabyte), at: 90 << 20) == Self.pattern(2))
            for name in cluster.applianceNames where !cluster.isRunning(.appliance(name)) {
                try cluster.start(.appliance(name))
            }
            try loaded.expectWhole()
        }

        @Test(arguments: ResizeSetup.all.filter { $0.transport == .tcp })
        func `appliances that die meanwhile leave a whole volume`(setup: ResizeSetup) throws {
            let loaded = try setup.start { $0.keepsMemory = true }
            defer { loaded.stop() }
            let cluster = loaded.cluster
            var random = SeededGenerator(seed: loaded.writer.load.seed)
            for _ in 1...count("HOLDFAST_CHAOS_RESIZE_LOSSES", default: 4) {
                let before = try size(cluster)
                let victim = try #require(try loaded.members().randomElement(using: &random))
                let command = try RunningProcess([
                    HoldfastBinary.path, "volume", "resize", LoadedCluster.volume,
                    "\(before + 2 << 20)", "--dir", cluster.path,
                ])
                usleep(UInt32.random(in: 0...40_000, using: &random))
                try cluster.kill(.appliance(victim.appliance))
                let end = command.waitForExit(atMost: .seconds(60))
                let found = try size(cluster)
                switch end {
                case .exited(0): #expect(found == before + 2 << 20)
                case .exited(1):
                    #expect(found == before)
                    // (What it says may arrive a moment after its end.)
                    _ = command.standardError.waitForEnd(atMost: .seconds(10))
                    #expect(
                        command.standardError.text.contains(LoadedCluster.volume),
                        "\(command.standardError.text)")
                default: Issue.record("the command ended by \(String(describing: end))")
                }
                try cluster.start(.appliance(victim.appliance))
                try cluster.waitUntilHealthy()
                try loaded.writer.waitForWrites(100)
            }
            try loaded.expectWhole()
        }

        @Test(arguments: Cluster.Transport.available)
        func `a rebuild goes on while its volume grows`(transport: Cluster.Transport) throws {
            let loaded = try ResizeSetup(layout: "mirror:2", transport: transport).start(spares: 1)
            defer { loaded.stop() }
            let cluster = loaded.cluster
            try cluster.require("rebuild", LoadedCluster.volume, "--limit", "4M")
            let victim = try #require(try loaded.members().first).appliance
            try cluster.kill(.appliance(victim))
            try cluster.waitForStatus("being rebuilt") {
                try $0.volume(LoadedCluster.volume).members.contains { $0.state == "rebuilding" }
            }
            try resize(cluster, to: 96)
            let connection = try NBDConnection(cluster.uri(of: LoadedCluster.volume))
            try connection.write(Self.pattern(3), at: 95 << 20)
            try cluster.require("rebuild", LoadedCluster.volume, "--limit", "0")
            try cluster.waitUntilHealthy()
            #expect(try connection.read(Int(Self.megabyte), at: 95 << 20) == Self.pattern(3))
            try cluster.start(.appliance(victim))
            try loaded.expectWhole()
        }

        @Test(arguments: Cluster.Transport.available)
        func `snapshots keep their size, and what they show`(transport: Cluster.Transport) throws {
            let loaded = try ResizeSetup(layout: "mirror:2", transport: transport).start(spares: 1)
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let connection = try NBDConnection(cluster.uri(of: LoadedCluster.volume))
            try connection.write(Self.pattern(4), at: Self.former - Self.megabyte)
            try cluster.require("snapshot", "create", LoadedCluster.volume, "before")
            try resize(cluster, to: 70)
            try cluster.waitUntilHealthy()
            try cluster.require("snapshot", "create", LoadedCluster.volume, "after")
            let status = try cluster.waitUntilHealthy()
            let sizes = try status.volume(LoadedCluster.volume).snapshots.map {
                "\($0.name) \($0.sizeBytes >> 20)"
            }
            #expect(sizes.sorted() == ["after 70", "before 64"])
            for (name, size) in [("before", 64), ("after", 70)] as [(String, Int64)] {
                let snapshot = try NBDConnection(
                    cluster.uri(of: "\(LoadedCluster.volume)@\(name)"))
                #expect(snapshot.size == size << 20)
                #expect(
                    try snapshot.read(Int(Self.megabyte), at: Self.former - Self.megabyte)
                        == Self.pattern(4))
            }
            try loaded.expectWhole()
        }

        @Test func `what cannot be is refused with a sentence, and nothing changes`() throws {
            let loaded = try ResizeSetup(layout: "mirror:3", transport: .sharedMemory).start()
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let before = try cluster.status().volume(LoadedCluster.volume)
            for (size, words) in [
                ("32M", "would be lost"), ("4097", "in steps of 4 KiB"), ("0", "4 KiB up to"),
                ("1000T", "4 KiB up to"), ("1G", "left to lend"),
            ] {
                let run = try cluster.cli("volume", "resize", LoadedCluster.volume, size)
                #expect(run.status == 1, "\(run)")
                #expect(run.standardError.contains(words), "\(run)")
            }
            let same = try cluster.cli("volume", "resize", LoadedCluster.volume, "64M")
            #expect(same.succeeded, "\(same)")
            let unknown = try cluster.cli("volume", "resize", "nobody", "1G")
            #expect(unknown.status == 1 && unknown.standardError.contains("no volume"))
            let after = try cluster.status().volume(LoadedCluster.volume)
            #expect(after.sizeBytes == before.sizeBytes && after.epoch == before.epoch)
            try cluster.require("volume", "resize", LoadedCluster.volume, "65M")
            try loaded.expectWhole()
        }
    }
}
