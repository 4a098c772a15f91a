// A client device that serves swap, and one that may not.

import Foundation
import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(2)))
    struct Swap {
        /// A field of /proc/PID/status.
        private func field(_ name: String, of pid: pid_t) -> String? {
            let text = try? String(contentsOfFile: "/proc/\(pid)/status", encoding: .utf8)
            return text?.split(separator: "\n").first { $0.hasPrefix(name + ":") }.map {
                $0.dropFirst(name.count + 1).trimmingCharacters(in: .whitespaces)
            }
        }

        private static let mayBeReady: Bool = {
            let run = try? ToolRun(["setpriv", "--dump"])
            return geteuid() == 0
                && run?.standardOutput.contains("sys_resource") == true
                && run?.standardOutput.contains("ipc_lock") == true
        }()

        @Test(
            .needs(.root), .enabled(if: mayBeReady, "this needs CAP_SYS_RESOURCE and CAP_IPC_LOCK"))
        func itStaysInMemoryAndIsSpared() throws {
            let directory = try TemporaryDirectory()
            let process = try RunningProcess([
                HoldfastBinary.path, "serve", "--dir", directory.path, "--swap",
            ])
            let isServing = try eventually(atMost: .seconds(20)) {
                try ToolRun([HoldfastBinary.path, "status", "--dir", directory.path]).succeeded
                    ? true : nil
            }
            try #require(isServing == true, "\(process.standardError.text)")
            #expect(field("VmLck", of: process.pid).map { !$0.hasPrefix("0 ") } == true)
            let score = try String(
                contentsOfFile: "/proc/\(process.pid)/oom_score_adj", encoding: .utf8)
            #expect(score == "-1000\n")
            #expect(process.terminate() == .exited(0))
        }

        @Test(
            .needs(.root, .tool("setpriv")),
            arguments: ["-sys_resource", "-sys_resource,-ipc_lock"])
        func whereItIsForbiddenThatIsSaidAtOnce(capabilities: String) throws {
            let directory = try TemporaryDirectory()
            let run = try ToolRun([
                "setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities,
                HoldfastBinary.path, "serve", "--dir", directory.path, "--swap",
            ])
            #expect(run.status == 1, "\(run)")
            #expect(run.standardError.contains("--swap"), "\(run)")
            #expect(run.standardError.contains("CAP_SYS_RESOURCE"), "\(run)")
            #expect(run.standardError.split(separator: "\n").count == 1, "\(run)")
        }
    }
}
