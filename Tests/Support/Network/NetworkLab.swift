// Hosts on one machine: each a network namespace with one interface, and a network between them that
// can be made as bad as wished.
//
//     lab ─┬─ keeper of "a" (sleep, in a namespace of its own) ── eth0 10.77.0.1 ─┐
//          ├─ keeper of "b"                                    ── eth0 10.77.0.2 ─┼─ PacketSwitch
//          └─ keeper of "c"                                    ── eth0 10.77.0.3 ─┘
//
// Nothing here has a name in the system: a namespace lives as long as processes in it, which die with the
// tests, and an interface as long as the lab's descriptor. So a killed run leaves nothing to be swept, and
// labs side by side may use the same addresses. The filesystem is everybody's: a program in a host is
// reached from here by its Unix sockets, and from other hosts by its address.

import Foundation
import Glibc

/// Some hosts and the network between them; all end with `end()`, or with the last reference.
package final class NetworkLab: Sendable {
    /// Whose packets of a host are meant.
    package enum Direction: String, Sendable, CaseIterable {
        case outgoing, incoming, both
    }

    /// More would not fit into the addresses.
    package static let hostLimit = 250

    package let hosts: [String]
    private let keepers: [RunningProcess]
    private let network: Monitor<PacketSwitch?>
    private let programs = Monitor<[RunningProcess]>([])

    /// Makes a host for each of `hosts`, all of them with sound paths to each other.
    ///
    /// - Parameters:
    ///   - hosts: Their names: distinct, at most `hostLimit`.
    ///   - seed: For what the network does by chance.
    /// - Throws: `HarnessError` with what the system refused.
    package init(hosts: [String], seed: UInt64 = .random(in: .min ... .max)) throws(HarnessError) {
        precondition(hosts.count <= Self.hostLimit && Set(hosts).count == hosts.count)
        self.hosts = hosts
        var tunnels: [Tunnel] = []
        var keepers: [RunningProcess] = []
        for number in hosts.indices {
            let tunnel = try Tunnel()
            let keeper = try Self.startKeeper()
            try Self.connect(tunnel, toHost: number, of: keeper)
            tunnels.append(tunnel)
            keepers.append(keeper)
        }
        self.keepers = keepers
        network = Monitor(try PacketSwitch(tunnels, seed: seed))
    }

    deinit {
        end()
    }

    /// Ends every program in the hosts, the hosts, and the network.
    package func end() {
        let programs = programs.withLock { programs in
            defer { programs = [] }
            return programs
        }
        for process in programs + keepers { process.killWithChildren() }
        for process in programs + keepers { _ = process.waitForExit(atMost: .seconds(10)) }
        network.withLock { $0 = nil }
    }

    // MARK: Programs

    /// The IPv4 address of `host`.
    package func address(of host: String) -> String {
        "10.77.0.\(number(of: host) + 1)"
    }

    /// Starts a program in `host`; it ends with the lab at the latest.
    package func spawn(
        _ arguments: [String], in host: String, environment: [String: String] = [:]
    ) throws(HarnessError) -> RunningProcess {
        let process = try RunningProcess(
            command(arguments, in: host), environment: environment)
        programs.withLock { programs in
            programs.removeAll { !$0.isRunning }
            programs.append(process)
        }
        return process
    }

    /// Runs a program in `host` to its end.
    package func run(
        _ arguments: [String], in host: String, atMost limit: Duration = .seconds(60)
    ) throws(HarnessError) -> ToolRun {
        try ToolRun(command(arguments, in: host), atMost: limit)
    }

    private func command(_ arguments: [String], in host: String) -> [String] {
        Self.entering(keepers[number(of: host)]) + arguments
    }

    // MARK: The network

    /// Sets the condition of the path from one host to another; that back stays as it is.
    package func setCondition(_ condition: PathCondition, from: String, to: String) {
        let (from, to) = (number(of: from), number(of: to))
        network.withLock { $0?.setCondition(condition, from: from, to: to) }
    }

    /// Sets the condition of all paths from `host`, to it, or both.
    package func setCondition(_ condition: PathCondition, of host: String, _ direction: Direction) {
        for other in hosts where other != host {
            if direction != .incoming { setCondition(condition, from: host, to: other) }
            if direction != .outgoing { setCondition(condition, from: other, to: host) }
        }
    }

    /// Makes every path sound, and every link up.
    package func heal() throws(HarnessError) {
        for host in hosts {
            setCondition(PathCondition(), of: host, .outgoing)
            try setLink(of: host, isUp: true)
        }
    }

    /// Takes the interface of `host` down or up: programs there notice, unlike when a path is cut.
    package func setLink(of host: String, isUp: Bool) throws(HarnessError) {
        let run = try run(["ip", "link", "set", "eth0", isUp ? "up" : "down"], in: host)
        guard run.succeeded else { throw HarnessError(run.description) }
    }

    /// What became of the packets from one host to another so far.
    package func counts(from: String, to: String) -> PathCounts {
        let (from, to) = (number(of: from), number(of: to))
        return network.withLock { $0?.counts(from: from, to: to) ?? PathCounts() }
    }

    private func number(of host: String) -> Int {
        guard let number = hosts.firstIndex(of: host) else {
            preconditionFailure("the lab has no host \(host)")
        }
        return number
    }

    // MARK: Making a host

    /// A process that does nothing but keep a namespace.
    private static func startKeeper() throws(HarnessError) -> RunningProcess {
        let keeper = try RunningProcess(["unshare", "--net", "--", "sleep", "infinity"])
        let own = namespace(of: "self")
        let isApart = eventually(atMost: .seconds(20)) { () -> Bool? in
            guard keeper.isRunning else { return false }
            let theirs = namespace(of: "\(keeper.pid)")
            return theirs != nil && theirs != own ? true : nil
        }
        guard isApart == true else {
            throw HarnessError("no network namespace: \(keeper.standardError.text)")
        }
        return keeper
    }

    private static func namespace(of process: String) -> String? {
        try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/\(process)/ns/net")
    }

    /// Gives the far end of `tunnel` to the namespace of `keeper`.
    private static func connect(
        _ tunnel: Tunnel, toHost number: Int, of keeper: RunningProcess
    ) throws(HarnessError) {
        let commands = [
            ["ip", "link", "set", tunnel.name, "netns", "\(keeper.pid)", "name", "eth0"],
            entering(keeper) + ["ip", "address", "add", "10.77.0.\(number + 1)/24", "dev", "eth0"],
            entering(keeper) + ["ip", "link", "set", "eth0", "up", "txqueuelen", "2000"],
            entering(keeper) + ["ip", "link", "set", "lo", "up"],
        ]
        for command in commands {
            let run = try ToolRun(command)
            guard run.succeeded else { throw HarnessError(run.description) }
        }
    }

    /// What in front of a command makes it run in the namespace of `keeper`.
    private static func entering(_ keeper: RunningProcess) -> [String] {
        ["nsenter", "--net=/proc/\(keeper.pid)/ns/net", "--"]
    }
}
