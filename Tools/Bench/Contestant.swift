// A server under measurement: where it is reached, which processes it is, what its volume holds.

import Glibc
import RemoteMemory

final class Contestant {
    /// How long a server may take to accept connections, in seconds.
    static let startingPatience = 60

    let label: String
    /// What it is when it is a peer.
    let kind: PeerKind
    let address: ExportAddress
    /// The part of the volume that is filled and measured, in bytes.
    let volumeBytes: UInt64
    let ledger: ContentLedger?
    private let process: ServerProcess?
    /// Processes behind that one, ended after it.
    private let helpers: [ServerProcess]
    private let roots: [pid_t]
    private var hasLosses = false

    /// Connects once to learn the volume's size, and whose socket it is.
    private init(
        label: String, address: ExportAddress, process: ServerProcess?, otherRoots: [pid_t],
        verifies: Bool, helpers: [ServerProcess] = []
    ) throws(BenchError) {
        let connection = try NBDConnection.open(address)
        let granule = Workload.filling.block.bytes
        volumeBytes = connection.exportBytes / granule * granule
        guard volumeBytes > 0 else { throw .volumeTooSmall(bytes: connection.exportBytes) }
        let root = process?.pid ?? connection.serverProcess
        roots = (root.map { [$0] } ?? []) + otherRoots + helpers.map(\.pid)
        ledger = verifies ? ContentLedger(volumeBytes: volumeBytes) : nil
        self.label = label
        self.address = address
        self.process = process
        self.helpers = helpers
        kind = helpers.isEmpty ? .single : .quorum
    }

    /// The processes of the server, as they are now.
    var processes: ProcessTree { ProcessTree(roots: roots) }

    func stop() {
        // (It was stopped so that it would not start anybody anew.)
        if let process, hasLosses { kill(process.pid, SIGCONT) }
        process?.stop()
        for helper in helpers { helper.stop() }
    }

    /// Kills so many of its appliances, for good: the supervisor, which would start them anew, is held.
    func lose(_ count: Int) throws(BenchError) {
        guard count > 0, let process else { return }
        let appliances = zip(processes.members, processes.titles).filter { _, title in
            title.hasPrefix("appliance")
        }
        guard appliances.count > count else {
            throw process.failure(
                "has \(appliances.count) appliances, of which \(count) are to go;")
        }
        kill(process.pid, SIGSTOP)
        hasLosses = true
        for (appliance, _) in appliances.prefix(count) { kill(appliance.pid, SIGKILL) }
        // Until that is recorded.
        try Interruption.sleep(milliseconds: 1000)
    }

    /// Does `work`; an error then says which server was under load, or that it ended.
    func underLoad<Result>(
        _ work: () throws(BenchError) -> Result
    ) throws(BenchError) -> Result {
        do throws(BenchError) {
            return try work()
        } catch .interrupted {
            throw .interrupted
        } catch {
            if let process, !process.isRunning { throw process.failure("ended under load") }
            throw .underLoad(label: label, error: error)
        }
    }
}

extension Contestant {
    /// What `holdfast up` is asked for.
    struct HoldfastOptions {
        let program: String
        let size: ByteCount
        let layout: String
        let transport: String?
    }

    /// What all servers that the benchmark starts have in common.
    struct Setting {
        let directory: String
        let placement: Placement
        /// `--verify`: keep a ledger of the volume's content.
        let verifies: Bool
    }

    /// Starts `holdfast up`, which prints its URI as soon as it can be connected to.
    static func holdfast(
        _ options: HoldfastOptions, label: String, in setting: Setting
    ) throws(BenchError) -> Contestant {
        var arguments = [
            options.program, "up", "--dir", "\(setting.directory)/\(label)", "--size",
            String(options.size.bytes), "--layout", options.layout,
        ]
        if let transport = options.transport { arguments += ["--transport", transport] }
        try ServerProcess.require(options.program)
        let process = try ServerProcess(
            setting.placement.placingServer(arguments), label: label,
            directory: setting.directory, endsWithSuccess: true)
        return try stopping(process) { () throws(BenchError) in
            let uri = try process.wait(seconds: startingPatience, for: "printing its NBD URI") {
                let output = process.output
                return output.firstIndex(of: "\n").map { String(output[..<$0]) }
            }
            return try Contestant(
                label: label, address: ExportAddress(uri: uri), process: process,
                otherRoots: [], verifies: setting.verifies)
        }
    }

    /// Starts `command` with `{socket}` and `{size}` replaced, and waits until it listens.
    static func command(
        _ command: String, label: String, export: String, size: ByteCount, in setting: Setting,
        helpers: [ServerProcess] = []
    ) throws(BenchError) -> Contestant {
        let address = ExportAddress(
            socketPath: "\(setting.directory)/\(label).sock", exportName: export)
        let arguments = command.split(separator: " ").map { word in
            replacing(
                "{socket}", by: address.socketPath,
                in: replacing("{size}", by: String(size.bytes), in: String(word)))
        }
        if let program = arguments.first { try ServerProcess.require(program) }
        let process = try ServerProcess(
            setting.placement.placingServer(arguments), label: label,
            directory: setting.directory)
        return try stopping(process) { () throws(BenchError) in
            try process.wait(seconds: startingPatience, for: "accepting connections") {
                () throws(BenchError) in
                do throws(BenchError) {
                    return try Contestant(
                        label: label, address: address, process: process, otherRoots: [],
                        verifies: setting.verifies, helpers: helpers)
                } catch {
                    guard case .system(call: "connect", _, _) = error else { throw error }
                    return nil
                }
            }
        }
    }

    /// Adopts a server that runs already, and is not ended.
    static func running(
        at address: ExportAddress, processes: [pid_t], verifies: Bool
    ) throws(BenchError) -> Contestant {
        try Contestant(
            label: "holdfast", address: address, process: nil, otherRoots: processes,
            verifies: verifies)
    }

    /// Gives what `body` makes of a started process, and ends the process when it cannot.
    private static func stopping(
        _ process: ServerProcess, unless body: () throws(BenchError) -> Contestant
    ) throws(BenchError) -> Contestant {
        do {
            return try body()
        } catch {
            process.stop()
            throw error
        }
    }

    private static func replacing(_ mark: String, by text: String, in word: String) -> String {
        guard let range = word.firstRange(of: mark) else { return word }
        return word.replacingCharacters(in: range, with: text)
    }
}

extension String {
    fileprivate func replacingCharacters(in range: Range<Index>, with text: String) -> String {
        self[..<range.lowerBound] + text + self[range.upperBound...]
    }
}
