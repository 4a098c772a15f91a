// The few things of the operating system that several files need: output, time, threads, interruption.
//
// Results go to standard output, progress to standard error. SIGINT and SIGTERM only raise a flag; the
// main thread, which runs no seeds, looks at it.

import Glibc
import Synchronization

/// Writes a line to standard output at once; ends the program when nobody reads it any more.
func say(_ line: String) {
    if !write(line + "\n", to: STDOUT_FILENO) { exit(1) }
}

/// Writes a line to standard error.
func note(_ line: String) {
    _ = write(line + "\n", to: STDERR_FILENO)
}

/// Writes all of `text`; false when that is not possible.
func write(_ text: String, to descriptor: Int32) -> Bool {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
        let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
        if count >= 0 {
            rest = rest.dropFirst(count)
        } else if errno != EINTR {
            return false
        }
    }
    return true
}

/// Processor time that all threads of this process used, in seconds.
func ownProcessorSeconds() -> Double {
    var time = timespec()
    guard clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time) == 0 else { return 0 }
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
}

/// Time since it was made, in seconds.
struct Stopwatch {
    private let start = ContinuousClock.now
    private let processorStart = ownProcessorSeconds()

    var seconds: Double { (ContinuousClock.now - start) / .seconds(1) }
    /// Of all threads of this process.
    var processorSeconds: Double { ownProcessorSeconds() - processorStart }
}

/// An environment variable; nil when it is not set, or empty.
func environment(_ name: String) -> String? {
    guard let value = getenv(name) else { return nil }
    let text = String(cString: value)
    return text.isEmpty ? nil : text
}

/// A running thread; it has to be joined.
struct WorkerThread {
    private final class Work {
        let body: @Sendable () -> Void

        init(_ body: @escaping @Sendable () -> Void) { self.body = body }
    }

    private let thread: pthread_t

    /// Starts `body`; nil when there are no more threads to be had.
    init?(_ body: @escaping @Sendable () -> Void) {
        let work = Unmanaged.passRetained(Work(body))
        var thread = pthread_t()
        let status = pthread_create(&thread, nil, Self.entry, work.toOpaque())
        guard status == 0 else {
            work.release()
            return nil
        }
        self.thread = thread
    }

    func join() { pthread_join(thread, nil) }

    private typealias Entry = @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?

    private static let entry: Entry =
        { argument in
            if let argument {
                Unmanaged<Work>.fromOpaque(argument).takeRetainedValue().body()
            }
            return nil
        }
}

enum Interruption {
    /// What a shell reports for a program that SIGINT ended.
    static let exitStatus: Int32 = 130

    private static let requests = Atomic<Int>(0)

    /// Lets SIGINT and SIGTERM raise the flag.
    ///
    /// SIGPIPE becomes an error of `write`.
    static func install() {
        _ = requests.load(ordering: .relaxed)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            Interruption.requests.add(1, ordering: .relaxed)
        }
        for number in [SIGINT, SIGTERM] { sigaction(number, &action, nil) }
        signal(SIGPIPE, SIG_IGN)
    }

    /// How often the user asked for an end.
    static var count: Int { requests.load(ordering: .relaxed) }

    static var isRequested: Bool { count > 0 }
}
