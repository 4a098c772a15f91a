// FLUSH and FUA, proven by a log of all that the kernel sent: dm-log-writes above the volume.
//
//     fio or ext4 ── /dev/mapper/logged ──┬── /dev/nbdN ── client device ── appliances
//                                         └── /dev/ram0   the log

import Foundation
import TestSupport
import Testing

/// A disk over `device` that logs in the guest's memory what is done to it.
private struct LoggedDisk {
    /// Whose log it is.
    enum Test: Int, CaseIterable { case killed, replayed }

    static let path = "/dev/mapper/logged"
    /// More than the tests write.
    private static let logKilobytes = 160 << 10

    // (Each test has its own: of one used before, the kernel remembers the older log's blocks.)
    private let log: String

    init(over device: NBDClientDevice, for test: Test) throws {
        log = "/dev/ram\(test.rawValue)"
        try ToolRun.output("modprobe", "dm-log-writes")
        try ToolRun.output(
            "modprobe", "brd", "rd_nr=\(Test.allCases.count)", "rd_size=\(Self.logKilobytes)")
        let table = "0 \(device.sizeBytes / 512) log-writes \(device.path) \(log)"
        try ToolRun.output("dmsetup", "create", "logged", "--table", table)
    }

    func mark(_ name: String) throws {
        try ToolRun.output("dmsetup", "message", "logged", "0", "mark", name)
    }

    /// Ends the disk; gives its log.
    func end(_ body: (WriteLog) throws -> Void) throws {
        try ToolRun.output("dmsetup", "remove", "--retry", "logged")
        try body(WriteLog(path: log))
    }
}

extension Disk.OnCluster {
    @Suite(.needs(.tool("dmsetup"), .tool("fio"))) struct Durability {
        /// One job flushes after some writes, the other makes each of its writes a FUA write.
        private func load() throws -> RunningProcess {
            let common = [
                "--filename=\(LoggedDisk.path)", "--direct=1", "--rw=randwrite",
                "--bsrange=4k-16k", "--size=8M", "--ioengine=libaio", "--serialize_overlap=1",
                "--time_based", "--runtime=600", "--refill_buffers",
            ]
            return try RunningProcess(
                ["fio", "--thread", "--name=flushes", "--iodepth=4", "--fdatasync=8"] + common
                    + ["--name=fua", "--offset=32M", "--iodepth=1", "--sync=dsync"] + common)
        }

        @Test func whatWasFlushedOrFUAIsThereAfterEverythingElseDied() throws {
            let cluster = try Cluster.current
            try cluster.withVolume("killed", size: "64M") { try killUnderLoad(cluster) }
        }

        private func killUnderLoad(_ cluster: Cluster) throws {
            let disk = try cluster.attach("killed", options: ["-C", "4"])
            let logged = try LoggedDisk(over: disk, for: .killed)
            let fio = try load()
            try disk.waitForWrites(400)
            try logged.mark("killed")
            try cluster.kill(.client)
            fio.killWithChildren()
            _ = fio.waitForExit(atMost: .seconds(60))

            try logged.end { log in
                try disk.detach()
                try cluster.start(.client)
                let durable = log.durable(at: try log.position(ofMark: "killed"))
                Guest.tell(
                    "killed after \(durable.flushes) flushes and \(durable.fuaWrites) FUA writes: "
                        + "\(durable.allowed.count) blocks are durable")
                #expect(durable.flushes > 0 && durable.fuaWrites > 0)
                #expect(durable.allowed.count > 100)
                let connection = try NBDConnection(cluster.uri(of: "killed"))
                #expect(try log.problems(of: connection, durable) == [])
            }
            #expect(try cluster.mismatchedExtents(of: "killed") == 0)
        }

        @Test func replayedToAnySyncTheFilesystemIsWhole() throws {
            let cluster = try Cluster.current
            try cluster.withVolume("original", size: "64M") {
                try cluster.withVolume("replayed", size: "64M") { try replay(cluster) }
            }
        }

        private func replay(_ cluster: Cluster) throws {
            let disk = try cluster.attach("original", options: ["-C", "4"])
            let logged = try LoggedDisk(over: disk, for: .replayed)
            try ToolRun.output(
                "mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", LoggedDisk.path)
            let mount = try Mount(path: LoggedDisk.path)
            let sets = (0..<3).map { StampedFiles(seed: 20 + $0, count: 8, largeBytes: 1 << 20) }
            for files in sets {
                try files.write(into: mount.path)
                try logged.mark("synced-\(files.seed)")
            }
            try mount.unmount()

            try logged.end { log in
                for (number, files) in sets.enumerated() {
                    let position = try log.position(ofMark: "synced-\(files.seed)")
                    let target = try NBDConnection(cluster.uri(of: "replayed"))
                    try target.zero(64 << 20, at: 0)
                    try log.replay(upTo: position, on: target)
                    try target.shutdown()
                    let replayed = try cluster.attach("replayed")
                    let again = try Mount(path: replayed.path)
                    for there in sets[...number] {
                        #expect(there.problems(in: again.path) == [])
                    }
                    try again.unmount()
                    let check = try Filesystem.ext4.check(replayed)
                    #expect(check.succeeded, "\(check)")
                    try replayed.detach()
                }
            }
            try disk.detach()
        }
    }
}
