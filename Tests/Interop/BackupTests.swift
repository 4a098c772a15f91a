// Incremental backups: what was changed since a snapshot, and nothing else, is copied by the usual tools.

import Foundation
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(5)))
    struct Backup {
        static let layouts = ["mirror:3", "erasure:2+1"]
        private static let size: UInt64 = 256 << 20

        private func start(_ layout: String) throws -> HoldfastUp {
            try HoldfastUp(["--size", "256M", "--layout", layout])
        }

        /// How the volume is known to QEMU, with the metadata context that it is to ask about.
        private func image(_ up: HoldfastUp, _ export: String, since snapshot: String) -> String {
            "driver=nbd,export=\(export),server.type=unix,server.path=\(up.socket),"
                + "x-dirty-bitmap=holdfast:dirty/\(snapshot)"
        }

        @Test(.needs(.tool("nbdinfo")), arguments: layouts)
        func `nbdinfo maps what was changed since each snapshot`(layout: String) throws {
            let up = try start(layout)
            defer { up.stop() }
            let connection = try NBDConnection(up.uri)
            let bytes = [UInt8](repeating: 7, count: 4096)
            try connection.write(bytes, at: 5 << 20)
            try up.require("snapshot", "create", up.volume, "monday")
            #expect(try ChangedExtents(of: up.uri, since: "monday").ranges == [])
            try connection.write(bytes, at: 1 << 20)
            try connection.zero(1, at: (9 << 20) - 1)
            try up.require("snapshot", "create", up.volume, "tuesday")
            try connection.trim(128 << 10, at: 20 << 20)
            try connection.write(bytes, at: Self.size - 4096)

            let extent: UInt64 = 64 << 10
            let first = [1 << 20..<1 << 20 + extent, 9 << 20 - extent..<9 << 20]
            let second = [
                20 << 20..<20 << 20 + 2 * extent, Self.size - extent..<Self.size,
            ]
            #expect(try ChangedExtents(of: up.uri, since: "monday").ranges == first + second)
            #expect(try ChangedExtents(of: up.uri, since: "tuesday").ranges == second)
            let snapshot = up.uri(of: "\(up.volume)@tuesday")
            #expect(try ChangedExtents(of: snapshot, since: "monday").ranges == first)
            let list = try ToolRun.output("nbdinfo", "--list", up.uri(of: ""))
            #expect(list.contains("holdfast:dirty/tuesday"), "\(list)")

            // What was changed behind a snapshot that is gone was changed behind the one before it.
            try up.require("snapshot", "delete", up.volume, "tuesday")
            #expect(try ChangedExtents(of: up.uri, since: "monday").ranges == first + second)
            let unknown = try ToolRun(["nbdinfo", "--map=holdfast:dirty/tuesday", up.uri])
            #expect(!unknown.succeeded)
        }

        @Test(.needs(.tool("nbdinfo"), .tool("qemu-img")))
        func `QEMU finds the same by its option for dirty bitmaps`() throws {
            struct Extent: Decodable {
                let start: UInt64
                let length: UInt64
                let data: Bool
            }
            let up = try start("mirror:3")
            defer { up.stop() }
            try up.require("snapshot", "create", up.volume, "monday")
            let connection = try NBDConnection(up.uri)
            for place: UInt64 in [3, 77, 200] {
                try connection.write([UInt8](repeating: 1, count: 100_000), at: place << 20)
            }
            let text = try ToolRun.output(
                "qemu-img", "map", "--output=json", "--image-opts",
                image(up, up.volume, since: "monday"))
            let map = try JSONDecoder().decode([Extent].self, from: Data(text.utf8))
            // (QEMU takes the bit for that of a hole: what was changed has no data there.)
            let changed = map.filter { !$0.data }.map { $0.start..<$0.start + $0.length }
            #expect(changed == (try ChangedExtents(of: up.uri, since: "monday").ranges))
            #expect(changed.count == 3)
        }

        @Test(
            .needs(.tool("nbdinfo"), .tool("qemu-img"), .tool("qemu-io"), .tool("awk")),
            arguments: layouts)
        func `an incremental backup made as documented is the snapshot, while writers go on`(
            layout: String
        ) throws {
            let up = try start(layout)
            defer { up.stop() }
            let directory = try TemporaryDirectory()
            // Something that is never changed again, behind what the writer writes.
            let rest = [UInt8](repeating: 0x5a, count: 32 << 20)
            try NBDConnection(up.uri).write(rest, at: 128 << 20)
            var load = VerifyingWriter.Load()
            load.blockCount = 64 << 8
            let writer = VerifyingWriter(up.uri, load)
            writer.start()
            try writer.waitForWrites(1000)
            for (step, lines) in try documentedSteps(up, directory).enumerated() {
                let run = try ToolRun(
                    ["bash", "-euo", "pipefail", "-c", lines], atMost: .seconds(120))
                try #require(run.succeeded, "step \(step): \(run)\(up.log)")
                try writer.waitForWrites(1000)
            }
            for snapshot in ["monday", "tuesday"] {
                let compared = try ToolRun([
                    "qemu-img", "compare", "-f", "qcow2", "-F", "raw",
                    directory.file("\(snapshot).qcow2"), up.uri(of: "\(up.volume)@\(snapshot)"),
                ])
                #expect(compared.succeeded, "\(compared)")
            }
            // It has what was changed, and not the rest.
            let snapshot = up.uri(of: "\(up.volume)@tuesday")
            let changed = try ChangedExtents(of: snapshot, since: "monday")
            #expect(changed.bytes > 0 && changed.ranges.allSatisfy { $0.upperBound <= 64 << 20 })
            let info = try ToolRun.output("qemu-img", "info", directory.file("tuesday.qcow2"))
            #expect(info.contains("backing file: monday.qcow2"), "\(info)")
            let image = URL(fileURLWithPath: directory.file("tuesday.qcow2"))
            let values = try image.resourceValues(forKeys: [.fileSizeKey])
            #expect(UInt64(values.fileSize ?? .max) < changed.bytes + 2 << 20)
            #expect(try writer.stop().problems == [])
            #expect(try writer.verifyAll() == [])
        }

        /// The steps of a backup in Operations, each a few lines for the shell: for this client device, into
        /// this folder.
        private func documentedSteps(
            _ up: HoldfastUp, _ backups: TemporaryDirectory
        ) throws -> [String] {
            let page = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
                .appending(path: "../../Sources/holdfast/Holdfast.docc/Operations.md")
            let text = try String(contentsOf: page, encoding: .utf8)
            let sections = text.components(separatedBy: "\n## ")
            let section = try #require(sections.first { $0.hasPrefix("Incremental backups\n") })
            let steps = section.components(separatedBy: "\n\n").filter { $0.hasPrefix("    ") }
            try #require(steps.count == 3)
            let command = "holdfast snapshot create"
            return steps.map { step in
                step.replacingOccurrences(of: "/var/lib/holdfast", with: up.path)
                    .replacingOccurrences(of: "/srv/backups", with: backups.path)
                    .replacingOccurrences(
                        of: command,
                        with: "\(HoldfastBinary.path) snapshot create --dir \(up.path)")
            }
        }

        @Test(arguments: RawForm.allCases)
        func `a context lives as long as its connection, whatever becomes of its snapshot`(
            form: RawForm
        ) throws {
            let up = try start("mirror:3")
            defer { up.stop() }
            try up.require("snapshot", "create", up.volume, "monday")
            let raw = try RawNBD(up.socket)
            try raw.enter(up.volume) { raw throws(HarnessError) in
                try raw.negotiate(
                    form, contextOf: up.volume, "holdfast:dirty/monday", id: 3)
            }
            func status() throws -> [UInt64] {
                raw.send(
                    RawNBD.request(
                        form, Wire.Command.blockStatus, cookie: 1, length: Self.size))
                let chunks = try raw.receiveChunks(form, offset: 0)
                try #require(chunks.map(\.type) == [form == .extended ? 6 : 5])
                #expect(chunks[0].integer(at: 0, UInt32.self) == 3)
                return form == .extended
                    ? [
                        chunks[0].integer(at: 8, UInt64.self),
                        chunks[0].integer(at: 16, UInt64.self),
                    ]
                    : [
                        UInt64(chunks[0].integer(at: 4, UInt32.self)),
                        UInt64(chunks[0].integer(at: 8, UInt32.self)),
                    ]
            }
            #expect(try status() == [Self.size, 0])
            try up.require("snapshot", "delete", up.volume, "monday")
            #expect(try status() == [Self.size, 1], "nobody knows any more")
            try up.require("snapshot", "create", up.volume, "monday")
            #expect(try status() == [Self.size, 1], "another of the same name")
        }
    }
}
