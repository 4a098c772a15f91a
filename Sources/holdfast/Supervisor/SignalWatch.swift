// Signals as events: a handler may do next to nothing, so it only writes the signal's number into a pipe.
//
//     SIGTERM, SIGINT   end: the first in order, the second at once
//     SIGHUP            reread what can be reread; at a terminal, which it says is gone, end

import CLinux
import Glibc
import Reactor

/// Calls back for every SIGTERM, SIGINT and SIGHUP.
enum SignalWatch {
    /// Written to by the handler, which cannot be given anything else to work with.
    nonisolated(unsafe) private static var pipeEnd: Int32 = -1

    /// Starts to watch; `received` is called on a thread of its own, with 1 for the first signal that
    /// ends the process, and `hungUp` for each that asks to reread.
    ///
    /// A hang-up that is ignored already (by nohup) stays ignored. A write to a closed pipe becomes an error of that write rather than the end of the process.
    static func start(
        hungUp: @escaping @Sendable () -> Void, received: @escaping @Sendable (Int) -> Void
    ) {
        var ends: [Int32] = [0, 0]
        guard unsafe pipe2(&ends, O_CLOEXEC) == 0 else { return }
        unsafe pipeEnd = ends[1]
        signal(SIGPIPE, SIG_IGN)
        var present = sigaction()
        unsafe sigaction(SIGHUP, nil, &present)
        // (SIG_IGN is a macro that makes a pointer of 1.)
        let isIgnored = unsafe unsafeBitCast(present.__sigaction_handler, to: Int.self) == 1
        for number in isIgnored ? [SIGTERM, SIGINT] : [SIGTERM, SIGINT, SIGHUP] {
            signal(number) { number in
                var byte = UInt8(truncatingIfNeeded: number)
                unsafe write(SignalWatch.pipeEnd, &byte, 1)
            }
        }
        let reading = ends[0]
        let isAtTerminal = isatty(STDERR_FILENO) == 1
        Thread.detach(name: "signals") {
            var byte: UInt8 = 0
            var count = 0
            while true {
                let result = unsafe read(reading, &byte, 1)
                if result < 0, errno == EINTR { continue }
                guard result == 1 else { return }
                if byte == UInt8(SIGHUP), !isAtTerminal {
                    hungUp()
                    continue
                }
                count += 1
                received(count)
            }
        }
    }
}
