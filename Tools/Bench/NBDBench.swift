// Holdfast beside its peers, by turns, in one run on one machine: only the ratio of two figures taken
// seconds apart on the same machine means something on another machine, or tomorrow.
//
// All servers run throughout, with equally large and completely written volumes. Every cell of
// every round measures one after the other; the order changes from round to round.

import ArgumentParser
import FoundationEssentials
import Glibc
import RemoteMemory

@main
struct NBDBench: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measures Holdfast beside nbdkit's memory plugin, by turns, and prints ratios.")

    @Option(help: "Rounds; medians are taken over them.")
    var rounds: Int?
    @Option(help: "Seconds that each cell is measured (after a quarter of that to warm up).")
    var seconds: Double = 2
    @Option(help: "Size of both volumes, such as 512M.", transform: sizeArgument)
    var size: ByteCount?
    @Option(help: "The holdfast binary.")
    var holdfast: String = ".build/release/holdfast"
    @Option(help: "Layout for holdfast up, such as erasure:4+2.")
    var layout: String = "mirror:3"
    @Option(help: "Transport for holdfast up.")
    var transport: String?
    @Option(
        help: "Instead of the peer's command: holdfast up with this layout, such as mirror:3.")
    var beside: String?
    @Option(
        help: "How many appliances of the first holdfast up are killed once all is written.")
    var lose: Int = 0

    @Option(help: "Measure the server at this NBD URI instead of starting holdfast.")
    var uri: String?
    @Option(help: "Measure the server at this Unix socket instead of starting holdfast.")
    var socket: String?
    @Option(help: "Export name to go with --socket.")
    var export: String?
    @Flag(help: "Agree that all data of the server at --uri or --socket is overwritten.")
    var overwrite = false
    @Option(help: "A further process whose processor time belongs to that server; may be repeated.")
    var pid: [Int32] = []

    @Option(help: "The peer's command, in the foreground; {socket} and {size} are replaced.")
    var peer: String = "nbdkit -f -U {socket} memory {size}"
    @Option(help: "The peer's export name.")
    var peerExport: String = ""
    @Flag(help: "Measure QEMU's quorum driver over three memory servers, too.")
    var quorum = false
    @Flag(help: "Afterwards count system calls per request and process (by perf; needs root).")
    var syscalls = false
    @Flag(help: "Measure the peer against itself: the ratios show the noise.")
    var selfCheck = false

    @Option(help: "Instead of the standard cells: OPERATION:BLOCK:DEPTH[:sequential]; repeatable.")
    var workload: [Workload] = []
    @Option(
        help: ArgumentHelp(
            "Which cores: free, together (everything on one), apart (the client on its own).",
            discussion: "At depth 1 it matters most whether a wake-up crosses cores."))
    var placement: Placement = .free
    @Flag(help: "Also let fio's NBD engine do 4K random requests at depth 32.")
    var fio = false
    @Flag(help: "Check every byte that is read; costs the generator much time.")
    var verify = false
    @Flag(help: "One round of a few hundred requests on 64M: shows that the benchmark works.")
    var tiny = false
    @Flag(help: "Instead of servers, measure the erasure codec beside the library it uses.")
    var codec = false
    @Flag(help: "Exit with status 1 when a target is missed.")
    var check = false
    @Flag(help: "Print JSON.")
    var json = false

    func validate() throws {
        guard rounds ?? 1 >= 1, seconds > 0, seconds <= 3600 else {
            throw ValidationError(
                "--rounds must be at least 1, and --seconds above 0, at most 3600.")
        }
        guard uri == nil || socket == nil else {
            throw ValidationError("Give --uri or --socket, not both.")
        }
        let isForeign = uri != nil || socket != nil
        guard !isForeign || overwrite else {
            throw ValidationError(
                "This overwrites all data of that server; agree with --overwrite.")
        }
        guard !(isForeign && selfCheck) else {
            throw ValidationError(
                "--self-check starts its own servers; leave out --uri and --socket.")
        }
        guard isForeign || (pid.isEmpty && export == nil) else {
            throw ValidationError("--pid and --export go with --uri or --socket.")
        }
        guard !isForeign || placement == .free else {
            throw ValidationError(
                "--placement needs a server started here; place yours by taskset.")
        }
        guard !(fio && verify) else {
            throw ValidationError("--verify cannot know what fio writes; leave out --fio.")
        }
        guard !(selfCheck && quorum) else {
            throw ValidationError("--self-check measures one peer; leave out --quorum.")
        }
        guard beside == nil || (!selfCheck && !quorum) else {
            throw ValidationError("--beside is a peer itself; leave out --self-check and --quorum.")
        }
        guard lose >= 0, lose == 0 || !(isForeign || selfCheck) else {
            throw ValidationError("--lose kills appliances of the holdfast that is started here.")
        }
    }

    func run() throws {
        if codec { return try measureCodec() }
        Interruption.install()
        let programs = beside == nil ? peer.split(separator: " ").prefix(1).map(String.init) : []
        for program in programs + (fio ? ["fio"] : []) { try ServerProcess.require(program) }
        let directory = try makeTemporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        if syscalls { try SystemCalls.require(directory: directory) }
        try placement.placeClient(directory: directory)
        let setting = Contestant.Setting(
            directory: directory, placement: placement, verifies: verify)
        let subject = try startSubject(in: setting)
        defer { subject.stop() }
        // The peer gets the size the subject turned out to have.
        let opponent = try startPeer(
            label: selfCheck ? "\(peerName)-2" : peerName,
            size: ByteCount(subject.volumeBytes), in: setting)
        defer { opponent.stop() }
        let quorum =
            quorum
            ? try Contestant.quorum(size: ByteCount(subject.volumeBytes), in: setting) : nil
        defer { quorum?.stop() }
        let match = Match(
            subject: subject, peers: [opponent] + [quorum].compactMap { $0 }, cells: cells,
            rounds: roundCount, tiny: tiny, seconds: seconds, hasTargets: !selfCheck,
            targets: targets, losses: lose, directory: directory)
        let machine = Machine.description
        let report = Report(
            machine: machine, placement: placement, isTiny: tiny,
            subject: subjectDescription,
            peers: [beside.map { description(ofLayout: $0, losing: 0) } ?? peer]
                + (quorum == nil ? [] : ["QEMU's quorum of three"]),
            volumeBytes: subject.volumeBytes, rounds: roundCount, cells: try match.play(),
            systemCalls: syscalls ? try match.countSystemCalls() : nil)
        try show(report, text: report.text)
        if check, !report.cells(that: .missed).isEmpty { throw ExitCode.failure }
    }

    // MARK: What is measured

    private var roundCount: Int { rounds ?? (tiny ? 1 : 5) }
    private var volumeSize: ByteCount { size ?? (tiny ? .mebibytes(64) : .gibibytes(1)) }
    private var peerName: String {
        let program = peer.split(separator: " ").first ?? "peer"
        return String(program.split(separator: "/").last ?? program)
    }

    private var subjectDescription: String {
        if selfCheck { return peer }
        if let address = uri ?? socket { return address }
        return description(ofLayout: layout, losing: lose)
    }

    private func description(ofLayout layout: String, losing count: Int) -> String {
        "holdfast up --layout \(layout)" + (transport.map { " --transport \($0)" } ?? "")
            + (count == 0 ? "" : ", without \(count) of its appliances")
    }

    private var targets: TargetSet {
        guard let beside else { return transport == "tcp" ? .tcp : .sharedMemory }
        return beside == layout && lose > 0 ? .degraded : .erasure
    }

    private var cells: [Match.CellPlan] {
        let standard = beside == nil ? Workload.standard : Workload.besideLayout
        let ours = (workload.isEmpty ? standard : workload).map {
            Match.CellPlan(workload: $0, usesFio: false)
        }
        let fios = Workload.standard.prefix(2).map { Match.CellPlan(workload: $0, usesFio: true) }
        return ours + (fio ? fios : [])
    }

    private func startSubject(in setting: Contestant.Setting) throws(BenchError) -> Contestant {
        if selfCheck {
            return try startPeer(label: "\(peerName)-1", size: volumeSize, in: setting)
        }
        if let uri {
            return try .running(at: ExportAddress(uri: uri), processes: pid, verifies: verify)
        }
        if let socket {
            let address = ExportAddress(socketPath: socket, exportName: export ?? "")
            return try .running(at: address, processes: pid, verifies: verify)
        }
        return try .holdfast(
            Contestant.HoldfastOptions(
                program: holdfast, size: volumeSize, layout: layout, transport: transport),
            label: "holdfast", in: setting)
    }

    private func startPeer(
        label: String, size: ByteCount, in setting: Contestant.Setting
    ) throws(BenchError) -> Contestant {
        guard let beside else {
            return try .command(
                peer, label: label, export: peerExport, size: size, in: setting)
        }
        return try .holdfast(
            Contestant.HoldfastOptions(
                program: holdfast, size: size, layout: beside, transport: transport),
            label: beside == layout ? "whole" : beside.replacing(":", with: "-"), in: setting)
    }

    private func makeTemporaryDirectory() throws(BenchError) -> String {
        let parent = ProcessInfo.processInfo.environment["TMPDIR"] ?? "/tmp"
        var template = Array("\(parent)/holdfast-bench.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else {
            throw .system(call: "mkdtemp", errno: errno, subject: parent)
        }
        return String(decoding: template.dropLast().map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    private func measureCodec() throws {
        let bench = CodecBench(
            rounds: roundCount, seconds: tiny ? 0.01 : min(seconds, 1))
        let figures = try bench.measure()
        try show(figures, text: "\(Machine.description)\n\n\(figures.text)")
        if check, figures.contains(where: { $0.ratio < CodecBench.target }) {
            throw ExitCode.failure
        }
    }

    private func show(_ report: some Encodable, text: String) throws {
        guard json else { return print(text) }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        // A ratio to a processor time too short to be seen.
        encoder.nonConformingFloatEncodingStrategy = .convertToString(
            positiveInfinity: "infinite", negativeInfinity: "infinite", nan: "undefined")
        print(String(decoding: try encoder.encode(report), as: UTF8.self))
    }
}

private func sizeArgument(_ text: String) throws -> ByteCount {
    guard let size = ByteCount(parsing: text) else {
        throw ValidationError("\"\(text)\" is not a size; write one such as 512M or 1G.")
    }
    return size
}

extension Workload: ExpressibleByArgument {
    init?(argument: String) { self.init(parsing: argument) }
}
