// Serving swap: memory is freed by writing to a volume, so serving it must not need memory to be freed first.
//
//     what is in use stays in memory             mlockall
//     its own allocations wait for no writing    PR_SET_IO_FLUSHER
//     it is the last process to be killed        oom_score_adj
//
// Each may be forbidden to this process; then it would work until the day that memory is short, and hang then.
// So whoever asks for it is told at once.

import CLinux
import Glibc

/// What kept the process from being made ready for swap.
enum SwapReadinessError: Error, CustomStringConvertible {
    case memoryLimited
    case cannotLock(errno: Int32)
    case cannotFlush(errno: Int32)
    case cannotSpare(errno: Int32)

    var description: String {
        switch self {
        case .memoryLimited:
            "--swap keeps this process in memory, which its limit forbids: run it as root, or with "
                + "LimitMEMLOCK=infinity (ulimit -l unlimited)"
        case .cannotLock(let code):
            "--swap cannot keep this process in memory (\(Self.text(code))): give it CAP_IPC_LOCK, or "
                + "LimitMEMLOCK=infinity"
        case .cannotFlush(let code):
            "--swap cannot exempt this process from waiting for memory (\(Self.text(code))): give it "
                + "CAP_SYS_RESOURCE"
        case .cannotSpare(let code):
            "--swap cannot keep this process from being killed when memory is short "
                + "(\(Self.text(code))): give it CAP_SYS_RESOURCE, or OOMScoreAdjust=-1000"
        }
    }

    private static func text(_ code: Int32) -> String { unsafe String(cString: strerror(code)) }
}

/// Makes this process one that may serve swap.
enum SwapReadiness {
    /// Never to be killed.
    private static let score = "-1000"

    /// To be called before threads are started, which inherit it.
    static func establish() throws(SwapReadinessError) {
        guard clinux_become_io_flusher() == 0 else { throw .cannotFlush(errno: errno) }
        try spare()
        try lock()
    }

    private static func lock() throws(SwapReadinessError) {
        // (A limit that is not reached now would be later, where no memory could be had then.)
        var limit = rlimit(rlim_cur: rlim_t.max, rlim_max: rlim_t.max)
        let kind = __rlimit_resource_t(__RLIMIT_MEMLOCK.rawValue)
        if unsafe setrlimit(kind, &limit) != 0 {
            guard unsafe getrlimit(kind, &limit) == 0, limit.rlim_cur == rlim_t.max else {
                throw .memoryLimited
            }
        }
        guard clinux_lock_memory() == 0 else { throw .cannotLock(errno: errno) }
    }

    private static func spare() throws(SwapReadinessError) {
        let file = unsafe clinux_open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC, 0)
        guard file >= 0 else { throw .cannotSpare(errno: errno) }
        defer { close(file) }
        if unsafe write(file, score, score.utf8.count) == score.utf8.count { return }
        let code = errno
        // (The service manager may have set it already.)
        var present = [UInt8](repeating: 0, count: 8)
        let count = unsafe pread(file, &present, present.count, 0)
        let text = String(decoding: present.prefix(max(0, count)), as: UTF8.self)
        guard text.hasPrefix(score) else { throw .cannotSpare(errno: code) }
    }
}
