// A registry that cannot be written: nothing is acknowledged that it would have to know of first.

import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(3)), .needs(.root, .tool("mount")))
    struct RegistryDirectory {
        @Test func `a directory that cannot be written is refused in a sentence`() throws {
            let directory = try TemporaryDirectory()
            let mounted = try ReadOnlyMount(at: directory.path)
            defer { mounted.end() }
            for path in [directory.path, directory.file("new")] {
                for command in [["serve"], ["up", "--size", "16M"]] {
                    let run = try ToolRun([HoldfastBinary.path] + command + ["--dir", path])
                    #expect(run.status == 1, "\(command) \(path): \(run.standardError)")
                    #expect(
                        run.standardError.hasSuffix(
                            "cannot be used: Read-only file system; choose another --dir, or mend this one\n"
                        ), "\(command) \(path): \(run.standardError)")
                }
            }
        }

        /// Writes that need no change of members go on; one that a member missed waits for the registry (G5, G9).
        @Test(.needs(.immutableFiles), .enabled(if: Cluster.Transport.isTCPAvailable))
        func `a registry that becomes read-only holds up changes and loses nothing`() throws {
            let loaded = try LoadedCluster()
            defer { loaded.stop() }
            let cluster = loaded.cluster
            let frozen = try Frozen(
                ["registry.sqlite", "registry.sqlite-wal"].map {
                    "\(cluster.path)/\($0)"
                })
            defer { frozen.thaw() }
            try loaded.writer.waitForWrites(500)

            try cluster.kill(.appliance("a2"))
            try loaded.waitForLog("disk I/O error")
            let held = loaded.writer.progress.acknowledgedWrites
            sleepFor(.seconds(1))
            #expect(loaded.writer.progress.acknowledgedWrites == held)

            frozen.thaw()
            try loaded.writer.waitForWrites(500)
            try cluster.start(.appliance("a2"))
            try loaded.expectWhole()
            #expect(loaded.writer.progress.lostConnections == 0)
        }
    }
}

/// A directory without writing, until the end.
private struct ReadOnlyMount {
    let path: String

    init(at path: String) throws {
        self.path = path
        try ToolRun.output("mount", "-t", "tmpfs", "-o", "ro", "holdfast-test", path)
    }

    func end() { _ = try? ToolRun(["umount", path]) }
}

/// Files that refuse to be written, also through descriptors that are open.
private struct Frozen {
    let paths: [String]

    init(_ paths: [String]) throws {
        self.paths = paths
        for path in paths { try ToolRun.output("chattr", "+i", path) }
    }

    func thaw() { _ = try? ToolRun(["chattr", "-i"] + paths) }
}
