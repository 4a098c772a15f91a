// ext4, xfs and btrfs on the kernel's disk: made, written, unmounted, mounted again, and beside themselves.

import Foundation
import TestSupport
import Testing

extension Disk.OnServer {
    @Suite struct Filesystems {
        @Test(arguments: Filesystem.allCases)
        func filesAreThereAfterDetachingAndAttachingAgain(filesystem: Filesystem) throws {
            let up = try HoldfastUp.current
            let files = StampedFiles(seed: 1)

            let disk = try up.attach("vol0", options: ["-C", "4"])
            try filesystem.make(on: disk)
            let mount = try Mount(path: disk.path)
            try files.write(into: mount.path)
            try mount.unmount()
            try disk.detach()

            let again = try up.attach("vol0")
            let mountAgain = try Mount(path: again.path)
            #expect(files.problems(in: mountAgain.path) == [])
            try mountAgain.unmount()
            let check = try filesystem.check(again)
            #expect(check.succeeded, "\(check)")
            try again.detach()
            #expect(try up.status().volume("vol0").counters.errors == 0)
        }

        @Test(arguments: Filesystem.allCases)
        func aSnapshotIsMountedBesideTheLiveFilesystem(filesystem: Filesystem) throws {
            let up = try HoldfastUp.current
            let page = try DocumentedLines(section: "With nbd-client")
            let old = StampedFiles(seed: 2, count: 8, largeBytes: 1 << 20)
            let new = StampedFiles(seed: 3, count: 8, largeBytes: 1 << 20)
            let disk = try up.attach("vol0")
            try filesystem.make(on: disk)
            let mount = try Mount(path: disk.path)
            try old.write(into: mount.path)

            let start = ContinuousClock.now
            try ToolRun.output(
                "sh", "-c", try page.line(["snapshot create"], server: up, folder: mount.path))
            Guest.tell(
                "\(filesystem.rawValue): frozen, cut and going on after "
                    + "\(ContinuousClock.now - start)")
            try old.remove(from: mount.path)
            try new.write(into: mount.path)

            let snapshot = try up.attach("vol0@monday")
            #expect(snapshot.isReadOnly)
            try expectRefusal(of: snapshot)
            // btrfs tells its filesystems apart by what is in them, and takes these two for one.
            if filesystem == .btrfs { try mount.unmount() }
            let besides = try Mount(
                path: snapshot.path, options: try page.mountOptions(of: filesystem))
            #expect(old.problems(in: besides.path) == [])
            #expect(new.problems(in: besides.path).count > 0)
            try besides.unmount()
            if filesystem != .btrfs {
                #expect(new.problems(in: mount.path) == [])
                try mount.unmount()
            }
            try snapshot.detach()
            try disk.detach()
            try up.require("snapshot", "delete", "vol0", "monday")
            try up.waitUntilHealthy()
        }

        private func expectRefusal(of snapshot: NBDClientDevice) throws {
            let write = try ToolRun(
                ["dd", "if=/dev/zero", "of=\(snapshot.path)", "bs=4k", "count=1", "oflag=direct"])
            #expect(!write.succeeded, "a snapshot was written")
        }
    }
}
