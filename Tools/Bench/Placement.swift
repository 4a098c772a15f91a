// Which cores the client and the servers may use.
//
// A wake-up on the same core costs a context switch, 2 µs; one on an idle core of a virtual machine
// an interrupt through the hypervisor, 15–30 µs. At depth 1 that is most of the latency, and which it
// is the scheduler decides anew for every connection: the p50 of one server jumps between 10 and
// 45 µs. `free` shows what users get, `together` the length of the software's path.
//
// util-linux's taskset does the placing: the C library's call is not visible to Swift.

import ArgumentParser
import Glibc

enum Placement: String, Encodable, Sendable, CaseIterable, ExpressibleByArgument {
    case free, together, apart

    /// The command line that runs `arguments` on the cores meant for servers.
    func placingServer(_ arguments: [String]) -> [String] {
        switch self {
        case .free: arguments
        case .together: ["taskset", "-c", Self.lastCore] + arguments
        // All cores but the client's, which is the first.
        case .apart: ["taskset", "-c", Self.coreCount > 1 ? "1-\(Self.lastCore)" : "0"] + arguments
        }
    }

    /// Confines this process, and what it starts unplaced, to the cores meant for the client.
    func placeClient(directory: String) throws(BenchError) {
        let cores: String
        switch self {
        case .free: return
        case .together: cores = Self.lastCore
        case .apart: cores = "0"
        }
        let arguments = ["taskset", "-a", "-c", "-p", cores, String(getpid())]
        let process = try ServerProcess(arguments, label: "taskset", directory: directory)
        guard try process.waitForEnd() else { throw process.failure("failed") }
    }

    private static var coreCount: Int { sysconf(Int32(_SC_NPROCESSORS_ONLN)) }
    private static var lastCore: String { String(coreCount - 1) }
}
