// One child process: its output as it comes, signals, its end.
//
// A pid may be reused as soon as its process has been reaped. So reaping and signalling happen
// under one lock: a signal goes to the process that was started, or to nobody.

import Foundation
package import Glibc

/// How a process ended.
package enum ProcessEnd: Equatable, Sendable, CustomStringConvertible {
    case exited(Int32)
    case signalled(Int32)

    package var description: String {
        switch self {
        case .exited(let status): "exit status \(status)"
        case .signalled(let number): "ended by signal \(number)"
        }
    }
}

/// A program under way; killed, if nothing else ended it, when the last reference goes.
package final class RunningProcess: Sendable {
    package let arguments: [String]
    package let pid: pid_t
    package let standardOutput: LineCapture
    package let standardError: LineCapture
    private let end: Monitor<ProcessEnd?>

    /// Starts `arguments` with nothing on standard input.
    ///
    /// - Parameters:
    ///   - arguments: The program, looked up in PATH unless it has a slash, and its arguments.
    ///   - environment: Additions to the environment of the tests.
    ///   - descriptors: What it gets from descriptor 3 on.
    ///   - signalOnParentDeath: The name of the signal it gets should the tests themselves die.
    /// - Throws: `HarnessError` when no process can be made.
    package init(
        _ arguments: [String], environment: [String: String] = [:], descriptors: [Int32] = [],
        signalOnParentDeath: String = "KILL"
    ) throws(HarnessError) {
        let launched = try Spawner.shared.start(
            Launch(
                arguments: arguments, environment: environment, descriptors: descriptors,
                signalOnParentDeath: signalOnParentDeath))
        self.arguments = arguments
        pid = launched.pid
        standardOutput = LineCapture(draining: launched.output)
        standardError = LineCapture(draining: launched.error)
        end = Monitor(nil)
        Self.reap(pid, into: end)
    }

    deinit {
        killWithChildren()
    }

    /// Sends signal `number`, unless the process has ended.
    package func signal(_ number: Int32) {
        end.withLock { end in
            if end == nil { kill(pid, number) }
        }
    }

    /// Kills it and what it started that stayed in its process group, unless it has ended.
    package func killWithChildren() {
        end.withLock { end in
            if end == nil { kill(-pid, SIGKILL) }
        }
    }

    /// How it ended; nil when it still ran after `limit`.
    package func waitForExit(atMost limit: Duration) -> ProcessEnd? {
        end.wait(atMost: limit) { $0 }
    }

    package var isRunning: Bool {
        end.withLock { $0 == nil }
    }

    /// Sends SIGTERM, and SIGKILL when that did not end it within `grace`.
    @discardableResult
    package func terminate(grace: Duration = .seconds(10)) -> ProcessEnd? {
        signal(SIGTERM)
        if let end = waitForExit(atMost: grace) { return end }
        signal(SIGKILL)
        return waitForExit(atMost: .seconds(10))
    }

    /// Waits in a thread of its own for the end of `pid`, then reaps it.
    private static func reap(_ pid: pid_t, into end: Monitor<ProcessEnd?>) {
        Thread.detachNewThread {
            var information = siginfo_t()
            while waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
            end.withLock { end in
                var status: Int32 = 0
                while waitpid(pid, &status, 0) < 0, errno == EINTR {}
                let signal = status & 0x7f
                end = signal == 0 ? .exited((status >> 8) & 0xff) : .signalled(signal)
            }
        }
    }
}
