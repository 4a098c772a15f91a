// The few things of the operating system that several files need: time, error texts, interruption.
//
// SIGINT, SIGTERM and SIGHUP only raise a flag; system calls then return EINTR, loops call
// `Interruption.check()`, and the thrown error unwinds through every `defer` that ends servers and
// removes directories. SIGPIPE is ignored, or `Tools/bench | head` would leave servers behind.

import Glibc
import Synchronization

let nanosecondsPerSecond: UInt64 = 1_000_000_000

/// The time of a clock that never jumps, in nanoseconds since an arbitrary start.
@inline(__always)
func monotonicNanoseconds() -> UInt64 {
    nanoseconds(of: CLOCK_MONOTONIC) ?? 0
}

/// What the clock `clock` shows, in nanoseconds; nil when there is no such clock (any more).
@inline(__always)
func nanoseconds(of clock: clockid_t) -> UInt64? {
    var time = timespec()
    guard clock_gettime(clock, &time) == 0 else { return nil }
    return UInt64(time.tv_sec) &* nanosecondsPerSecond &+ UInt64(time.tv_nsec)
}

/// The operating system's words for an error number.
func errorText(_ number: Int32) -> String {
    strerror(number).map { String(cString: $0) } ?? "unknown error"
}

/// Writes a line to standard error.
func note(_ line: String) {
    let bytes = Array((line + "\n").utf8)
    _ = write(STDERR_FILENO, bytes, bytes.count)
}

enum Interruption {
    private static let requested = Atomic<Bool>(false)

    /// Lets the ending signals raise the flag that `check()` looks at.
    static func install() {
        _ = requested.load(ordering: .relaxed)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            Interruption.requested.store(true, ordering: .relaxed)
        }
        for number in [SIGINT, SIGTERM, SIGHUP] {
            sigaction(number, &action, nil)
        }
        signal(SIGPIPE, SIG_IGN)
    }

    static func check() throws(BenchError) {
        if requested.load(ordering: .relaxed) { throw .interrupted }
    }

    /// Sleeps, but not through an ending signal.
    static func sleep(milliseconds: UInt32) throws(BenchError) {
        usleep(milliseconds * 1000)
        try check()
    }
}
