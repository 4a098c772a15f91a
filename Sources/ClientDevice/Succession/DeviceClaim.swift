// Which process is the client device of a directory: one at a time.
//
//     DIR/client-device.pid     held (flock) by the client device for as long as it lives; says who it is:
//                               its process, when that started, its owner identifier
//
// The kernel drops the lock with the process, so one that died leaves nothing to clean up. One that hangs
// keeps its lock: its successor puts a file of its own, locked already, in the place of the old one. Whose
// claim stands is who holds the file that is there. That is how whoever wakes up too late notices quickly;
// what keeps it from doing harm meanwhile is the registry (Registry's Claim.swift) and the fence.

import CLinux
import Glibc
import Reactor
package import RemoteMemory

/// A client device, as its directory names it.
package struct DeviceRecord: Hashable, Sendable, CustomStringConvertible {
    package var process: Int32
    /// When the process started, in the kernel's ticks since it booted: a number is reused, this with it not.
    package var startedAt: UInt64
    package var owner: OwnerID

    package init(process: Int32, startedAt: UInt64, owner: OwnerID) {
        self.process = process
        self.startedAt = startedAt
        self.owner = owner
    }

    /// The record in the lines of `text`; nil when it is none, or not yet written as a whole.
    package init?(_ text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        // (The last line has an end too.)
        guard lines.count == 4, lines[3].isEmpty, let process = Int32(lines[0]), process > 0,
            let startedAt = UInt64(lines[1]), let owner = Identifier(lines[2])
        else { return nil }
        self.init(process: process, startedAt: startedAt, owner: OwnerID(owner))
    }

    package var description: String { "\(process)\n\(startedAt)\n\(owner)\n" }
}

/// Why a process cannot be the client device of a directory.
package enum ClaimError: Error, Hashable, CustomStringConvertible {
    /// Another one is; nil when it cannot be told which.
    case held(directory: String, by: Int32?)
    /// It is to be succeeded, but does not hang.
    case answers(directory: String, process: Int32)
    /// It may not be killed, or is not to be seen from here.
    case cannotKill(process: Int32, errno: Int32)
    /// It was killed, and is still there.
    case doesNotEnd(process: Int32)
    case system(path: String, errno: Int32)

    package var description: String {
        switch self {
        case .held(let directory, .some(let process)):
            """
            the client device of \(directory) is process \(process): use that one, stop it, or, if it \
            hangs, start this one with --take-over
            """
        case .held(let directory, nil):
            """
            another process is the client device of \(directory), and does not say which: see \
            'fuser \(directory)/\(DeviceClaim.fileName)' and stop that one
            """
        case .answers(let directory, let process):
            """
            the client device of \(directory), process \(process), answers: it does not hang; stop it \
            with 'kill \(process)' and start this one without --take-over
            """
        case .cannotKill(let process, let code):
            unsafe """
            the client device that hangs, process \(process), cannot be killed \
            (\(String(cString: strerror(code)))): end it as its user or as root, on its host
            """
        case .doesNotEnd(let process):
            """
            process \(process) was killed and is still there: it waits inside the kernel; see its log, \
            and try again when it is gone
            """
        case .system(let path, let code):
            unsafe """
            \(path) cannot be used: \(String(cString: strerror(code))); \
            choose another --dir, or mend this one
            """
        }
    }
}

/// The right to be the client device of a directory, for as long as this object lives.
package final class DeviceClaim: Sendable {
    package static let fileName = "client-device.pid"
    /// How long a process that is on its way out may hold its claim, in tries of 20 ms.
    private static let tries = 50

    package let owner: OwnerID
    private let path: String
    private let lock: Int32
    private let file: FileIdentity?

    private init(owner: OwnerID, path: String, lock: Int32) {
        self.owner = owner
        self.path = path
        self.lock = lock
        file = FileIdentity(at: path)
    }

    deinit {
        // (A child that was just forked and has yet to execute its program holds the lock too.)
        flock(lock, LOCK_UN)
        close(lock)
    }

    /// Whether nobody has taken over since.
    package var stands: Bool { FileIdentity(at: path) == file }

    /// Becomes the client device of `directory`.
    ///
    /// - Throws: `held` when another process is, and stays it for a second.
    package static func take(_ directory: String) throws(ClaimError) -> DeviceClaim {
        let path = "\(directory)/\(fileName)"
        for attempt in 0..<tries {
            if attempt > 0 { usleep(20_000) }
            let lock = unsafe clinux_open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
            guard lock >= 0 else { throw .system(path: path, errno: errno) }
            guard flock(lock, LOCK_EX | LOCK_NB) == 0, isAt(path, lock) else {
                // (One that was replaced meanwhile is nobody's.)
                close(lock)
                continue
            }
            return try write(OwnerID(.random()), to: lock, path)
        }
        throw .held(directory: directory, by: record(in: directory)?.process)
    }

    /// Becomes the client device of `directory` in the place of one that hangs, from here on.
    package static func replace(_ directory: String) throws(ClaimError) -> DeviceClaim {
        let path = "\(directory)/\(fileName)"
        let newborn = "\(path).\(getpid())"
        unsafe unlink(newborn)
        let flags = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW
        let lock = unsafe clinux_open(newborn, flags, 0o600)
        guard lock >= 0 else { throw .system(path: newborn, errno: errno) }
        flock(lock, LOCK_EX | LOCK_NB)
        let owner = OwnerID(.random())
        do throws(ClaimError) {
            try write(record(of: owner), to: lock, newborn)
        } catch {
            close(lock)
            throw error
        }
        guard unsafe rename(newborn, path) == 0 else {
            let code = errno
            unsafe unlink(newborn)
            close(lock)
            throw .system(path: path, errno: code)
        }
        return DeviceClaim(owner: owner, path: path, lock: lock)
    }

    /// Who is, or was last, the client device of `directory`; nil when nobody says so.
    package static func record(in directory: String) -> DeviceRecord? {
        let path = "\(directory)/\(fileName)"
        let descriptor = unsafe clinux_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = unsafe pread(descriptor, &bytes, bytes.count, 0)
        return DeviceRecord(String(decoding: bytes.prefix(max(0, count)), as: UTF8.self))
    }

    /// The process that is the client device of `directory` now; nil when none is.
    package static func holder(of directory: String) -> Int32? {
        let path = "\(directory)/\(fileName)"
        let descriptor = unsafe clinux_open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        // (Whoever becomes the client device at this very moment tries again.)
        guard flock(descriptor, LOCK_SH | LOCK_NB) != 0 else {
            flock(descriptor, LOCK_UN)
            return nil
        }
        return record(in: directory)?.process
    }

    private static func record(of owner: OwnerID) -> DeviceRecord {
        DeviceRecord(
            process: getpid(), startedAt: Predecessor.startTime(of: getpid()) ?? 0, owner: owner)
    }

    private static func write(
        _ owner: OwnerID, to lock: Int32, _ path: String
    ) throws(ClaimError) -> DeviceClaim {
        let claim = DeviceClaim(owner: owner, path: path, lock: lock)
        try write(record(of: owner), to: lock, path)
        return claim
    }

    private static func write(
        _ record: DeviceRecord, to descriptor: Int32, _ path: String
    ) throws(ClaimError) {
        let text = Array(record.description.utf8)
        guard ftruncate(descriptor, 0) == 0,
            unsafe pwrite(descriptor, text, text.count, 0) == text.count
        else { throw .system(path: path, errno: errno) }
    }

    private static func isAt(_ path: String, _ descriptor: Int32) -> Bool {
        FileIdentity(descriptor) == FileIdentity(at: path)
    }
}
