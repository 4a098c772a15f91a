// Output and interruption. Results go to standard output, progress to standard error.

import Glibc
import Synchronization

/// Writes a line to standard output at once.
func say(_ line: String) {
    put(line + "\n", to: STDOUT_FILENO)
}

/// Writes all of `text`, if anybody reads it.
private func put(_ text: String, to descriptor: Int32) {
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
        let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
        guard count > 0 || errno == EINTR else { return }
        rest = rest.dropFirst(max(0, count))
    }
}

/// How far the run is: a line that stays in place on a terminal, and elsewhere one every ten seconds.
struct ProgressLine {
    private static let terminalInterval = Duration.milliseconds(200)
    private static let logInterval = Duration.seconds(10)

    private let isTerminal = isatty(STDERR_FILENO) == 1
    private var lastShown = ContinuousClock.now

    mutating func show(_ line: String) {
        let now = ContinuousClock.now
        guard now - lastShown >= (isTerminal ? Self.terminalInterval : Self.logInterval) else {
            return
        }
        lastShown = now
        put(isTerminal ? "\r\u{1B}[K\(line)" : "\(line)\n", to: STDERR_FILENO)
    }

    /// Removes the line from the terminal.
    func finish() {
        if isTerminal { put("\r\u{1B}[K", to: STDERR_FILENO) }
    }
}

/// SIGINT and SIGTERM: the run ends with the next calm; a second one ends it at once.
enum Interruption {
    static let exitStatus: Int32 = 130

    private static let requests = Atomic<Int>(0)

    static func install() {
        _ = requests.load(ordering: .relaxed)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { _ in
            if Interruption.requests.add(1, ordering: .relaxed).oldValue > 0 {
                _exit(Interruption.exitStatus)
            }
        }
        for number in [SIGINT, SIGTERM] { sigaction(number, &action, nil) }
        signal(SIGPIPE, SIG_IGN)
    }

    static var isRequested: Bool { requests.load(ordering: .relaxed) > 0 }
}
