// Swap on a volume whose server is on another machine: here outside, the guest being the one that swaps.
//
// (Where both are one machine, freeing memory would need the memory that is to be freed.)

import Foundation
import TestSupport
import Testing

extension Guest {
    /// Tools/vm of this package.
    static let tool = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../Tools/vm").standardized.path

    /// Whether guests can be started here, without installing anything.
    static var canBeStarted: Bool {
        let kernels = try? FileManager.default.contentsOfDirectory(atPath: "/boot")
        return !isHere && kernels?.contains { $0.hasPrefix("vmlinuz-") } == true
    }
}

extension Outside {
    @Suite(
        .timeLimit(.minutes(10)),
        .needs(.tool("qemu-system-x86_64"), .tool("busybox"), .tool("cpio")),
        .enabled(if: Guest.canBeStarted, "skipped: no further guest can be started here"))
    struct Swap {
        /// What the guest does: it writes more into memory than it has, and reads all of it back.
        ///
        /// (Files in tmpfs are swapped like any memory.)
        private static func script(server: String, port: Int) throws -> String {
            let page = try DocumentedLines(section: "With nbd-client")
            let attach = try page.line(["nbd-client", "-swap"])
                .replacingOccurrences(of: " 192.0.2.20 10809 ", with: " \(server) \(port) ")
            return """
                set -e
                \(attach)
                \(try page.line(["mkswap"]))
                \(try page.line(["swapon"]))
                \(load)
                """
        }

        private static let load = """
            mkdir /memory
            mount -t tmpfs -o size=400M memory /memory
            seq 1 \(numbers) >/memory/numbers
            grep -E '^pswpout' /proc/vmstat
            seq 1 \(numbers) | cmp - /memory/numbers && echo 'all is there'
            rm /memory/numbers
            swapoff /dev/nbd0
            nbd-client -d /dev/nbd0
            """

        /// Written as text they take 300 MB, in a guest of 320 MiB whose kernel has its share.
        private static let numbers = 34_000_000

        @Test func aMachineSwapsToAVolumeOnAnother() throws {
            let up = try HoldfastUp(["--size", "512M", "--nbd", "tcp:127.0.0.1:0"])
            defer { up.stop() }
            let uri = try #require(try up.status().nbd.first { $0.hasPrefix("nbd://") })
            let port = try #require(URL(string: uri)?.port)
            let start = ContinuousClock.now
            let run = try ToolRun(
                [
                    Guest.tool, "--memory", "320M", "--network", "--module", "nbd", "--time", "400",
                    "--", "bash", "-c", Self.script(server: "10.0.2.2", port: port),
                ], atMost: .seconds(500))
            #expect(run.succeeded, "\(run)")
            #expect(run.standardOutput.contains("all is there"), "\(run)")
            let counters = try up.status().volume("vol0").counters
            #expect(counters.writes > 1000, "the guest had no need to swap: \(run)")
            #expect(counters.errors == 0)
            Guest.tell(
                "swap: \(counters.writes) writes and \(counters.reads) reads of the volume, in "
                    + "\(ContinuousClock.now - start) with the start of the guest")
        }
    }
}
