// Where the control interface is reached, and who may be reached there.
//
//     DIR/control.lock    flock held for as long as a server lives; the kernel drops it with the process
//     DIR/control.new/    mode 0700, only while starting: the socket is born inside
//     DIR/control.sock    the socket, mode 0600, moved here once it listens
//
// Whoever holds the lock is the only one who may replace control.sock, so two servers that start at
// once cannot each remove the other's socket, and one that was killed leaves nothing to clean up.
// The socket is moved into place when it is private and listening: nobody can connect to it before,
// and nobody ever finds a path there that refuses for another reason than that its server is gone.
//
// A server whose process hangs keeps its lock and listens on. Its successor puts a new lock file in the
// place of the old one: whose claim is good is who holds the file that is there, and a server that wakes
// up without it leaves the socket alone.

internal import Control
import Glibc

/// The control interface's place in a client device's directory.
public struct ControlSocket: Hashable, Sendable {
    /// What a path to a Unix socket may be long: `sun_path` holds it and a zero byte.
    static let maximumPathBytes = 107

    /// The client device's directory, as the user wrote it.
    public let directory: String

    public init(directory: String) {
        self.directory = directory
    }

    /// The socket's path.
    public var path: String { directory + "/control.sock" }

    var lockPath: String { directory + "/control.lock" }
    var nurseryPath: String { directory + "/control.new" }
    /// Where the socket is before it is moved to `path`; the longest of all paths here.
    var newbornPath: String { nurseryPath + "/s" }

    /// Throws `invalid` when the directory's path is too long for a socket in it.
    func checkLength() throws(ControlError) {
        let count = newbornPath.utf8.count
        guard count <= Self.maximumPathBytes else {
            throw ControlError(
                .invalid,
                "The path of the directory is \(count - Self.maximumPathBytes) bytes too long for a "
                    + "Unix socket in it: choose a shorter one with --dir.")
        }
    }

    /// Moves the newborn socket to its place, replacing what a killed or hung server left there.
    ///
    /// Throws `conflict` when the claim on `file` was lost on the way.
    func publish(holding file: LockFile) throws(ControlError) {
        guard isHeld(by: file) else {
            throw ControlError(
                .conflict,
                "Another client device has taken over \(directory): use that one, or choose another "
                    + "--dir.")
        }
        guard unsafe chmod(newbornPath, 0o600) == 0, unsafe rename(newbornPath, path) == 0 else {
            throw failure("put the control socket in place")
        }
        unsafe rmdir(nurseryPath)
    }

    /// Removes the socket, unless a successor has put its own there.
    func withdraw(holding file: LockFile) {
        if isHeld(by: file) { unsafe unlink(path) }
    }

    /// Whether nobody has replaced the lock on this file.
    func isHeld(by file: LockFile) -> Bool { LockFile(at: lockPath) == file }

    /// Puts a new lock file, which is held by whoever made it, in the place of a hung server's.
    func replaceLock() throws(ControlError) -> CInt {
        let newborn = lockPath + ".new"
        unsafe unlink(newborn)
        let flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW
        let descriptor = unsafe open(newborn, flags, 0o600)
        guard descriptor >= 0 else { throw failure("make the control interface's lock") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, unsafe rename(newborn, lockPath) == 0
        else {
            close(descriptor)
            throw failure("replace the control interface's lock")
        }
        return descriptor
    }

    /// The present `errno`, as a sentence about an `attempt` in this directory.
    func failure(_ attempt: String) -> ControlError {
        ControlError(
            .failed,
            "Could not \(attempt) in \(directory) (\(Self.errorText(errno))): check that the "
                + "directory exists and is yours.")
    }

    static func errorText(_ code: CInt) -> String {
        unsafe strerror(code).map { unsafe String(cString: $0) } ?? "error \(code)"
    }
}

/// Which file a lock is on, whatever is at its path by now.
struct LockFile: Hashable, Sendable {
    private let device: UInt64
    private let number: UInt64

    private init(_ status: stat) {
        device = UInt64(status.st_dev)
        number = UInt64(status.st_ino)
    }

    init(_ descriptor: CInt) {
        var status = stat()
        unsafe fstat(descriptor, &status)
        self.init(status)
    }

    init(at path: String) {
        var status = stat()
        unsafe lstat(path, &status)
        self.init(status)
    }
}

/// The right to replace a directory's control socket, for as long as this value lives.
struct ControlSocketClaim: ~Copyable {
    private let lock: CInt
    /// For `ControlSocket.isHeld`: whether nobody has replaced the lock since.
    let file: LockFile

    /// Takes the claim and prepares the place where the socket is to be born.
    ///
    /// Throws `conflict` when a server is running there, or when something else is in the way; with
    /// `succeeding`, the server that runs there hangs and is to be replaced.
    static func take(
        _ socket: ControlSocket, succeeding: Bool = false
    ) throws(ControlError) -> ControlSocketClaim {
        try socket.checkLength()
        let lock = succeeding ? try socket.replaceLock() : try takeLock(socket)
        let claim = ControlSocketClaim(lock: lock, file: LockFile(lock))
        // (A lock that was replaced while it was taken was replaced by a server's.)
        guard socket.isHeld(by: claim.file) else { throw inUse(socket) }
        if !succeeding { try checkReplaceable(socket) }
        unsafe unlink(socket.newbornPath)
        unsafe rmdir(socket.nurseryPath)
        guard unsafe mkdir(socket.nurseryPath, 0o700) == 0 else {
            throw socket.failure("make a place for the control socket")
        }
        return claim
    }

    private init(lock: CInt, file: LockFile) {
        self.lock = lock
        self.file = file
    }

    deinit {
        // Closing alone would not do: a child that was just forked and has yet to execute its program
        // holds the lock too.
        flock(lock, LOCK_UN)
        close(lock)
    }

    private static func takeLock(_ socket: ControlSocket) throws(ControlError) -> CInt {
        let flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW
        let descriptor = unsafe open(socket.lockPath, flags, 0o600)
        guard descriptor >= 0 else { throw socket.failure("open the control interface's lock") }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let error =
                errno == EWOULDBLOCK ? inUse(socket) : socket.failure("take the control lock")
            close(descriptor)
            throw error
        }
        return descriptor
    }

    private static func inUse(_ socket: ControlSocket) -> ControlError {
        ControlError(
            .conflict,
            "A client device is already running for \(socket.directory): use it, stop it first, or "
                + "choose another --dir.")
    }

    /// Throws unless nothing answers at the socket's path, or nothing is there.
    ///
    /// The lock alone would do among Holdfast's own; but what else may listen there is not ours to
    /// remove, and neither is a file.
    private static func checkReplaceable(_ socket: ControlSocket) throws(ControlError) {
        var information = stat()
        guard unsafe lstat(socket.path, &information) == 0 else {
            guard errno == ENOENT else { throw socket.failure("look for a control socket") }
            return
        }
        guard information.st_mode & S_IFMT == S_IFSOCK else {
            throw ControlError(
                .conflict, "\(socket.path) is not a socket: move it away, or choose another --dir.")
        }
        let kind = SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
        let descriptor = Glibc.socket(AF_UNIX, CInt(kind), 0)
        guard descriptor >= 0 else { throw socket.failure("try the control socket") }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        unsafe withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            unsafe bytes.copyBytes(from: socket.path.utf8)
        }
        let size = socklen_t(MemoryLayout<sockaddr_un>.size)
        let outcome = unsafe withUnsafePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { rebound in
                unsafe connect(descriptor, rebound, size)
            }
        }
        // EAGAIN: somebody listens and is too busy to accept.
        guard outcome != 0, errno != EAGAIN else { throw inUse(socket) }
        guard errno == ECONNREFUSED || errno == ENOENT else {
            throw socket.failure("try the control socket")
        }
    }
}
