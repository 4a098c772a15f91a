// One process of this very binary, started here or found running, and watched by its descriptor.
//
// A pidfd names a process for good: no signal can hit another that got its number later. It also lets a
// supervisor watch processes that it did not start, which is how it finds its appliances again after it
// was killed itself.

import CLinux
import Glibc
import Reactor

/// Why a process cannot be had.
enum ProcessError: Error, CustomStringConvertible {
    case cannotStart(program: String, errno: Int32)
    case gone(process: Int32)

    var description: String {
        switch self {
        case .cannotStart(let program, let code):
            unsafe "\(program) cannot be started: \(String(cString: strerror(code)))"
        case .gone(let process): "process \(process) is gone"
        }
    }
}

/// A process that was started or adopted.
final class ChildProcess: Sendable {
    let process: Int32
    private let descriptor: Int32
    private let isOurs: Bool

    /// Starts `/proc/self/exe` with these arguments, in a process group of its own so that the
    /// terminal's ^C reaches only us, with standard output going to standard error.
    init(starting arguments: [String]) throws(ProcessError) {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_adddup2(&actions, 2, 1)
        var attributes = posix_spawnattr_t()
        unsafe posix_spawnattr_init(&attributes)
        defer { unsafe posix_spawnattr_destroy(&attributes) }
        var none = sigset_t()
        var all = sigset_t()
        unsafe sigemptyset(&none)
        unsafe sigfillset(&all)
        unsafe posix_spawnattr_setsigmask(&attributes, &none)
        unsafe posix_spawnattr_setsigdefault(&attributes, &all)
        unsafe posix_spawnattr_setpgroup(&attributes, 0)
        unsafe posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP))
        var process: pid_t = 0
        var strings = unsafe (["holdfast"] + arguments).map { unsafe strdup($0) } + [nil]
        defer { unsafe strings.forEach { unsafe free($0) } }
        let result = unsafe posix_spawn(
            &process, "/proc/self/exe", &actions, &attributes, &strings, clinux_environment())
        guard result == 0 else { throw .cannotStart(program: "holdfast", errno: result) }
        self.process = process
        descriptor = clinux_pidfd_open(process)
        isOurs = true
    }

    /// Takes charge of a process that somebody else started.
    init(adopting process: Int32) throws(ProcessError) {
        self.process = process
        descriptor = clinux_pidfd_open(process)
        isOurs = false
        guard descriptor >= 0 else { throw .gone(process: process) }
    }

    deinit { if descriptor >= 0 { close(descriptor) } }

    func send(_ signal: Int32) { clinux_pidfd_signal(descriptor, signal) }

    var isGone: Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 0) == 1
    }

    /// Waits for the end of the process; returns how it ended, in words.
    func ended() async -> String {
        await withCheckedContinuation { continuation in
            Thread.detach(name: "watch-\(process)") {
                var entry = pollfd(fd: self.descriptor, events: Int16(POLLIN), revents: 0)
                while unsafe poll(&entry, 1, -1) < 0, errno == EINTR {}
                continuation.resume(returning: self.reap())
            }
        }
    }

    private func reap() -> String {
        guard isOurs else { return "ended" }
        var status: Int32 = 0
        guard unsafe waitpid(process, &status, 0) == process else { return "ended" }
        let signal = clinux_wait_status_signal(status)
        return signal != 0
            ? "was killed by signal \(signal)"
            : "exited with status \(clinux_wait_status_code(status))"
    }
}
