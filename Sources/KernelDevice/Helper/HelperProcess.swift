// Starting the helper when a device is attached and none runs.
//
// It outlives the command, its terminal and its session. Two commands that start one at the same time start
// two, of which the one that finds the lock taken ends at once.

import CLinux
import Glibc

/// Starts helpers.
public enum HelperProcess {
    /// Makes a helper run unless one does; when this returns it has looked at all devices.
    ///
    /// `arguments` are those with which this very program is a helper.
    public static func ensure(
        _ directory: RuntimeDirectory, arguments: [String]
    ) throws(KernelDeviceError) {
        guard try HelperReport.ask(directory) == nil else { return }
        try directory.make()
        try start(arguments, log: directory.logPath)
        let isThere = try Patience.wait { () throws(KernelDeviceError) in
            try HelperReport.ask(directory) != nil
        }
        guard isThere else { throw .helperFails(log: directory.logPath) }
    }

    private static func start(_ arguments: [String], log: String) throws(KernelDeviceError) {
        var actions = unsafe posix_spawn_file_actions_t()
        unsafe posix_spawn_file_actions_init(&actions)
        defer { unsafe posix_spawn_file_actions_destroy(&actions) }
        unsafe posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        unsafe posix_spawn_file_actions_addopen(
            &actions, 2, log, O_WRONLY | O_CREAT | O_APPEND, 0o600)
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
        unsafe posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF) | clinux_spawn_new_session())
        var strings = unsafe (["holdfast"] + arguments).map { unsafe strdup($0) } + [nil]
        defer { unsafe strings.forEach { unsafe free($0) } }
        var process: pid_t = 0
        let result = unsafe posix_spawn(
            &process, "/proc/self/exe", &actions, &attributes, &strings, clinux_environment())
        guard result == 0 else { throw .system(call: "starting the helper", errno: result) }
    }
}
