// Where the long-running commands log to.

import Logging

/// Loggers of the long-running commands.
enum Log {
    /// A logger to standard error.
    static func logger(_ label: String) -> Logger {
        Logger(label: label) { StreamLogHandler.standardError(label: $0) }
    }
}
