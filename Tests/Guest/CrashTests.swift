// Everything dies but the memory: what was synced is there, and the filesystem is whole.
//
//     writer ── filesystem ── /dev/nbdN ── client device ── appliances
//     killed                   EIO          killed           live
//
// With plain nbd-client nobody gives the disk a new socket, so it fails, and is attached anew.

import Foundation
import TestSupport
import Testing

extension Disk.OnCluster {
    @Suite struct Crashes {
        @Test(arguments: Filesystem.allCases)
        func whatWasSyncedOutlivesEverythingButTheAppliances(filesystem: Filesystem) throws {
            let cluster = try Cluster.current
            try cluster.withVolume("crashed", size: Filesystem.volumeSize) {
                try crash(cluster, filesystem)
            }
        }

        private func crash(_ cluster: Cluster, _ filesystem: Filesystem) throws {
            let disk = try cluster.attach("crashed", options: ["-C", "4"])
            try filesystem.make(on: disk)
            let mount = try Mount(path: disk.path)
            let synced = StampedFiles(seed: 8)
            try synced.write(into: mount.path)

            // Somebody is in the middle of writing, renaming and deleting.
            let writer = try RunningProcess(
                [
                    "bash", "-c",
                    """
                    cd '\(mount.path)' || exit
                    for ((i = 0; ; i++)); do
                        printf '%0100000d' $i >busy; mv busy last; : >"empty-$i"; sync last
                        ((i < 20)) || rm -f "empty-$((i - 20))"
                    done
                    """,
                ])
            try disk.waitForWrites(12)
            let start = ContinuousClock.now
            writer.signal(SIGSTOP)
            try cluster.kill(.client)
            writer.killWithChildren()
            _ = writer.waitForExit(atMost: .seconds(60))
            try mount.unmountSoon()
            try disk.detach()

            try cluster.start(.client)
            let again = try cluster.attach("crashed", options: ["-C", "4"])
            let mountAgain = try Mount(path: again.path)
            Guest.tell(
                "\(filesystem): mounted again \(ContinuousClock.now - start) after all was killed")
            #expect(synced.problems(in: mountAgain.path) == [])
            try mountAgain.unmount()
            let check = try filesystem.check(again)
            #expect(check.succeeded, "\(check)")
            try again.detach()
            #expect(try cluster.mismatchedExtents(of: "crashed") == 0)
        }
    }
}
