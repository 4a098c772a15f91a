// The network that other tests rely on: it carries, and it fails as told.

import Foundation
import Glibc
import TestSupport
import Testing

@Suite(
    .serialized, .timeLimit(.minutes(3)), .needs(.networkLab, .tool("nbdkit"), .tool("nbdinfo")))
struct NetworkLabTests {
    private static let size = 3 << 20

    /// Starts a server in `host`, and waits until it answers there.
    private func serve(_ host: String, in lab: NetworkLab) throws -> RunningProcess {
        let server = try lab.spawn(
            [
                "nbdkit", "-f", "-i", lab.address(of: host), "-p", "10809", "pattern",
                "\(Self.size)",
            ],
            in: host)
        let answers = eventually(atMost: .seconds(20)) {
            (try? ask(host, from: host, in: lab))?.succeeded == true ? true : nil
        }
        try #require(answers == true, "\(server.standardError.text)")
        return server
    }

    private func question(of host: String, in lab: NetworkLab) -> [String] {
        ["nbdinfo", "--size", "nbd://\(lab.address(of: host))"]
    }

    /// Asks the server in `host` for its size.
    private func ask(
        _ host: String, from other: String, in lab: NetworkLab,
        atMost limit: Duration = .seconds(60)
    ) throws -> ToolRun {
        try lab.run(question(of: host, in: lab), in: other, atMost: limit)
    }

    /// Copies the whole of the server's disk, so that there are many packets.
    private func copyAll(of host: String, to other: String, in lab: NetworkLab) throws {
        let run = try lab.run(
            ["nbdcopy", "--connections=1", "nbd://\(lab.address(of: host))", "null:"], in: other)
        #expect(run.succeeded, "\(run)")
    }

    @Test func `hosts reach each other by TCP`() throws {
        let lab = try NetworkLab(hosts: ["a", "b", "c"])
        defer { lab.end() }
        _ = try serve("a", in: lab)
        for other in ["b", "c"] {
            let run = try ask("a", from: other, in: lab)
            #expect(run.standardOutput == "\(Self.size)\n", "\(run)")
        }
        #expect(lab.counts(from: "a", to: "b").delivered > 0)
        #expect(lab.counts(from: "b", to: "c") == PathCounts())
    }

    @Test func `a cut path loses one direction only, until it is healed`() throws {
        let lab = try NetworkLab(hosts: ["a", "b"])
        defer { lab.end() }
        _ = try serve("a", in: lab)
        lab.setCondition(.cut, from: "a", to: "b")
        #expect(throws: HarnessError.self) {
            try ask("a", from: "b", in: lab, atMost: .seconds(2))
        }
        #expect(lab.counts(from: "b", to: "a").delivered > 0)
        #expect(lab.counts(from: "b", to: "a").lost == 0)
        #expect(lab.counts(from: "a", to: "b").delivered == 0)
        #expect(lab.counts(from: "a", to: "b").lost > 0)
        try lab.heal()
        #expect(try ask("a", from: "b", in: lab).succeeded)
    }

    @Test func `what is delayed comes after what is not`() throws {
        let lab = try NetworkLab(hosts: ["a", "b", "c"])
        defer { lab.end() }
        _ = try serve("a", in: lab)
        var slow = PathCondition()
        slow.delay = .seconds(3)
        lab.setCondition(slow, of: "b", .both)
        let late = try lab.spawn(question(of: "a", in: lab), in: "b")
        // Its first packet is under way before the other host sends anything.
        #expect(try ask("a", from: "c", in: lab).succeeded)
        #expect(late.isRunning)
        try lab.heal()
        #expect(late.waitForExit(atMost: .seconds(60)) == .exited(0))
    }

    @Test func `packets are lost, doubled and overtaken, and TCP bears it`() throws {
        let lab = try NetworkLab(hosts: ["a", "b"], seed: 1)
        defer { lab.end() }
        _ = try serve("a", in: lab)
        var bad = PathCondition()
        bad.delay = .milliseconds(1)
        bad.jitter = .milliseconds(1)
        bad.lostPerThousand = 20
        bad.doubledPerThousand = 20
        bad.overtakingPerThousand = 100
        lab.setCondition(bad, from: "a", to: "b")
        try copyAll(of: "a", to: "b", in: lab)
        let counts = lab.counts(from: "a", to: "b")
        #expect(counts.delivered * 1500 > Self.size)
        #expect(counts.lost > 0)
        #expect(counts.doubled > 0)
        #expect(counts.overtook > 0)
        #expect(lab.counts(from: "b", to: "a").lost == 0)
    }

    @Test func `a narrow path lets everything through, but lets it wait`() throws {
        let lab = try NetworkLab(hosts: ["a", "b"])
        defer { lab.end() }
        _ = try serve("a", in: lab)
        var narrow = PathCondition()
        narrow.bytesPerSecond = 3 << 20
        lab.setCondition(narrow, from: "a", to: "b")
        let copy = try lab.spawn(
            ["nbdcopy", "--connections=1", "nbd://\(lab.address(of: "a"))", "null:"], in: "b")
        #expect(try ask("a", from: "b", in: lab).succeeded)
        #expect(copy.isRunning)
        #expect(copy.waitForExit(atMost: .seconds(60)) == .exited(0))
    }

    @Test func `a link that is down refuses at once`() throws {
        let lab = try NetworkLab(hosts: ["a", "b"])
        defer { lab.end() }
        _ = try serve("a", in: lab)
        try lab.setLink(of: "b", isUp: false)
        #expect(try !ask("a", from: "b", in: lab).succeeded)
        try lab.setLink(of: "b", isUp: true)
        #expect(try ask("a", from: "b", in: lab).succeeded)
    }

    @Test func `labs side by side use the same addresses`() throws {
        let labs = try (0..<2).map { _ in try NetworkLab(hosts: ["a", "b"]) }
        defer { labs.forEach { $0.end() } }
        _ = try serve("a", in: labs[0])
        #expect(try ask("a", from: "b", in: labs[0]).succeeded)
        #expect(try !ask("a", from: "b", in: labs[1]).succeeded)
    }

    @Test func `nothing is left of a lab`() throws {
        let before = try heldInterfaces()
        let lab = try NetworkLab(hosts: ["a", "b"])
        let server = try serve("a", in: lab)
        let space = try #require(namespace(of: server.pid))
        lab.end()
        #expect(!server.isRunning)
        let isGone = eventually(atMost: .seconds(20)) {
            processes(in: space).isEmpty ? true : nil
        }
        #expect(isGone == true, "left: \(processes(in: space))")
        #expect(try heldInterfaces() == before)
    }

    @Test func `nothing is left of a lab that was forgotten`() throws {
        var lab: NetworkLab? = try NetworkLab(hosts: ["a"])
        let server = try serve("a", in: #require(lab))
        lab = nil
        #expect(server.waitForExit(atMost: .seconds(20)) == .signalled(SIGKILL))
    }

    private func heldInterfaces() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: "/sys/class/net")
            .filter { $0.hasPrefix("holdfast") }
    }

    private func namespace(of process: pid_t) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/ns/net")
    }

    private func processes(in space: String) -> [pid_t] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { pid_t($0) }.filter { namespace(of: $0) == space }
    }
}
