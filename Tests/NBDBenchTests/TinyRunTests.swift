import FoundationEssentials
import Glibc
import RemoteMemory
import Testing

@testable import NBDBench

private func isInstalled(_ program: String) -> Bool {
    (try? ServerProcess.require(program)) != nil
}

/// The benchmark itself, small, so that it cannot rot: nbdkit beside nbdkit.
@Suite("A tiny run", .enabled(if: isInstalled("nbdkit"), "apt-get install nbdkit"))
struct TinyRunTests {
    private static let volume = ByteCount.mebibytes(8)

    /// Runs `body` beside two servers of `plugin`, and ends them.
    private func withServers(
        of plugin: String, verifies: Bool, _ body: (Match) throws -> Void
    ) throws {
        let directory = "/tmp/holdfast-bench-test.\(getpid()).\(plugin).\(verifies)"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let setting = Contestant.Setting(
            directory: directory, placement: .free, verifies: verifies)
        func start(_ label: String) throws -> Contestant {
            try .command(
                "nbdkit -f -U {socket} \(plugin) {size}", label: label, export: "",
                size: Self.volume, in: setting)
        }
        let first = try start("first")
        defer { first.stop() }
        let second = try start("second")
        defer { second.stop() }
        try body(
            Match(
                subject: first, peers: [second],
                cells: Workload.standard.map { Match.CellPlan(workload: $0, usesFio: false) },
                rounds: 2, tiny: true, seconds: 1, hasTargets: true, directory: directory))
    }

    @Test("reads back what it wrote, in every cell of every round")
    func verified() throws {
        try withServers(of: "memory", verifies: true) { match in
            let cells = try match.play()
            let names = cells.map(\.name)
            #expect(names == Workload.standard.map(\.name))
            for sample in cells.flatMap({ $0.subject.rounds + $0.peer.rounds }) {
                #expect(sample.requests >= 400)
                #expect(sample.p50Microseconds > 0)
                #expect(sample.p50Microseconds <= sample.p99Microseconds)
                #expect(sample.generatorMicroseconds > 0)
            }
        }
    }

    @Test("notices a server that loses what is written")
    func lossy() throws {
        try withServers(of: "null", verifies: true) { match in
            let error = #expect(throws: BenchError.self) { try match.play() }
            guard case .underLoad("first", .wrongContent) = error else {
                Issue.record("not wrong content, but \(String(describing: error))")
                return
            }
        }
    }

    @Test("leaves no process behind")
    func cleanUp() throws {
        var servers: [ProcessIdentity] = []
        try withServers(of: "memory", verifies: false) { match in
            servers = match.subject.processes.members + match.peers[0].processes.members
            #expect(servers.count == 2)
        }
        let survivors = servers.filter(\.isAlive)
        #expect(survivors.isEmpty)
    }

    @Test(
        "measures QEMU's quorum driver, too, by process",
        .enabled(if: isInstalled("qemu-nbd"), "apt-get install qemu-utils"))
    func quorum() throws {
        let directory = "/tmp/holdfast-bench-test.\(getpid()).quorum"
        try FileManager.default.createDirectory(
            atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let setting = Contestant.Setting(
            directory: directory, placement: .free, verifies: true)
        let quorum = try Contestant.quorum(size: Self.volume, in: setting)
        let servers = quorum.processes.members
        defer { quorum.stop() }
        let memory = try Contestant.command(
            "nbdkit -f -U {socket} memory {size}", label: "memory", export: "",
            size: Self.volume, in: setting)
        defer { memory.stop() }
        let match = Match(
            subject: memory, peers: [memory, quorum],
            cells: Workload.standard.prefix(2).map {
                Match.CellPlan(workload: $0, usesFio: false)
            },
            rounds: 2, tiny: true, seconds: 1, hasTargets: true, targets: .tcp,
            directory: directory)
        let cells = try match.play()
        #expect(cells.map(\.peer.label) == ["memory", "quorum", "memory", "quorum"])
        #expect(cells.map { $0.target?.bound } == [1.5, nil, 1, 15])
        let names = cells[1].peer.processes.map(\.process)
        #expect(Set(names) == ["qemu-nbd", "nbdkit 1", "nbdkit 2", "nbdkit 3"])
        quorum.stop()
        #expect(servers.count == 4)
        let survivors = servers.filter(\.isAlive)
        #expect(survivors.isEmpty)
    }
}
