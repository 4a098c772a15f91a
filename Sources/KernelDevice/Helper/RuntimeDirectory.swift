// Where the helper is found while it runs, for root alone.
//
//     /run/holdfast/attach.lock   flock held for as long as a helper lives
//     /run/holdfast/attach.sock   whoever connects is told what is attached
//     /run/holdfast/attach.log    of a helper that 'holdfast attach' started
//
// It holds nothing that a restart needs, and is empty after a reboot, as the devices are gone then.

import CLinux
import Glibc

/// The helper's directory.
public struct RuntimeDirectory: Sendable {
    public let path: String

    /// The one of this machine.
    public init() { path = "/run/holdfast" }

    /// Another, for tests.
    package init(path: String) { self.path = path }

    public var logPath: String { path + "/attach.log" }
    package var socketPath: String { path + "/attach.sock" }
    private var lockPath: String { path + "/attach.lock" }

    /// Makes the directory unless it is there.
    public func make() throws(KernelDeviceError) {
        guard unsafe mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw .system(call: "making \(path)", errno: errno)
        }
    }

    /// Takes the lock for as long as this process lives.
    package func lock() throws(KernelDeviceError) {
        let descriptor = unsafe clinux_open(
            lockPath, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw .system(call: "opening \(lockPath)", errno: errno) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let code = errno
            close(descriptor)
            guard code == EWOULDBLOCK else { throw .system(call: "flock", errno: code) }
            throw .helperRuns(directory: path)
        }
    }

    /// Listens, in the place of a helper that is gone: who holds the lock is the only one who may.
    package func listen() throws(KernelDeviceError) -> Int32 {
        let descriptor = clinux_socket_stream(AF_UNIX)
        guard descriptor >= 0 else { throw .system(call: "socket", errno: errno) }
        unsafe unlink(socketPath)
        // (It is nobody else's from the start, not only after a moment.)
        let mask = umask(0o177)
        let result = unsafe clinux_unix_bind(descriptor, socketPath)
        umask(mask)
        guard result == 0, Glibc.listen(descriptor, 16) == 0 else {
            let code = result == -2 ? ENAMETOOLONG : errno
            close(descriptor)
            throw .system(call: "listening at \(socketPath)", errno: code)
        }
        clinux_set_nonblocking(descriptor)
        return descriptor
    }
}
