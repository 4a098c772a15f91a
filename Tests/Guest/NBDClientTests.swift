// Plain nbd-client, which is what people have: by Unix socket, by TCP, with several connections.

import Foundation
import TestSupport
import Testing

/// Where the server listens beside its Unix socket: the port registered for NBD.
private let registeredPort = 10809

extension Disk {
    /// What one healthy server is enough for: three copies on three appliances.
    @Suite(
        .served([
            "--size", Filesystem.volumeSize, "--layout", "mirror:3", "--nbd",
            "tcp:127.0.0.1:\(registeredPort)", "--evict-after", SharedCluster.evictAfter,
        ]), .timeLimit(.minutes(15)))
    enum OnServer {}
}

/// A way to attach a volume.
enum Attachment: CaseIterable, Sendable {
    case unix, tcp, fourConnections, fourConnectionsByTCP

    var connections: Int {
        switch self {
        case .unix, .tcp: 1
        case .fourConnections, .fourConnectionsByTCP: 4
        }
    }

    func attach(_ export: String, of up: HoldfastUp) throws -> NBDClientDevice {
        let options = connections > 1 ? ["-C", "\(connections)"] : []
        return switch self {
        case .unix, .fourConnections: try up.attach(export, options: options)
        case .tcp, .fourConnectionsByTCP:
            try NBDClientDevice(
                export, at: .tcp(port: registeredPort), options: options)
        }
    }
}

extension Disk.OnServer {
    @Suite struct NBDClient {
        @Test(arguments: Attachment.allCases)
        func aVolumeIsADisk(attachment: Attachment) throws {
            let up = try HoldfastUp.current
            let disk = try attachment.attach("vol0", of: up)
            #expect(disk.sizeBytes == 320 << 20)
            #expect(disk.fact("queue/logical_block_size") == "4096")
            #expect(disk.fact("queue/write_cache") == "write back", "it can be flushed")
            #expect(disk.fact("queue/fua") == "1")
            #expect(!disk.isReadOnly)
            #expect(try up.status().volume("vol0").connections == attachment.connections)

            let report = try FioLoad.verify(disk.path, size: "2M", jobs: 4)
            #expect(report.errors == 0, "\(report.text)")
            #expect(report.writes > 0)
            try expectTheSameContents(disk, up.uri)
            try disk.detach()
            #expect(try up.status().volume("vol0").connections == 0)
        }

        /// What one client writes, by kernel or by libnbd, the other one reads.
        private func expectTheSameContents(_ disk: NBDClientDevice, _ uri: String) throws {
            let size = 1 << 20
            let work = try TemporaryDirectory()
            let byKernel = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 12) }
            let byLibrary = byKernel.reversed() as [UInt8]

            try Data(byKernel).write(to: URL(fileURLWithPath: work.file("written")))
            try ToolRun.output(
                "dd", "if=\(work.file("written"))", "of=\(disk.path)", "bs=64k", "seek=1024",
                "oflag=direct", "conv=fsync")
            let connection = try NBDConnection(uri)
            #expect(try connection.read(size, at: 64 << 20) == byKernel)

            try connection.write(byLibrary, at: 80 << 20)
            try connection.shutdown()
            try ToolRun.output(
                "dd", "if=\(disk.path)", "of=\(work.file("read"))", "bs=64k", "skip=1280",
                "count=16", "iflag=direct")
            let read = FileManager.default.contents(atPath: work.file("read"))
            #expect(read == Data(byLibrary))
        }

        @Test func aReadPastTheEndFailsAndTheDiskLives() throws {
            let disk = try HoldfastUp.current.attach("vol0")
            let past = try ToolRun(
                ["dd", "if=\(disk.path)", "of=/dev/null", "bs=4k", "skip=81920", "count=1"])
            #expect(past.standardError.contains("0+0 records in"), "\(past)")
            let before = try ToolRun(
                [
                    "dd", "if=\(disk.path)", "of=/dev/null", "bs=4k", "skip=81919", "count=1",
                    "iflag=direct",
                ])
            #expect(before.succeeded, "\(before)")
            try disk.detach()
        }
    }
}
