// The lines of "With nbd-client" in Operations.md, run as they stand there.

import Foundation
import TestSupport
import Testing

/// The code lines of one section of the operator's page.
struct DocumentedLines {
    private static let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../Sources/holdfast/Holdfast.docc/Operations.md")

    private let lines: [String]

    init(section: String) throws {
        let text = try String(contentsOf: Self.page, encoding: .utf8)
        let sections = text.components(separatedBy: "\n## ")
        guard let section = sections.first(where: { $0.hasPrefix("\(section)\n") }) else {
            throw HarnessError("Operations.md has no section \(section)")
        }
        lines = section.split(separator: "\n").filter { $0.hasPrefix("    ") }
            .map { $0.trimmingCharacters(in: .whitespaces) }
    }

    /// The one line with all of `parts`, as it stands there.
    func line(_ parts: [String]) throws(HarnessError) -> String {
        let found = lines.filter { line in parts.allSatisfy { line.contains($0) } }
        guard found.count == 1, let line = found.first else {
            throw HarnessError("\(found.count) documented lines have \(parts)")
        }
        return line
    }

    /// The one line with all of `parts`, for the client device of these tests and a folder of theirs.
    func line(_ parts: [String], server: HoldfastUp, folder: String = "/srv/data") throws -> String
    {
        let line = try line(parts).replacingOccurrences(of: "/srv/data", with: folder)
        return line.replacingOccurrences(of: "/var/lib/holdfast", with: server.path)
            .replacingOccurrences(
                of: "holdfast snapshot create",
                with: "\(HoldfastBinary.path) snapshot create --dir \(server.path)")
    }

    /// What the page says to mount a snapshot of `filesystem` with.
    func mountOptions(of filesystem: Filesystem) throws -> String {
        let words = try line(["mount -o", filesystem.rawValue]).split(separator: " ")
        return words.count > 2 ? String(words[2]) : ""
    }
}

extension Disk.OnServer {
    @Suite struct Documented {
        private let up: HoldfastUp
        private let page: DocumentedLines

        init() throws {
            up = try HoldfastUp.current
            page = try DocumentedLines(section: "With nbd-client")
        }

        private func run(_ line: String) throws {
            try ToolRun.output("sh", "-c", line)
        }

        /// The line with all of `parts`, for the server of these tests.
        private func line(_ parts: String...) throws -> String {
            try page.line(parts, server: up)
        }

        @Test(arguments: ["-unix", "127.0.0.1"])
        func aDiskIsAttachedAndDetached(way: String) throws {
            try run(line(way, "-N vol0 -b 4096 -C 4"))
            let disk = try NBDClientDevice(attached: "nbd0")
            #expect(disk.sizeBytes == 320 << 20)
            #expect(try up.status().volume("vol0").connections == 4)
            try run(line("nbd-client -d"))
            #expect(disk.fact("pid") == "")
        }

        @Test func tablesAttachAndMountByName() throws {
            let disk = try up.attach("vol0")
            try Filesystem.ext4.make(on: disk)
            try disk.detach()
            // (The guest's own tables: what is written there is thrown away with it.)
            try (line("unix,bs=") + "\n").write(
                toFile: "/etc/nbdtab", atomically: true, encoding: .utf8)
            try (line("_netdev") + "\n").write(
                toFile: "/etc/fstab", atomically: true, encoding: .utf8)
            try FileManager.default.createDirectory(
                atPath: "/srv/data", withIntermediateDirectories: true)

            try ToolRun.output("nbd-client", "nbd0")
            let attached = try NBDClientDevice(attached: "nbd0")
            #expect(attached.fact("queue/logical_block_size") == "4096")
            #expect(try up.status().volume("vol0").connections == 4)
            try ToolRun.output("mount", "/srv/data")
            let files = StampedFiles(seed: 10, count: 2, largeBytes: 1 << 16)
            try files.write(into: "/srv/data")
            try ToolRun.output("umount", "/srv/data")
            try ToolRun.output("mount", "/srv/data")
            #expect(files.problems(in: "/srv/data") == [])
            try ToolRun.output("umount", "/srv/data")
            try attached.detach()
        }
    }
}
