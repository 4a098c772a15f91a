// `holdfast attach` with a real kernel: whatever dies and comes back, whoever writes to the disk sees a
// pause. Each test says how long it was.

import Foundation
import TestSupport
import Testing

@Suite(
    .serialized, .inGuest,
    .needs(.root, .tool("fio"), .tool("mkfs.ext4"), .tool("e2fsck")), .timeLimit(.minutes(20)))
struct AttachTests {
    private static let options = ["--size", "256M", "--layout", "mirror:2"]

    /// A mounted filesystem on an attached volume, with a load under way on it.
    private func loaded(
        _ arguments: [String] = []
    ) throws -> (HoldfastUp, AttachedDisk, MountedDisk, VerifyingLoad) {
        let up = try HoldfastUp(Self.options)
        let disk = try AttachedDisk(up, "vol0", arguments)
        try ToolRun.output("mkfs.ext4", "-q", disk.device)
        let files = try MountedDisk(disk.device)
        let load = try VerifyingLoad(on: files)
        sleepFor(.seconds(5))
        return (up, disk, files, load)
    }

    /// The load ended well, and so does everything after it.
    private func conclude(
        _ what: String, _ disk: AttachedDisk, _ files: MountedDisk, _ load: VerifyingLoad,
        since mark: Int
    ) throws {
        let pause = try load.finish()
        Guest.tell("\(what): the longest request took \((pause * 10).rounded() / 10) s")
        #expect(try AttachedDisk.kernelErrors(since: mark).isEmpty)
        try files.unmount()
        let check = try ToolRun(["e2fsck", "-f", "-n", disk.device], atMost: .seconds(120))
        #expect(check.succeeded, "\(check)")
        let detached = try disk.detach()
        #expect(detached.succeeded, "\(detached)")
        #expect(disk.fact("size") == "0")
    }

    // MARK: Pauses

    @Test(arguments: [1, 4])
    func `a client device that is killed and restarted is a pause`(connections: Int) throws {
        let mark = try AttachedDisk.kernelLines()
        let (up, disk, files, load) = try loaded(["--connections", "\(connections)"])
        let killed = try up.kill(.client)
        #expect(load.isRunning)
        try conclude(
            "client device killed, \(connections) connections", disk, files, load, since: mark)
        #expect(try up.pid(of: .client) != killed)
    }

    @Test func `a client device that hangs for longer than all timeouts is a pause`() throws {
        let mark = try AttachedDisk.kernelLines()
        let (up, disk, files, load) = try loaded(["--timeout", "3"])
        let suspended = try up.suspend(.client)
        sleepFor(.seconds(20))
        #expect(load.isRunning)
        kill(suspended, SIGCONT)
        try conclude("client device suspended for 20 s", disk, files, load, since: mark)
        #expect(try up.pid(of: .client) == suspended)
    }

    @Test func `a helper that was killed is replaced, and makes good what it missed`() throws {
        let mark = try AttachedDisk.kernelLines()
        let (up, disk, files, load) = try loaded()
        let helper = try #require(AttachedDisk.helpers.first)
        kill(helper, SIGKILL)
        try up.kill(.client)
        _ = try up.status()
        sleepFor(.seconds(3))
        #expect(load.isRunning)
        #expect(try state(of: disk) == "unattended")
        // It is attached already; this starts a helper.
        let again = try AttachedDisk.holdfast(["attach", "vol0", "--dir", up.path])
        #expect(again.standardOutput == disk.device + "\n", "\(again)")
        #expect(AttachedDisk.helpers.count == 1 && AttachedDisk.helpers.first != helper)
        try conclude("helper and client device killed", disk, files, load, since: mark)
    }

    @Test func `a helper that was killed takes nothing with it`() throws {
        let mark = try AttachedDisk.kernelLines()
        let (_, disk, files, load) = try loaded()
        kill(try #require(AttachedDisk.helpers.first), SIGKILL)
        try conclude("helper killed", disk, files, load, since: mark)
    }

    // MARK: Detaching

    @Test func `what is in use is not detached, and its user is named`() throws {
        let up = try HoldfastUp(Self.options)
        let disk = try AttachedDisk(up)
        try ToolRun.output("mkfs.ext4", "-q", disk.device)
        let files = try MountedDisk(disk.device)
        let mounted = try disk.detach()
        #expect(mounted.status == 1)
        #expect(mounted.standardError.contains("mounted at \(files.path)"), "\(mounted)")
        try files.unmount()

        let reader = try RunningProcess(["sleep", "1000"])
        let opener = try RunningProcess(["sh", "-c", "exec sleep 1000 <\(disk.device)"])
        let seen = try eventually(atMost: .seconds(60), every: .milliseconds(500)) {
            let run = try disk.detach()
            return run.standardError.contains("open in process \(opener.pid) (sleep)") ? run : nil
        }
        #expect(seen?.status == 1)
        #expect(reader.isRunning && opener.terminate() != nil)
        let detached = try disk.detach()
        #expect(detached.succeeded, "\(detached)")
        let again = try disk.detach()
        #expect(again.status == 1)
        #expect(again.standardError.contains("vol0 is not attached"), "\(again)")
    }

    @Test func `a device whose client device is dead is detached at once`() throws {
        let up = try HoldfastUp(Self.options)
        let disk = try AttachedDisk(up)
        #expect(up.stop() != nil)
        let detached = try disk.detach()
        #expect(detached.succeeded, "\(detached)")
        #expect(disk.fact("size") == "0")
    }

    @Test func `a device whose client device hangs is detached by force, full of requests`() throws
    {
        let up = try HoldfastUp(Self.options)
        let disk = try AttachedDisk(up)
        // (It has the device open before: who opens one that hangs does not have it yet.)
        let writer = try RunningProcess([
            "sh", "-c",
            """
            exec 3<>\(disk.device); echo ready
            while dd if=/dev/zero of=\(disk.device) bs=1M count=64 oflag=direct; do :; done; exit 1
            """,
        ])
        #expect(writer.standardOutput.waitForLine(atMost: .seconds(60)) == "ready")
        let suspended = try up.suspend(.client)
        defer { kill(suspended, SIGCONT) }
        sleepFor(.seconds(4))
        #expect(try disk.detach().status == 1)
        let detached = try disk.detach("--force")
        #expect(detached.succeeded, "\(detached)")
        // What it waits for fails: it has been told the truth.
        #expect(writer.waitForExit(atMost: .seconds(60)) == .exited(1))
    }

    // MARK: Snapshots, names, lists

    @Test func `a snapshot is mounted read-only beside the live filesystem`() throws {
        let up = try HoldfastUp(Self.options)
        let disk = try AttachedDisk(up)
        try ToolRun.output("mkfs.ext4", "-q", disk.device)
        let files = try MountedDisk(disk.device)
        try ToolRun.output("sh", "-c", "echo Sunday >\(files.path)/day && sync")
        try up.require("snapshot", "create", "vol0", "monday", "--immediate")
        try ToolRun.output("sh", "-c", "echo Tuesday >\(files.path)/day && sync")

        let snapshot = try AttachedDisk(up, "vol0@monday")
        #expect(snapshot.device != disk.device)
        #expect(snapshot.fact("ro") == "1" && disk.fact("ro") == "0")
        let old = try MountedDisk(snapshot.device, "ro,noload")
        #expect(try ToolRun.output("cat", "\(old.path)/day") == "Sunday\n")
        #expect(try ToolRun.output("cat", "\(files.path)/day") == "Tuesday\n")
        #expect(try !ToolRun(["mkfs.ext4", "-q", "-F", snapshot.device]).succeeded)
        try old.unmount()
        #expect(try snapshot.detach().succeeded)
        try files.unmount()
        #expect(try disk.detach().succeeded)
    }

    @Test func `any device, a certain one, one in use`() throws {
        let up = try HoldfastUp(Self.options)
        try up.require("volume", "create", "vol1", "--size", "64M", "--layout", "mirror:2")
        let disk = try AttachedDisk(up, "vol0", ["/dev/nbd5"])
        #expect(disk.device == "/dev/nbd5")
        #expect(disk.fact("queue/logical_block_size") == "4096")
        #expect(disk.fact("size") == "\((256 << 20) / 512)")
        let taken = try AttachedDisk.holdfast(["attach", "vol1", "/dev/nbd5", "--dir", up.path])
        #expect(taken.status == 1)
        #expect(taken.standardError.contains("/dev/nbd5 is in use"), "\(taken)")
        let twice = try AttachedDisk.holdfast(["attach", "vol0", "/dev/nbd6", "--dir", up.path])
        #expect(twice.status == 1)
        #expect(twice.standardError.contains("attached as /dev/nbd5 already"), "\(twice)")
        let other = try AttachedDisk(up, "vol1")
        #expect(other.device != disk.device)
        let unknown = try AttachedDisk.holdfast(["attach", "vol2", "--dir", up.path])
        #expect(unknown.status == 1)
        #expect(unknown.standardError.contains("there is no export 'vol2'"), "\(unknown)")
        let second = try AttachedDisk.holdfast(["attach", "--helper"])
        #expect(second.status == 1)
        #expect(second.standardError.contains("a helper runs already"), "\(second)")
    }

    private struct Line: Decodable, Equatable {
        var device: String
        var volume: String
        var directory: String
        var size: UInt64
        var readOnly: Bool
        var connections: Int
        var timeoutSeconds: Int
        var state: String
    }

    private func list() throws -> [Line] {
        let run = try AttachedDisk.holdfast(["attach", "--list", "--json"])
        return try JSONDecoder().decode([Line].self, from: Data(run.standardOutput.utf8))
    }

    private func state(of disk: AttachedDisk) throws -> String? {
        try list().first { $0.device == disk.device }?.state
    }

    @Test func `the list says what is attached, and how it is`() throws {
        #expect(try list().isEmpty)
        let up = try HoldfastUp(Self.options)
        let disk = try AttachedDisk(up, "vol0", ["--connections", "2", "--timeout", "7"])
        let line = Line(
            device: disk.device, volume: "vol0", directory: up.path, size: 256 << 20,
            readOnly: false, connections: 2, timeoutSeconds: 7, state: "connected")
        #expect(try list() == [line])
        #expect(up.stop() != nil)
        let isWaiting = try eventually(atMost: .seconds(60)) {
            try state(of: disk) == "waiting" ? true : nil
        }
        #expect(isWaiting == true)
        #expect(try disk.detach().succeeded)
        #expect(try list().isEmpty)
    }
}
