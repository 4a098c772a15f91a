// How much processor time a server used: the sum over all its processes of the kernel's clock of
// each (clock_getcpuclockid), threads that ended included. The kernel brings the clock of a thread
// that is running right now up to date once a tick, so a reading may be some milliseconds behind:
// nothing in a cell of seconds, everything in one of `--tiny`. /proc/PID/stat counts in ticks of
// 10 ms, and /proc/PID/task/*/schedstat forgets threads that ended.

import Glibc

/// A process, told from a later one with the same number by its start time.
struct ProcessIdentity: Hashable, Sendable {
    let pid: pid_t
    let parent: pid_t
    /// In clock ticks since the machine's start.
    let startTicks: UInt64

    /// Reads /proc/PID/stat; nil when there is no such process, or only its corpse.
    init?(pid: pid_t) {
        guard let text = readText("/proc/\(pid)/stat"), let end = text.lastIndex(of: ")") else {
            return nil
        }
        // After "PID (NAME) ": state, parent, … and start time, fields 3, 4 and 22 of proc(5).
        let fields = text[end...].dropFirst(2).split(separator: " ")
        guard fields.count > 19, fields[0] != "Z", let parent = pid_t(fields[1]),
            let startTicks = UInt64(fields[19])
        else { return nil }
        self.pid = pid
        self.parent = parent
        self.startTicks = startTicks
    }

    var isAlive: Bool { ProcessIdentity(pid: pid) == self }
}

/// A process with all that descend from it.
struct ProcessTree: Sendable {
    let members: [ProcessIdentity]

    init(members: [ProcessIdentity]) { self.members = members }

    /// Those of `roots` that live now, and their living descendants.
    init(roots: [pid_t]) {
        let all = Self.everyProcess()
        var found = all.filter { roots.contains($0.pid) }
        var index = 0
        while index < found.count {
            let parent = found[index].pid
            found += all.filter { child in child.parent == parent && !found.contains(child) }
            index += 1
        }
        members = found
    }

    /// Processor time of all members until now, in nanoseconds.
    func processorNanoseconds() -> UInt64 {
        members.reduce(0) { sum, member in
            var clock = clockid_t()
            guard clock_getcpuclockid(member.pid, &clock) == 0 else { return sum }
            return sum + (nanoseconds(of: clock) ?? 0)
        }
    }

    private static func everyProcess() -> [ProcessIdentity] {
        guard let directory = opendir("/proc") else { return [] }
        defer { closedir(directory) }
        var found: [ProcessIdentity] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if let pid = pid_t(name), let process = ProcessIdentity(pid: pid) {
                found.append(process)
            }
        }
        return found
    }
}

/// Processor time of this process, in nanoseconds.
func ownProcessorNanoseconds() -> UInt64 { nanoseconds(of: CLOCK_PROCESS_CPUTIME_ID) ?? 0 }

/// The whole of a small file; nil when it cannot be read.
func readText(_ path: String) -> String? {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    while true {
        let piece = [UInt8](unsafeUninitializedCapacity: 16 << 10) { buffer, filled in
            filled = max(0, read(descriptor, buffer.baseAddress, buffer.count))
        }
        if piece.isEmpty { return String(decoding: bytes, as: UTF8.self) }
        bytes += piece
    }
}
