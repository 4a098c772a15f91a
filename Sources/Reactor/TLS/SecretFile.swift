// Reading a file that nobody but its owner may read: keys.

import CLinux
import Glibc

/// Why a file of secrets was not read.
public enum SecretFileProblem: Error, Hashable, Sendable {
    case unreadable(errno: Int32)
    /// It is no plain file, or has more bytes than what is looked for.
    case unlikely
    /// It belongs to neither this user nor root.
    case foreign
    /// Its group or everybody may read or write it.
    case exposed
}

/// A file of secrets.
public enum SecretFile {
    /// Its bytes, at most `limit` of them.
    public static func read(
        _ file: String, atMost limit: Int
    ) throws(SecretFileProblem) -> [UInt8] {
        // (O_NONBLOCK: a pipe would be waited for.)
        let descriptor = unsafe open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw .unreadable(errno: errno) }
        defer { close(descriptor) }
        // (The file that is open is the one that is looked at: none can be put in its place.)
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { throw .unreadable(errno: errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw .unlikely }
        guard status.st_uid == geteuid() || status.st_uid == 0 else { throw .foreign }
        guard status.st_mode & 0o077 == 0 else { throw .exposed }
        guard status.st_size <= limit else { throw .unlikely }
        // (One byte more than it has shows a file that grows.)
        var bytes = [UInt8](repeating: 0, count: Int(status.st_size) + 1)
        let count = unsafe Glibc.read(descriptor, &bytes, bytes.count)
        guard count >= 0 else { throw .unreadable(errno: errno) }
        guard count < bytes.count else { throw .unlikely }
        bytes.removeSubrange(count...)
        return bytes
    }
}
