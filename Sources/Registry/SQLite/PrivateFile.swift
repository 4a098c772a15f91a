// A file only its owner can read: the registry names every region, and who knows a region's name
// and address is most of the way to its contents.
//
// SQLite would create the file with the mode the umask leaves, and gives its log the mode of the
// file; so creating the file first, empty, settles both. An empty file is an empty database.

import Glibc

enum PrivateFile {
    /// Read and write for the owner, nothing for others.
    static let mode: mode_t = 0o600

    /// Creates the file at `path` if there is none, and gives it `mode`.
    ///
    /// Throws `StorageProblem.system`; with `EISDIR` for what is no file.
    static func prepare(at path: String) throws(StorageProblem) {
        // O_EXCL: an existing file must not be opened here, because closing any descriptor of a
        // file ends all POSIX locks the process has on it, those of an open registry too.
        let descriptor = unsafe open(path, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, mode)
        if descriptor >= 0 {
            close(descriptor)
        } else if errno != EEXIST {
            throw .system(errno)
        }
        var status = stat()
        if unsafe stat(path, &status) != 0 { throw .system(errno) }
        // A mode made for files would lock everybody out of a directory.
        guard status.st_mode & S_IFMT == S_IFREG else { throw .system(EISDIR) }
        // The file may be older than this rule, or the umask stricter than it.
        if status.st_mode & 0o777 != mode, unsafe chmod(path, mode) != 0 { throw .system(errno) }
    }
}
