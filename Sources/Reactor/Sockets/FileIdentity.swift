// Whether the file at a path is still the one that was made there.
//
// A process that hangs may be succeeded at the same path. When it wakes up and ends in order, it must
// not take its successor's file away: so a file is known by its number, not by its name.

import CLinux
import Glibc

/// Which file is at a path.
public struct FileIdentity: Hashable, Sendable {
    private let device: UInt64
    private let number: UInt64

    private init(_ status: stat) {
        device = UInt64(status.st_dev)
        number = UInt64(status.st_ino)
    }

    /// The file at `path` now; nil when there is none.
    public init?(at path: String) {
        var status = stat()
        guard unsafe lstat(path, &status) == 0 else { return nil }
        self.init(status)
    }

    /// The file that is open here, wherever it is by now.
    public init?(_ descriptor: Int32) {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { return nil }
        self.init(status)
    }

    /// Removes what is at `path`, unless that is another file by now.
    public func remove(from path: String) {
        guard FileIdentity(at: path) == self else { return }
        unsafe unlink(path)
    }
}

/// Who listens at the path of a Unix socket.
enum SocketOccupant {
    /// Nobody: there is no socket, or only the file of a dead process's.
    case none
    /// The process that listens; nil when it has so many waiting that it cannot be asked for.
    case process(Int32?)

    /// Looks who is there, without waiting for whoever accepts no more.
    ///
    /// - Throws: `ReactorError.pathTooLong`.
    init(of path: String) throws(ReactorError) {
        let probe = clinux_socket_stream(AF_UNIX)
        defer { close(probe) }
        clinux_set_nonblocking(probe)
        switch unsafe clinux_unix_connect(probe, path) {
        case -2: throw .pathTooLong(path)
        case 0: self = .process(clinux_peer_pid(probe))
        default: self = errno == EAGAIN ? .process(nil) : .none
        }
    }
}
