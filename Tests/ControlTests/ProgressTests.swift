// Commands that take their time: progress for people, for logs and for programs.

import Control
import ControlHTTP
import Foundation
import RemoteMemory
import Testing

@Suite("Progress") struct ProgressTests {
    @Test("elsewhere than on a terminal progress is lines without control characters")
    func lines() async throws {
        try await withServer(FakeDevice()) { client in
            let run = try await holdfast(["rebuild", "vol0", "--dir", client.socket.directory])
            #expect(run.status == 0)
            #expect(run.errors.isEmpty)
            // How many lines there are between depends on how busy this machine is.
            let lines = run.output.split(separator: "\n")
            #expect(lines.first == "vol0  25 %  256.0 MiB of 1.0 GiB  128.0 MiB/s  6 s left")
            #expect(lines.last == "vol0 is healthy")
            #expect(!run.output.contains { $0 == "\r" || $0 == "\u{1B}" })
        }
    }

    @Test("on a terminal it is a bar on one line, which is gone at the end")
    func bar() async throws {
        try await withServer(FakeDevice()) { client in
            let run = try await holdfastOnTerminal(
                ["rebuild", "vol0", "--dir", client.socket.directory])
            #expect(run.status == 0)
            let clear = "\u{1B}[K"
            #expect(
                run.output.hasPrefix(
                    "\rvol0  [######..................]  25 %  256.0 MiB of 1.0 GiB  128.0 MiB/s"
                        + "  6 s left\(clear)\rvol0  [############............]  50 %"))
            #expect(run.output.hasSuffix("\r\(clear)vol0 is healthy\r\n"), "\(run.output)")
        }
    }

    @Test("--json prints the final status only")
    func json() async throws {
        try await withServer(FakeDevice()) { client in
            let run = try await holdfast(
                ["rebuild", "vol0", "--json", "--dir", client.socket.directory])
            #expect(run.status == 0)
            let volume = try ControlJSON.decoder().decode(
                VolumeStatus.self, from: Data(run.output.utf8))
            #expect(volume.health == .healthy)
        }
    }

    @Test(
        "a rebuild that does not lead to a healthy volume is a failure that says what to do",
        arguments: [
            (VolumeHealth.degraded, "could not be rebuilt"), (.waiting, "waits for appliances"),
            (.lost, "are lost"),
        ])
    func unhealthy(health: VolumeHealth, sentence: String) async throws {
        let device = FakeDevice()
        await device.endRebuild(with: health)
        try await withServer(device) { client in
            let run = try await holdfast(["rebuild", "vol0", "--dir", client.socket.directory])
            #expect(run.status == 1)
            #expect(run.errors.hasPrefix("holdfast: The "))
            #expect(run.errors.contains(sentence))
            #expect(run.errors.count { $0 == "\n" } == 1)
        }
    }

    @Test("scrub shows progress and the result; members that differ are a failure")
    func scrub() async throws {
        try await withServer(FakeDevice()) { client in
            let directory = client.socket.directory
            let clean = try await holdfast(["scrub", "vol0", "--dir", directory])
            #expect(clean.status == 0)
            let lines = clean.output.split(separator: "\n")
            #expect(lines.first == "vol0  25 %  256.0 MiB of 1.0 GiB  128.0 MiB/s  6 s left")
            #expect(lines.last == "vol0 agrees: 3 members, 1.0 GiB each")
            let broken = try await holdfast(["scrub", "vol1", "--json", "--dir", directory])
            #expect(broken.status == 1)
            #expect(broken.errors.hasPrefix("holdfast: The members of vol1 differ in 2 extents"))
            let report = try ControlJSON.decoder().decode(
                ScrubReport.self, from: Data(broken.output.utf8))
            #expect(report.firstMismatchOffset == ByteOffset(4096))
        }
    }

    @Test(
        "status --watch draws again until q or ^C, and restores the terminal",
        arguments: ["q", "\u{3}"])
    func watch(key: String) async throws {
        try await withServer(FakeDevice()) { client in
            let run = try await holdfastOnTerminal(
                ["status", "--watch", "--dir", client.socket.directory], typing: key,
                after: "client device  process 4242", times: 2)
            #expect(run.status == 0)
            #expect(run.output.components(separatedBy: "\u{1B}[H").count >= 3)
            #expect(run.output.contains("VOLUME     SIZE  LAYOUT"))
            #expect(run.echoesAgain)
        }
    }
}
