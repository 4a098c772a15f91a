// Where the long-running commands log to, and what a line looks like.
//
//     terminal, file   2026-03-01T12:00:00.123Z warning client-device: volume vol0: member 1 failed
//     journal          <4>client-device: volume vol0: member 1 failed
//     --log-format json  {"time":"…","level":"warning","component":"client-device","message":"…"}
//
// The journal knows the time, and wants the priority in front (sd-daemon(3)). It is the one that reads
// when $JOURNAL_STREAM names standard error: the variable alone may be inherited by somebody whose
// output goes elsewhere.

import ArgumentParser
import Glibc
import Logging

/// `--log-format` and `--log-level`.
struct LogOptions: ParsableArguments {
    /// How lines look.
    enum Format: String, ExpressibleByArgument, CaseIterable, Sendable {
        case text, json
    }

    /// What a message matters.
    enum Level: String, ExpressibleByArgument, CaseIterable, Sendable {
        case debug, info, notice, warning, error, critical

        var level: Logger.Level {
            switch self {
            case .debug: .debug
            case .info: .info
            case .notice: .notice
            case .warning: .warning
            case .error: .error
            case .critical: .critical
            }
        }
    }

    @Option(help: "How log lines look: text for people, json with one object a line for programs.")
    var logFormat = Format.text
    @Option(help: "The least important messages that are logged.")
    var logLevel = Level.info

    /// A logger of one component to standard error, in the way that was asked for.
    func logger(_ component: String) -> Logger {
        let style: LogStyle = logFormat == .json ? .json : Self.isJournal ? .journal : .text
        var logger = Logger(label: component) { LineLogHandler(component: $0, style: style) }
        logger.logLevel = logLevel.level
        return logger
    }

    /// The same, for a child process.
    var arguments: [String] {
        ["--log-format", logFormat.rawValue, "--log-level", logLevel.rawValue]
    }

    /// Whether standard error goes to the journal.
    private static var isJournal: Bool {
        guard let stream = unsafe getenv("JOURNAL_STREAM").map({ unsafe String(cString: $0) })
        else { return false }
        var status = stat()
        guard unsafe fstat(STDERR_FILENO, &status) == 0 else { return false }
        return stream == "\(status.st_dev):\(status.st_ino)"
    }
}
