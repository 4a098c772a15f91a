// `holdfast up` in a directory of its own, and the processes below it.

import Foundation
package import Glibc

/// The program under test.
package enum HoldfastBinary {
    /// `HOLDFAST_BINARY`, or the one the package built beside the tests.
    package static let path =
        ProcessInfo.processInfo.environment["HOLDFAST_BINARY"] ?? builtProgram("holdfast")
}

/// The simulator's program.
package enum SimulateBinary {
    package static let path = builtProgram("simulate")
}

/// The program that plays storms.
package enum ChaosBinary {
    package static let path = builtProgram("chaos")
}

/// A program that the package built beside the tests.
private func builtProgram(_ name: String) -> String {
    let tests = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    let folder = URL(fileURLWithPath: tests ?? "").deletingLastPathComponent().path
    return "\(folder)/\(name)"
}

/// A supervisor under way with its appliances and client device; all end with the last reference.
///
/// Appliances outlive a killed supervisor by design. So every process below carries a mark in its
/// environment, by which those left over are found and ended.
package final class HoldfastUp: StatusSource, Sendable {
    /// A process below the supervisor.
    package enum Role: Sendable {
        case client
        case appliance(String)
    }

    /// What most tests run on: small, three copies.
    package static let usualOptions = ["--size", "256M", "--layout", "mirror:3"]

    private static let markVariable = "HOLDFAST_TEST_MARK"

    package let directory: TemporaryDirectory
    package let supervisor: RunningProcess
    /// The URI `up` printed: the volume's.
    package let uri: String
    package let volume: String

    package var path: String { directory.path }
    package var socket: String { directory.file("nbd.sock") }

    /// Starts `up` with `options` and waits for the URI.
    ///
    /// - Parameters:
    ///   - options: What follows `up --dir D`.
    ///   - directory: Where; that of an earlier `up`, to find its data again.
    /// - Throws: `HarnessError` with what `up` wrote when no URI comes.
    package init(
        _ options: [String] = HoldfastUp.usualOptions, in directory: TemporaryDirectory? = nil
    ) throws {
        let directory = try directory ?? TemporaryDirectory()
        self.directory = directory
        supervisor = try Self.spawn(options, in: directory)
        let line = supervisor.standardOutput.waitForLine(atMost: .seconds(60))
        guard let line, line.hasPrefix("nbd") else {
            let output = supervisor.standardOutput.text + supervisor.standardError.text
            supervisor.signal(SIGKILL)
            Self.killMarked(directory)
            throw HarnessError("`up \(options.joined(separator: " "))` serves nothing: \(output)")
        }
        uri = line
        volume =
            options.firstIndex(of: "--volume").map { options[options.index(after: $0)] } ?? "vol0"
    }

    deinit {
        _ = stop()
    }

    /// Starts `up` without waiting for anything, for those that shall fail.
    package static func spawn(
        _ options: [String], in directory: TemporaryDirectory
    ) throws(HarnessError) -> RunningProcess {
        try RunningProcess(
            [HoldfastBinary.path, "up", "--dir", directory.path] + options,
            environment: [markVariable: directory.path], signalOnParentDeath: "TERM")
    }

    /// Sends SIGTERM and waits; then kills what is left below, so that nothing is.
    ///
    /// - Returns: How the supervisor ended.
    @discardableResult
    package func stop() -> ProcessEnd? {
        let end = supervisor.terminate(grace: .seconds(20))
        Self.killMarked(directory)
        return end
    }

    // MARK: The command line

    /// Runs `holdfast` with `arguments` on this directory.
    package func cli(_ arguments: String...) throws(HarnessError) -> ToolRun {
        try ToolRun([HoldfastBinary.path] + arguments + ["--dir", path])
    }

    /// Runs a command that must succeed.
    @discardableResult
    package func require(_ arguments: String...) throws(HarnessError) -> String {
        let run = try ToolRun([HoldfastBinary.path] + arguments + ["--dir", path])
        guard run.succeeded else { throw HarnessError("\(run)\(log)") }
        return run.standardOutput
    }

    /// What the supervisor and everything below it logged, for reports.
    package var log: String {
        "\n--- standard error of up:\n"
            + supervisor.standardError.lines.suffix(40).joined(separator: "\n")
    }

    // MARK: Status

    /// The status once a client device answers; it is asked again while one is being restarted.
    package func status(atMost limit: Duration = .seconds(30)) throws -> StatusReport {
        var last = "nobody asked"
        let report = try eventually(atMost: limit) { () throws -> StatusReport? in
            let run = try cli("status", "--json")
            last = run.description
            guard run.succeeded else { return nil }
            return try JSONDecoder().decode(StatusReport.self, from: Data(run.standardOutput.utf8))
        }
        guard let report else { throw HarnessError("no status within \(limit): \(last)\(log)") }
        return report
    }

    /// Waits until the volume `name` (usually the only one) has all its members again.
    @discardableResult
    package func waitUntilHealthy(_ name: String? = nil) throws -> StatusReport {
        try waitForStatus("healthy") { try $0.volume(name ?? volume).health == "healthy" }
    }

    /// The URI of an export here: a volume or, as `VOLUME@SNAPSHOT`, a snapshot.
    package func uri(of export: String) -> String {
        "nbd+unix:///\(export)?socket=\(socket)"
    }

    // MARK: Killing

    /// The pid of the process in `role`, from the status.
    package func pid(of role: Role) throws -> pid_t {
        let status = try status()
        switch role {
        case .client: return status.pid
        case .appliance(let name):
            guard let pid = try status.appliance(name).pid else {
                throw HarnessError("the appliance \(name) is down")
            }
            return pid
        }
    }

    /// Kills the process in `role` with SIGKILL, and gives the pid it had.
    @discardableResult
    package func kill(_ role: Role) throws -> pid_t {
        let pid = try pid(of: role)
        try kill(pid)
        return pid
    }

    /// Kills `pid` with SIGKILL, if it is one of the processes below.
    package func kill(_ pid: pid_t) throws(HarnessError) {
        guard Self.isMarked(pid, directory) else {
            throw HarnessError("\(pid) is no process of this `up`")
        }
        _ = Glibc.kill(pid, SIGKILL)
    }

    /// Stops the process in `role` with SIGSTOP, and gives its pid; SIGCONT lets it go on.
    package func suspend(_ role: Role) throws -> pid_t {
        let pid = try pid(of: role)
        guard Self.isMarked(pid, directory) else {
            throw HarnessError("\(pid) is no process of this `up`")
        }
        _ = Glibc.kill(pid, SIGSTOP)
        return pid
    }

    /// The pids of everything below, the supervisor included.
    package var pids: [pid_t] {
        Self.markedPids(directory)
    }

    /// The pids of client devices, those not yet serving included: who runs `serve`.
    package var clientProcesses: [pid_t] {
        pids.filter { pid in
            let line = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") ?? Data()
            return line.split(separator: 0).contains { $0.elementsEqual("serve".utf8) }
        }
    }

    private static func killMarked(_ directory: TemporaryDirectory) {
        // Killing may take a moment, and a supervisor in its last one may start somebody anew.
        _ = eventually(atMost: .seconds(10)) { () -> Bool? in
            let pids = markedPids(directory)
            for pid in pids { _ = Glibc.kill(pid, SIGKILL) }
            return pids.isEmpty ? true : nil
        }
    }

    private static func markedPids(_ directory: TemporaryDirectory) -> [pid_t] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { pid_t($0) }.filter { isMarked($0, directory) }
    }

    /// Whether `pid` lives and inherited this directory's mark. (A zombie has no environment.)
    private static func isMarked(_ pid: pid_t, _ directory: TemporaryDirectory) -> Bool {
        guard let environment = FileManager.default.contents(atPath: "/proc/\(pid)/environ") else {
            return false
        }
        let mark = Array("\(markVariable)=\(directory.path)".utf8)
        return environment.split(separator: 0).contains { $0.elementsEqual(mark) }
    }
}
