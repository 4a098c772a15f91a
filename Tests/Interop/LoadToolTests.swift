// qemu-io and fio: scripts of requests, and verified load.

import Foundation
import TestSupport
import Testing

extension Interop {
    @Suite(.served(), .timeLimit(.minutes(5)))
    struct LoadTools {
        private func qemuIO(_ commands: String...) throws -> ToolRun {
            let uri = try HoldfastUp.current.uri
            return try ToolRun(["qemu-io", "-f", "raw"] + commands.flatMap { ["-c", $0] } + [uri])
        }

        @Test(.needs(.tool("qemu-io")))
        func aScriptOfEveryRequestReadsBackWhatItWrote() throws {
            let run = try qemuIO(
                "write -P 0x11 0 1M", "read -P 0x11 0 1M",
                "write -P 0x22 4k 4k", "read -P 0x11 0 4k", "read -P 0x22 4k 4k",
                "read -P 0x11 8k 4k",
                "write -f -P 0x33 12k 4k", "read -P 0x33 12k 4k",
                "write -z 4k 4k", "read -P 0 4k 4k", "write -z -u 64k 64k", "read -P 0 64k 64k",
                "discard 256k 256k", "read -P 0 256k 256k", "read -P 0x11 512k 512k",
                "flush")
            #expect(run.succeeded, "\(run)")
            #expect(!run.standardOutput.contains("failed"), "\(run)")
        }

        @Test(.needs(.tool("qemu-io")))
        func requestsOfOddSizesAtOddPlacesWork() throws {
            let run = try qemuIO(
                "write -P 0x44 2M 64k", "write -P 0x55 2098177 3333", "read -P 0x55 2098177 3333",
                "read -P 0x44 2098176 1", "read -P 0x44 2101510 1000", "read -P 0x44 2M 1024")
            #expect(run.succeeded, "\(run)")
            #expect(!run.standardOutput.contains("failed"), "\(run)")
        }

        @Test(.needs(.tool("qemu-io")))
        func asynchronousRequestsComplete() throws {
            let writes = (0..<32).map { "aio_write -q -P \($0 + 1) \($0 * 128)k 128k" }
            let reads = (0..<32).map { "read -q -P \($0 + 1) \($0 * 128)k 128k" }
            let script = writes + ["aio_flush"] + reads
            let uri = try HoldfastUp.current.uri
            let run = try ToolRun(
                ["qemu-io", "-f", "raw"] + script.flatMap { ["-c", $0] } + [uri])
            #expect(run.succeeded, "\(run)")
            #expect(!run.standardOutput.contains("failed"), "\(run)")
        }

        @Test(.needs(.tool("qemu-io")))
        func aRequestPastTheEndFailsAndTheNextWorks() throws {
            let run = try qemuIO(
                "write -P 1 268435456 4k", "write -P 0x66 268431360 4k", "read -P 0x66 268431360 4k"
            )
            #expect(run.standardOutput.contains("write failed"), "\(run)")
            #expect(run.standardOutput.contains("read 4096/4096 bytes"), "\(run)")
        }

        @Test(
            .needs(.tool("fio")),
            arguments: [
                ["--rw=randwrite", "--bs=4k"],
                ["--rw=randrw", "--bsrange=4k-128k"],
                ["--rw=write", "--bs=1M", "--iodepth=4"],
            ])
        func fioVerifiesFourJobsOnFourConnections(options: [String]) throws {
            let uri = try HoldfastUp.current.uri
            let run = try ToolRun(
                [
                    "fio", "--name=verify", "--ioengine=nbd", "--uri=\(uri)", "--numjobs=4",
                    "--size=24M", "--offset_increment=64M", "--iodepth=16", "--verify=crc32c",
                    "--verify_fatal=1", "--verify_state_save=0", "--group_reporting", "--minimal",
                ] + options, atMost: .seconds(120))
            #expect(run.succeeded, "\(run)")
            #expect(!run.standardError.contains("verify"), "\(run)")
        }
    }
}
