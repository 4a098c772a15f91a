// qemu-io, qemu-img bench, nbdsh and fio: scripts of requests, and verified load.

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

        @Test(.needs(.tool("qemu-img"), .tool("qemu-io")))
        func qemuImgBenchWritesWhatItSays() throws {
            let uri = try HoldfastUp.current.uri
            #expect(try qemuIO("discard 32M 8M").succeeded)
            let places = ["-c", "500", "-d", "32", "-s", "4096", "-S", "8192", "-o", "32M"]
            for options in [["-w", "--pattern=0x77", "--flush-interval=100"], []] {
                let run = try ToolRun(
                    ["qemu-img", "bench", "-f", "raw"] + places + options + [uri])
                #expect(run.succeeded && run.standardOutput.contains("Run completed"), "\(run)")
            }
            let last = (32 << 20) + 499 * 8192
            let read = try qemuIO(
                "read -P 0x77 32M 4k", "read -P 0x77 \(last) 4k", "read -P 0 \(last + 4096) 4k")
            #expect(read.succeeded && !read.standardOutput.contains("failed"), "\(read)")
        }

        /// Of the distribution's own Python, for which its module is.
        private func nbdsh(_ commands: String...) throws -> ToolRun {
            let uri = try HoldfastUp.current.uri
            return try ToolRun(
                ["env", "PATH=/usr/bin:/bin", "nbdsh", "--base-allocation", "-u", uri]
                    + commands.flatMap { ["-c", $0] })
        }

        @Test(.needs(.tool("nbdsh")))
        func aShellOfLibnbdWritesReadsAndAsksWhatIsAllocated() throws {
            let run = try nbdsh(
                "h.trim(1 << 20, 48 << 20)",
                "h.pwrite(bytearray(b'\\x5a') * 4096, 48 << 20)",
                "assert h.pread(4096, 48 << 20) == b'\\x5a' * 4096",
                "h.zero(4096, 48 << 20, nbd.CMD_FLAG_FUA)",
                "assert h.pread(4096, 48 << 20) == bytearray(4096)",
                "h.pwrite(bytearray(b'\\x5b') * 65536, 48 << 20); h.flush(); seen = []",
                "h.block_status(131072, 48 << 20, lambda c, o, e, r: seen.extend(e))",
                "print(h.get_size(), h.can_multi_conn(), seen)")
            #expect(run.succeeded, "\(run)")
            // (Data, and a hole that reads as zeroes.)
            #expect(run.standardOutput == "\(256 << 20) True [65536, 0, 65536, 3]\n", "\(run)")
        }

        @Test(.needs(.tool("nbdsh")))
        func aShellOfLibnbdIsToldWhatIsWrong() throws {
            // (Its own check, which would say no before the server is asked.)
            let run = try nbdsh(
                "h.set_strict_mode(0)",
                "try: h.pread(4096, 1 << 40)\nexcept nbd.Error as error: print(error.errno)")
            #expect(run.succeeded && run.standardOutput == "EINVAL\n", "\(run)")
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
