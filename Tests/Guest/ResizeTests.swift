// A volume grows under a mounted filesystem: the kernel's disk has the new size, and the filesystem takes it.

import Foundation
import TestSupport
import Testing

@Suite(.serialized, .inGuest, .needs(.root), .timeLimit(.minutes(20)))
struct ResizeTests {
    private static let layouts = ["mirror:2", "erasure:2+1"]

    private func sectors(_ megabytes: Int) -> String { "\(megabytes << 11)" }

    /// Waits until the kernel shows another size; returns how long that took, in seconds.
    private func waitForSize(_ megabytes: Int, of disk: AttachedDisk) -> Double? {
        let start = ContinuousClock.now
        let isThere = eventually(atMost: .seconds(60), every: .milliseconds(200)) {
            disk.fact("size") == sectors(megabytes) ? true : nil
        }
        return isThere == true ? (ContinuousClock.now - start) / .seconds(1) : nil
    }

    private func capacity(of path: String) throws -> Int {
        let output = try ToolRun.output("df", "--block-size=1M", "--output=size", path)
        return Int(output.split(whereSeparator: \.isWhitespace).last ?? "") ?? 0
    }

    @Test(
        .needs(.tool("mkfs.ext4"), .tool("resize2fs"), .tool("e2fsck")), arguments: layouts)
    func `ext4 is enlarged online`(layout: String) throws {
        try enlarge(
            layout, from: 96, to: 192, make: ["mkfs.ext4", "-q", "-F"],
            grow: { disk, _ in ["resize2fs", disk] }, check: ["e2fsck", "-f", "-n"])
    }

    @Test(
        .needs(.tool("mkfs.xfs"), .tool("xfs_growfs"), .tool("xfs_repair")), arguments: layouts)
    func `xfs is enlarged online`(layout: String) throws {
        try enlarge(
            layout, from: 320, to: 448, make: ["mkfs.xfs", "-q", "-f"],
            grow: { _, folder in ["xfs_growfs", folder] }, check: ["xfs_repair", "-n"])
    }

    private func enlarge(
        _ layout: String, from former: Int, to megabytes: Int, make: [String],
        grow: (String, String) -> [String], check: [String]
    ) throws {
        let mark = try AttachedDisk.kernelLines()
        let up = try HoldfastUp([
            "--size", "\(former)M", "--layout", layout, "--memory", "1G",
        ])
        let disk = try AttachedDisk(up)
        let made = try ToolRun(make + [disk.device], atMost: .seconds(180))
        #expect(made.succeeded, "\(made)")
        let mount = try MountedDisk(disk.device)
        let old = StampedFiles(seed: 4, count: 8, largeBytes: 8 << 20)
        try old.write(into: mount.path)
        let before = try capacity(of: mount.path)

        try up.require("volume", "resize", "vol0", "\(megabytes)M")
        let seconds = try #require(waitForSize(megabytes, of: disk))
        Guest.tell(
            "\(make[0]) on \(layout): the disk had its new size after \((seconds * 10).rounded() / 10) s"
        )
        #expect(
            try ToolRun.output("blockdev", "--getsize64", disk.device) == "\(megabytes << 20)\n")
        let grown = try ToolRun(grow(disk.device, mount.path), atMost: .seconds(180))
        #expect(grown.succeeded, "\(grown)")
        #expect(try capacity(of: mount.path) > before + (megabytes - former) / 2)

        // More than there was room for before.
        let new = StampedFiles(seed: 5, count: 8, largeBytes: (former - 16) << 20)
        try new.write(into: mount.path)
        try up.kill(.client)
        _ = try up.status()
        #expect(old.problems(in: mount.path) == [])
        #expect(new.problems(in: mount.path) == [])
        try mount.unmount()
        let verdict = try ToolRun(check + [disk.device], atMost: .seconds(180))
        #expect(verdict.succeeded, "\(verdict)")
        #expect(try AttachedDisk.kernelErrors(since: mark).isEmpty)
        #expect(disk.fact("size") == sectors(megabytes), "also after it was connected anew")
        #expect(try disk.detach().succeeded)
    }
}
