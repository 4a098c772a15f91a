// How many system calls a request costs each process of a server: counted by the kernel's tracepoints
// through `perf stat`, which disturbs the server so little that it batches as ever. (Under strace a server
// is many times slower than its client, and gathers far more requests into one call than it usually can.)

import Glibc
import RemoteMemory

/// The calls of one process for each request.
struct SystemCallCount: Encodable, Sendable, Equatable {
    let process: String
    let perRequest: Double
    /// Those that were looked for by name, most frequent first.
    let calls: [NamedCount]

    struct NamedCount: Encodable, Sendable, Equatable {
        let name: String
        let perRequest: Double
    }
}

/// One cell's counts on one server.
struct SystemCallCell: Encodable, Sendable {
    let cell: String
    let server: String
    let processes: [SystemCallCount]
}

enum SystemCalls {
    private static let all = "raw_syscalls:sys_enter"
    /// What servers are made of.
    private static let names = [
        "recvmsg", "recvfrom", "sendmsg", "sendto", "read", "readv", "write", "writev",
        "epoll_wait", "epoll_pwait", "epoll_ctl", "poll", "ppoll", "futex", "sched_yield",
        "io_uring_enter",
    ]
    /// How long perf may take until it counts, in milliseconds.
    private static let attachMilliseconds: UInt32 = 300
    /// Calls more seldom than this are not shown, in calls per request.
    static let shownShare = 0.005

    /// Fails, saying what is missing, when calls cannot be counted here.
    static func require(directory: String) throws(BenchError) {
        try ServerProcess.require("perf")
        let probe = try ServerProcess(
            ["perf", "stat", "-e", all, "true"], label: "perf", directory: directory)
        guard try probe.waitForEnd() else { throw probe.failure("cannot count system calls") }
    }

    /// Counts the calls of each process of `tree` while `work` is done; it gives the number of requests.
    static func count(
        _ tree: ProcessTree, directory: String, during work: () throws(BenchError) -> UInt64
    ) throws(BenchError) -> [SystemCallCount] {
        var counters: [ServerProcess] = []
        defer { for counter in counters where counter.isRunning { counter.stop() } }
        for (index, member) in tree.members.enumerated() {
            let events = [all] + names.map { "syscalls:sys_enter_\($0)" }
            counters.append(
                try ServerProcess(
                    [
                        "perf", "stat", "-x", ",", "-o", file(index, directory), "-e",
                        events.joined(separator: ","), "-p", String(member.pid),
                    ], label: "perf-\(index)", directory: directory))
        }
        try Interruption.sleep(milliseconds: attachMilliseconds)
        let requests = try work()
        for counter in counters { counter.interrupt() }
        let titles = tree.titles
        return try counters.indices.map { index throws(BenchError) in
            _ = try counters[index].waitForEnd()
            let text = readText(file(index, directory)) ?? ""
            guard let count = parse(text, process: titles[index], requests: requests) else {
                throw counters[index].failure("counted nothing")
            }
            return count
        }
    }

    private static func file(_ index: Int, _ directory: String) -> String {
        "\(directory)/perf-\(index).csv"
    }

    /// Reads perf's lines `COUNT,,EVENT,…`; nil when the sum of all calls is not among them.
    static func parse(_ text: String, process: String, requests: UInt64) -> SystemCallCount? {
        var total: Double?
        var calls: [SystemCallCount.NamedCount] = []
        for line in text.split(separator: "\n") {
            let fields = line.split(separator: ",", omittingEmptySubsequences: false)
            // "Not counted" is what perf says of a process that slept throughout.
            guard fields.count > 2,
                let count = fields[0] == "<not counted>" ? 0 : Double(fields[0])
            else { continue }
            let share = count / Double(max(1, requests))
            if fields[2] == all {
                total = share
            } else if let name = fields[2].split(separator: ":sys_enter_").last, share > 0 {
                calls.append(.init(name: String(name), perRequest: share))
            }
        }
        return total.map {
            SystemCallCount(
                process: process, perRequest: $0,
                calls: calls.sorted { ($1.perRequest, $0.name) < ($0.perRequest, $1.name) })
        }
    }
}

extension Contestant {
    /// Requests of a cell whose system calls are counted, at depth 1 and above.
    private static let countedRequests: (single: UInt64, deep: UInt64) = (10_000, 200_000)
    private static let countedTinyRequests: UInt64 = 400

    /// Counts the system calls of each process under `workload`.
    func countSystemCalls(
        _ workload: Workload, tiny: Bool, directory: String
    ) throws(BenchError) -> [SystemCallCount] {
        let connection = try NBDConnection.open(address)
        let offsets = try OffsetStream(workload: workload, volumeBytes: volumeBytes, seed: 1)
        var generator = LoadGenerator(workload, at: offsets, on: connection, ledger: ledger)
        // Warmed up, so that threads that serve this connection exist.
        try generator.start()
        try generator.run(until: .requests(Self.countedTinyRequests))
        try generator.drain()
        let requests =
            tiny
            ? Self.countedTinyRequests
            : workload.depth == 1 ? Self.countedRequests.single : Self.countedRequests.deep
        return try SystemCalls.count(processes, directory: directory) { () throws(BenchError) in
            try generator.start()
            try generator.run(until: .requests(requests))
            let replies = generator.replies
            try generator.drain()
            return replies
        }
    }
}
