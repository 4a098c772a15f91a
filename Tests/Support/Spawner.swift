// Starts child processes that cannot outlive the tests.
//
// Linux can send a process a signal when its parent dies, and takes for the parent the *thread*
// that made it. So one thread, which lives as long as the tests do, makes all processes, and
// util-linux' setpriv asks for the signal before it becomes the program. A test run that crashes
// or is interrupted then takes its processes with it; an orderly one ends each by its pid.

import Foundation
import Glibc

/// What to start.
struct Launch: Sendable {
    /// The program (looked up in PATH unless it has a slash) and its arguments.
    var arguments: [String]
    /// Additions to the environment of the tests.
    var environment: [String: String]
    /// What it gets from descriptor 3 on.
    var descriptors: [Int32]
    /// The name, as `kill -l` has it, of the signal the program gets when the tests die.
    var signalOnParentDeath: String
}

/// A child process, and the descriptors to read its standard streams from, and to close.
struct Launched: Sendable {
    let pid: pid_t
    let output: Int32
    let error: Int32
}

/// The thread that is the parent of all child processes.
final class Spawner: Sendable {
    static let shared = Spawner()

    private struct Job: Sendable {
        let launch: Launch
        let reply: Monitor<Result<Launched, HarnessError>?>
    }

    private let jobs = Monitor<[Job]>([])

    private init() {
        // A server that goes away must be an error of one call, not the end of the tests.
        _ = signal(SIGPIPE, SIG_IGN)
        let jobs = jobs
        Thread.detachNewThread {
            while true {
                let next = jobs.wait(atMost: .seconds(3600)) { queue in
                    queue.isEmpty ? nil : queue.removeFirst()
                }
                guard let next else { continue }
                next.reply.withLock { $0 = Self.spawn(next.launch) }
            }
        }
    }

    /// Starts `launch` with nothing on standard input.
    func start(_ launch: Launch) throws(HarnessError) -> Launched {
        let reply = Monitor<Result<Launched, HarnessError>?>(nil)
        jobs.withLock { $0.append(Job(launch: launch, reply: reply)) }
        guard let result = reply.wait(atMost: .seconds(60), until: { $0 }) else {
            throw HarnessError("\(launch.arguments) could not be started within a minute")
        }
        return try result.get()
    }

    private static func spawn(_ launch: Launch) -> Result<Launched, HarnessError> {
        let arguments =
            ["setpriv", "--pdeathsig", launch.signalOnParentDeath, "--"] + launch.arguments
        let environment = ProcessInfo.processInfo.environment
            .merging(launch.environment) { _, added in added }
            .map { "\($0.key)=\($0.value)" }

        // Made and inherited in this thread alone, so no other child gets hold of an end.
        guard let output = Pipe(), let error = Pipe() else {
            return .failure(HarnessError("no pipe: \(String(cString: strerror(errno)))"))
        }
        defer {
            close(output.write)
            close(error.write)
        }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_adddup2(&actions, output.write, 1)
        posix_spawn_file_actions_adddup2(&actions, error.write, 2)
        // (Copies out of the way of each other's places.)
        let copies = launch.descriptors.map { fcntl($0, F_DUPFD_CLOEXEC, 1000) }
        defer { copies.forEach { close($0) } }
        for (number, copy) in copies.enumerated() {
            posix_spawn_file_actions_adddup2(&actions, copy, 3 + Int32(number))
        }

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var defaults = sigset_t()
        sigfillset(&defaults)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        var unblocked = sigset_t()
        sigemptyset(&unblocked)
        posix_spawnattr_setsigmask(&attributes, &unblocked)
        // A group of its own: ^C at the terminal reaches the tests, and through their end the rest.
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))

        var pid: pid_t = 0
        let code = withCStrings(arguments) { argv in
            withCStrings(environment) { envp in
                posix_spawnp(&pid, "setpriv", &actions, &attributes, argv, envp)
            }
        }
        guard code == 0 else {
            close(output.read)
            close(error.read)
            return .failure(
                HarnessError("cannot start \(launch.arguments): \(String(cString: strerror(code)))")
            )
        }
        return .success(Launched(pid: pid, output: output.read, error: error.read))
    }

    /// A pipe whose ends no program inherits as they are.
    private struct Pipe {
        let read: Int32
        let write: Int32

        init?() {
            var ends: [Int32] = [0, 0]
            guard pipe(&ends) == 0 else { return nil }
            for end in ends { _ = fcntl(end, F_SETFD, FD_CLOEXEC) }
            (read, write) = (ends[0], ends[1])
        }
    }

    /// Lends `strings` as a null-terminated array of C strings.
    private static func withCStrings<Result>(
        _ strings: [String], _ body: ([UnsafeMutablePointer<CChar>?]) -> Result
    ) -> Result {
        let copies = strings.map { strdup($0) }
        defer { copies.forEach { free($0) } }
        return body(copies + [nil])
    }
}
