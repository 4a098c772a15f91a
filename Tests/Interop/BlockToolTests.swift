// Block tools that trust nobody, or work while others write: QEMU's blkverify and block-stream, nbddump.

import Foundation
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(5)))
    struct BlockTools {
        static let layouts = ["mirror:3", "erasure:2+1"]
        private static let size = 64 << 20

        private func start(_ layout: String) throws -> HoldfastUp {
            try HoldfastUp(["--size", "64M", "--layout", layout])
        }

        // MARK: blkverify

        /// Runs commands on the volume and on nbdkit's memory at once, and compares what both answer.
        private func verify(
            _ commands: [String], _ up: HoldfastUp, _ reference: Nbdkit
        ) throws -> ToolRun {
            let image =
                "driver=blkverify,test.driver=nbd,test.export=\(up.volume),test.server.type=unix,"
                + "test.server.path=\(up.socket),raw.driver=nbd,raw.server.type=unix,"
                + "raw.server.path=\(reference.socket)"
            return try ToolRun(
                ["qemu-io", "--image-opts"] + commands.flatMap { ["-c", $0] } + [image])
        }

        @Test(.needs(.tool("qemu-io"), .tool("nbdkit")), arguments: layouts)
        func `blkverify finds no difference from memory, and one that is there`(
            layout: String
        ) throws {
            let up = try start(layout)
            defer { up.stop() }
            let reference = try Nbdkit(["memory", "64M"])
            let seed = UInt64.random(in: .min ... .max)
            var random = SeededGenerator(seed: seed)
            // (Writes and reads are all that blkverify passes on.)
            let commands = (0..<200).map { step in
                let longest = [1, 9, 300, 2000].randomElement(using: &random) ?? 1
                let sectors = Int.random(in: 1...longest, using: &random)
                let start = Int.random(in: 0...Self.size / 512 - sectors, using: &random)
                let place = "\(start * 512) \(sectors * 512)"
                return step % 3 == 2 ? "read \(place)" : "write -P \(step + 1) \(place)"
            }
            let all = stride(from: 0, to: Self.size, by: 4 << 20).map { "read \($0) 4M" }
            let run = try verify(commands + ["flush"] + all, up, reference)
            #expect(run.succeeded, "seed \(seed): \(run)")

            try NBDConnection(up.uri).write([0x77], at: 12_345_678)
            let other = try verify(all, up, reference)
            #expect(!other.succeeded)
            #expect(other.standardError.contains("contents mismatch"), "\(other)")
        }

        // MARK: block-stream

        @Test(.needs(.tool("qemu-storage-daemon"), .tool("qemu-img")), arguments: layouts)
        func `block-stream brings a snapshot over, while the volume is written`(
            layout: String
        ) throws {
            let up = try start(layout)
            defer { up.stop() }
            let directory = try TemporaryDirectory()
            let writer = VerifyingWriter(up.uri)
            writer.start()
            try writer.waitForWrites(2000)
            try up.require("snapshot", "create", up.volume, "monday")
            let local = directory.file("local.qcow2")
            try ToolRun.output("qemu-img", "create", "-q", "-f", "qcow2", local, "64M")
            let script = """
                coproc daemon {
                    exec qemu-storage-daemon --chardev stdio,id=qmp --monitor chardev=qmp \\
                        --blockdev driver=nbd,node-name=snapshot,read-only=on,export='\(up.volume)@monday',server.type=unix,server.path='\(up.socket)' \\
                        --blockdev driver=file,node-name=file,filename='\(local)' \\
                        --blockdev driver=qcow2,node-name=local,file=file,backing=snapshot
                }
                exec 5>&${daemon[1]} 6<&${daemon[0]}
                echo '{"execute":"qmp_capabilities"}' >&5
                echo '{"execute":"block-stream","arguments":{"job-id":"job","device":"local"}}' >&5
                while read -r line <&6; do
                    case $line in
                        *BLOCK_JOB_COMPLETED*'"error"'* | '{"error"'*) echo "$line" >&2; exit 1 ;;
                        *BLOCK_JOB_COMPLETED*) break ;;
                    esac
                done
                echo '{"execute":"quit"}' >&5
                wait
                """
            let run = try ToolRun(["bash", "-e", "-c", script])
            try #require(run.succeeded, "\(run)\(up.log)")
            try writer.waitForWrites(500)
            let compared = try ToolRun([
                "qemu-img", "compare", "-f", "qcow2", "-F", "raw", local,
                up.uri(of: "\(up.volume)@monday"),
            ])
            #expect(compared.succeeded, "\(compared)")
            let info = try ToolRun.output("qemu-img", "info", local)
            #expect(!info.contains("backing file"), "\(info)")
            #expect(try writer.stop().problems == [])
            #expect(try writer.verifyAll() == [])
        }

        // MARK: nbddump

        @Test(.needs(.tool("nbddump")), arguments: layouts)
        func `nbddump shows what was written, and nothing where nothing was`(
            layout: String
        ) throws {
            let up = try start(layout)
            defer { up.stop() }
            try NBDConnection(up.uri).write(Array("resilient memory".utf8), at: 0x23_4560)
            let dump = try ToolRun.output("nbddump", up.uri)
            let lines = dump.split(separator: "\n").map(String.init)
            let shown = lines.filter { $0.contains("|resilient memory|") }
            #expect(shown.count == 1 && shown[0].hasPrefix("0000234560:"), "\(dump)")
            #expect(lines.count < 10, "\(dump)")
        }
    }
}
