// A filesystem on the volume: what people will do with it.
//
// This machine's kernel may have no nbd driver, so the volume becomes a block device by way of
// nbdfuse (a file) and a loop device with direct I/O (no page cache of the file in between).

import TestSupport
import Testing

extension Interop {
    @Suite(
        .served(), .timeLimit(.minutes(5)),
        .needs(
            .root, .fuse, .loopDevices, .tool("nbdfuse"), .tool("losetup"), .tool("mkfs.ext4"),
            .tool("e2fsck"), .tool("nbdcopy")))
    struct Filesystem {
        @Test func aSnapshotHoldsTheFilesOfItsMoment() throws {
            let up = try HoldfastUp.current
            let work = try TemporaryDirectory()

            let disk = try LoopDevice(of: up.uri)
            try ToolRun.output("mkfs.ext4", "-q", disk.path)
            let files = try Mount(disk)
            try ToolRun.output(
                "sh", "-c",
                """
                set -e; cd '\(files.path)'
                mkdir kept; head -c 20M /dev/urandom >kept/large
                i=0; while [ $i -lt 200 ]; do echo "file $i, Sunday" >kept/$i; i=$((i+1)); done
                sync; cd kept; sha256sum * >'\(work.file("sunday"))'
                """)
            try up.require("snapshot", "create", "vol0", "monday")
            try ToolRun.output(
                "sh", "-c",
                """
                set -e; cd '\(files.path)/kept'
                rm 1?; echo changed >0; head -c 10M /dev/urandom >large; echo new >new; sync
                """)

            let copy = work.file("monday.img")
            try ToolRun.output("nbdcopy", up.uri(of: "vol0@monday"), copy)
            let old = try Mount(image: copy)
            let check = try ToolRun(
                [
                    "sh", "-c",
                    "cd '\(old.path)/kept' && sha256sum --quiet -c '\(work.file("sunday"))'",
                ])
            #expect(check.succeeded, "\(check)")
            let listing = try ToolRun.output("ls", "\(old.path)/kept")
            #expect(!listing.split(separator: "\n").contains("new"))
            try old.unmount()
            let fsck = try ToolRun(["e2fsck", "-f", "-n", copy])
            #expect(fsck.succeeded, "after journal replay: \(fsck)")

            #expect(try ToolRun.output("cat", "\(files.path)/kept/0") == "changed\n")
            try ToolRun.output("fstrim", files.path)
            try files.unmount()
            let live = try ToolRun(["e2fsck", "-f", "-n", disk.path])
            #expect(live.succeeded, "\(live)")
            try disk.detach()
        }
    }
}
