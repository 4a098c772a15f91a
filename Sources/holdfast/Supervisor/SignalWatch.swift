// Signals that end a process, as events: a handler may do next to nothing, so it only writes a byte.

import CLinux
import Glibc
import Reactor

/// Calls back for every SIGTERM and SIGINT.
enum SignalWatch {
    /// Written to by the handler, which cannot be given anything else to work with.
    nonisolated(unsafe) private static var pipeEnd: Int32 = -1

    /// Starts to watch; `received` is called on a thread of its own, with 1 for the first signal.
    ///
    /// A write to a closed pipe becomes an error of that write rather than the end of the process.
    static func start(_ received: @escaping @Sendable (Int) -> Void) {
        var ends: [Int32] = [0, 0]
        guard unsafe pipe2(&ends, O_CLOEXEC) == 0 else { return }
        unsafe pipeEnd = ends[1]
        signal(SIGPIPE, SIG_IGN)
        for number in [SIGTERM, SIGINT] {
            signal(number) { _ in
                var byte: UInt8 = 1
                unsafe write(SignalWatch.pipeEnd, &byte, 1)
            }
        }
        let reading = ends[0]
        Thread.detach(name: "signals") {
            var byte: UInt8 = 0
            var count = 0
            while true {
                let result = unsafe read(reading, &byte, 1)
                if result < 0, errno == EINTR { continue }
                guard result == 1 else { return }
                count += 1
                received(count)
            }
        }
    }
}
