// A client device and appliances as separate processes, each of which a test may kill, suspend and
// start again: what an operator runs on several machines, on one machine or in a lab of several hosts.
//
//     serve --dir D ──┬── appliance run --name a1     shared memory: unix:D/a1.sock
//                     ├── appliance run --name a2     TCP: tcp:127.0.0.1:PORT, or the host's address
//                     └── appliance run --name a3
//
// Nobody starts again by itself: what was killed stays away until `start` is called. Processes are asked
// about by the name they were given here, never by what the client device says of them.

import Foundation
package import Glibc

/// Processes of one client device and its appliances; all end with `stop()` or the last reference.
package final class Cluster: Sendable {
    /// How client device and appliances reach each other.
    package enum Transport: String, Sendable, CaseIterable {
        case sharedMemory = "shared-memory"
        case tcp
    }

    /// What to run.
    package struct Plan: Sendable {
        package var transport = Transport.sharedMemory
        /// Appliances that are reached by shared memory whatever the others are.
        package var mappedAppliances: Set<String> = []
        /// How many appliances there are at first, named a1, a2 and so on.
        package var appliances = 3
        /// What each lends.
        package var memory = "1G"
        /// How long an appliance may be silent.
        package var evictAfter = "1s"
        /// Whether appliances keep their regions in files, and find them again when started again.
        package var keepsMemory = false
        /// Whether every process gets a host of its own; only by TCP.
        package var hasNetwork = false
        /// Further addresses at which the client device serves NBD.
        package var nbd: [String] = []
        /// Hosts for appliances that are added later.
        package var spareHosts = 0
        package var seed: UInt64 = .random(in: .min ... .max)

        package init() {}
    }

    /// One of the processes.
    package enum Role: Hashable, Sendable, CustomStringConvertible {
        case client
        case appliance(String)

        package var description: String {
            switch self {
            case .client: "the client device"
            case .appliance(let name): name
            }
        }
    }

    /// The client device's host in a lab; an appliance's has the appliance's name.
    package static let clientHost = "client"
    /// How long a process may take until it serves.
    private static let startLimit: Duration = .seconds(60)
    /// How long the answer of a client device that has started may take; where all is emulated, starting the
    /// program that asks takes a second by itself.
    private static let answerLimit: Duration =
        ProcessInfo.processInfo.environment["HOLDFAST_GUEST"] == nil ? .seconds(1) : .seconds(20)

    private struct Appliance {
        var process: RunningProcess
        let address: String
    }

    private struct State {
        var client: RunningProcess?
        var appliances: [String: Appliance] = [:]
        /// Client devices from which another took over.
        var formerClients: [RunningProcess] = []
    }

    package let plan: Plan
    package let directory: TemporaryDirectory
    package let lab: NetworkLab?
    private let memory: MemoryFolder?
    private let state = Monitor(State())

    package var path: String { directory.path }

    /// Starts everything and waits until the client device knows every appliance.
    ///
    /// - Parameters:
    ///   - plan: What to run.
    ///   - directory: The client device's.
    /// - Throws: `HarnessError` with what a process wrote that did not start.
    package init(_ plan: Plan, in directory: TemporaryDirectory? = nil) throws {
        self.plan = plan
        self.directory = try directory ?? TemporaryDirectory()
        memory = plan.keepsMemory ? try MemoryFolder() : nil
        let names = (1...plan.appliances + plan.spareHosts).map { "a\($0)" }
        lab =
            plan.hasNetwork
            ? try NetworkLab(hosts: [Self.clientHost] + names, seed: plan.seed) : nil
        if plan.transport == .tcp { try makeKey() }
        try startClient()
        for name in names.prefix(plan.appliances) { try addAppliance(name) }
    }

    deinit {
        stop()
    }

    /// Ends every process, the client device first, in order where that is possible.
    package func stop() {
        let state = state.withLock { state in
            defer { state = State() }
            return state
        }
        for former in state.formerClients { former.killWithChildren() }
        // (A suspended process would not notice that it is to end.)
        let processes = [state.client].compactMap { $0 } + state.appliances.values.map(\.process)
        for process in processes { process.signal(SIGCONT) }
        for process in processes { process.terminate(grace: .seconds(10)) }
        lab?.end()
    }

    // MARK: Starting

    private func makeKey() throws {
        let run = try ToolRun([HoldfastBinary.path, "key", "create", keyFile])
        guard run.succeeded else { throw HarnessError("no cluster key: \(run)") }
    }

    /// The file of the cluster key that all have where appliances are reached by TCP.
    package var keyFile: String { directory.file("key") }

    private var keyOptions: [String] {
        plan.transport == .tcp ? ["--cluster-key", keyFile] : []
    }

    private func spawn(_ arguments: [String], in host: String) throws -> RunningProcess {
        let command = [HoldfastBinary.path] + arguments + keyOptions
        return try lab?.spawn(command, in: host) ?? RunningProcess(command)
    }

    /// Starts the process in `role` again, which must have ended, and waits until it serves.
    package func start(_ role: Role) throws {
        switch role {
        case .client: try startClient()
        case .appliance(let name): try startAppliance(name)
        }
    }

    private func startClient(_ options: [String] = []) throws {
        let process = try spawn(
            ["serve", "--dir", path, "--evict-after", plan.evictAfter]
                + plan.nbd.flatMap { ["--nbd", $0] } + options,
            in: Self.clientHost)
        state.withLock { $0.client = process }
        let isServing = eventually(atMost: Self.startLimit) { () -> Bool? in
            guard process.isRunning else { return false }
            return answeringProcess == process.pid ? true : nil
        }
        guard isServing == true else {
            throw HarnessError("the client device does not serve: \(Self.log(of: process))")
        }
    }

    /// The pid of the client device that answers; nil when none does soon.
    ///
    /// (Whoever asks one that hangs waits for its answer.)
    private var answeringProcess: pid_t? {
        let run = try? cli(["status", "--json"], atMost: Self.answerLimit)
        guard let run, run.succeeded else { return nil }
        let report = try? JSONDecoder().decode(
            StatusReport.self, from: Data(run.standardOutput.utf8))
        return report?.pid
    }

    /// Lets another client device take over from the present one, which may be suspended.
    ///
    /// - Returns: The former one; it ends with the cluster if not before.
    package func takeOver() throws -> RunningProcess? {
        let former = state.withLock { state in
            defer { state.formerClients += [state.client].compactMap { $0 } }
            return state.client
        }
        do {
            try startClient(["--take-over"])
        } catch {
            // Nothing replaced it, and suspended it would be in everybody's way.
            former?.signal(SIGKILL)
            _ = former?.waitForExit(atMost: .seconds(20))
            throw error
        }
        return former
    }

    private func startAppliance(_ name: String) throws {
        let known = state.withLock { $0.appliances[name]?.address }
        var arguments = ["appliance", "run", "--name", name, "--memory", plan.memory]
        arguments += ["--listen", known ?? firstAddress(of: name)]
        if let memory { arguments += ["--memory-dir", try memory.folder(name)] }
        let process = try spawn(arguments, in: name)
        let address = try known ?? listeningAddress(of: process, name)
        state.withLock { $0.appliances[name] = Appliance(process: process, address: address) }
    }

    private func transport(of name: String) -> Transport {
        plan.mappedAppliances.contains(name) ? .sharedMemory : plan.transport
    }

    private func firstAddress(of name: String) -> String {
        switch transport(of: name) {
        case .sharedMemory: "unix:\(directory.file("\(name).sock"))"
        case .tcp: "tcp:\(lab?.address(of: name) ?? "127.0.0.1"):0"
        }
    }

    /// Where a process that was to choose a port itself says that it listens.
    private func listeningAddress(of process: RunningProcess, _ name: String) throws -> String {
        guard transport(of: name) == .tcp else { return firstAddress(of: name) }
        let line = process.standardOutput.waitForLine(atMost: Self.startLimit) {
            $0.hasPrefix("tcp:")
        }
        guard let line else {
            throw HarnessError("\(name) tells no address: \(Self.log(of: process))")
        }
        return line
    }

    // MARK: Appliances

    /// The appliances that were added and not removed, in order of their names.
    package var applianceNames: [String] {
        state.withLock { $0.appliances.keys.sorted() }
    }

    /// Starts a further appliance and makes the client device use it.
    package func addAppliance(_ name: String) throws {
        try startAppliance(name)
        let address = state.withLock { $0.appliances[name]?.address } ?? ""
        var last: ToolRun?
        // Its socket is there a moment after its process.
        let isAdded = try eventually(atMost: Self.startLimit, every: .milliseconds(50)) {
            let run = try cli("appliance", "add", name, address)
            last = run
            return run.succeeded ? true : nil
        }
        guard isAdded != nil else {
            throw HarnessError("\(name) cannot be added: \(String(describing: last))\(log)")
        }
    }

    /// Asks the client device to forget an appliance, and ends it when that was done.
    package func removeAppliance(_ name: String) throws -> ToolRun {
        let run = try cli("appliance", "remove", name)
        if run.succeeded {
            let removed = state.withLock { $0.appliances.removeValue(forKey: name) }
            removed?.process.terminate()
        }
        return run
    }

    /// Where the appliance `name` listens.
    package func address(of name: String) throws(HarnessError) -> String {
        guard let address = state.withLock({ $0.appliances[name]?.address }) else {
            throw HarnessError("there is no \(name)")
        }
        return address
    }

    // MARK: Faults

    private func process(_ role: Role) throws(HarnessError) -> RunningProcess {
        let process = state.withLock { state in
            switch role {
            case .client: state.client
            case .appliance(let name): state.appliances[name]?.process
            }
        }
        guard let process else { throw HarnessError("there is no \(role)") }
        return process
    }

    /// The pid of the process in `role`, whether or not it still runs.
    package func pid(of role: Role) throws(HarnessError) -> pid_t {
        try process(role).pid
    }

    package func isRunning(_ role: Role) -> Bool {
        (try? process(role))?.isRunning == true
    }

    /// How the process in `role` ended; nil while it runs.
    package func end(of role: Role) -> ProcessEnd? {
        (try? process(role))?.waitForExit(atMost: .zero)
    }

    /// Lets the appliance `name`, which does not run, find nothing of its memory when started again.
    package func forgetMemory(of name: String) {
        memory?.clear(name)
    }

    /// Sends signal `number`, such as SIGSTOP or SIGCONT, to the process in `role`.
    package func signal(_ number: Int32, to role: Role) throws(HarnessError) {
        try process(role).signal(number)
    }

    /// Kills the process in `role`, and waits for its end.
    package func kill(_ role: Role) throws(HarnessError) {
        let process = try process(role)
        process.signal(SIGKILL)
        guard process.waitForExit(atMost: .seconds(20)) != nil else {
            throw HarnessError("\(role) does not die")
        }
    }

    /// All that the process in `role` wrote to its log.
    package func log(of role: Role) throws(HarnessError) -> String {
        try process(role).standardError.text
    }

    /// The ends of what all processes wrote, for reports.
    package var log: String {
        let processes = state.withLock { state in
            [("client device", state.client)]
                + state.appliances.sorted { $0.key < $1.key }.map { ($0.key, $0.value.process) }
        }
        return processes.map { name, process in
            "\n--- \(name): \(process.map { Self.log(of: $0) } ?? "none")"
        }.joined()
    }

    private static func log(of process: RunningProcess) -> String {
        let lines = process.standardError.lines.suffix(20).joined(separator: "\n")
        return process.isRunning ? lines : lines + "\n(it has ended)"
    }
}

/// A directory in memory for regions that outlive their appliance's process.
private final class MemoryFolder: Sendable {
    let path: String

    init() throws {
        path = "/dev/shm/holdfast-test-\(String(UInt64.random(in: .min ... .max), radix: 36))"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
    }

    deinit {
        try? FileManager.default.removeItem(atPath: path)
    }

    /// The directory of the appliance `name`.
    func folder(_ name: String) throws -> String {
        try FileManager.default.createDirectory(
            atPath: "\(path)/\(name)", withIntermediateDirectories: true)
        return "\(path)/\(name)"
    }

    func clear(_ name: String) {
        try? FileManager.default.removeItem(atPath: "\(path)/\(name)")
    }
}
