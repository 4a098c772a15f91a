// One line for each message, written at once and as a whole: lines of several threads, and of several
// processes at the same terminal, do not mix. What others chose in it is made visible: see `Visible`.

import FoundationEssentials
import Glibc
import Logging

/// What a line holds beside the message.
enum LogStyle: Sendable {
    case text, journal, json
}

/// Writes to standard error.
struct LineLogHandler: LogHandler {
    let component: String
    let style: LogStyle
    var logLevel = Logger.Level.info
    var metadata: Logger.Metadata = [:]

    init(component: String, style: LogStyle) {
        self.component = component
        self.style = style
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let metadata = metadata.merging(event.metadata ?? [:]) { _, new in new }
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        let line =
            switch style {
            case .text:
                "\(Self.timestamp(time)) \(event.level) \(text(event.message, metadata))".visible
            case .journal:
                "<\(event.level.priority)>\(text(event.message, metadata))".visible
            case .json:
                Self.object(
                    LogRecord(
                        time: Self.timestamp(time), level: event.level.rawValue,
                        component: component, message: event.message.description,
                        metadata: metadata.isEmpty ? nil : metadata.mapValues(\.description)))
            }
        Self.write(line + "\n")
    }

    private func text(_ message: Logger.Message, _ metadata: Logger.Metadata) -> String {
        var text = "\(component): \(message)"
        for (key, value) in metadata.sorted(by: { $0.key < $1.key }) {
            text += " \(key)=\(value)"
        }
        return text
    }

    private static func object(_ record: LogRecord) -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.withoutEscapingSlashes, .sortedKeys]
        guard let text = try? encoder.encode(record) else { return "{}" }
        return String(decoding: text, as: UTF8.self).visibleJSON
    }

    /// The time in UTC, by ISO 8601, to the millisecond.
    static func timestamp(_ time: timespec) -> String {
        var seconds = time.tv_sec
        var parts = unsafe tm()
        unsafe gmtime_r(&seconds, &parts)
        func digits(_ number: some BinaryInteger, _ count: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        let day = unsafe [parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday]
            .map { digits($0, 2) }.joined(separator: "-")
        let clock = unsafe [parts.tm_hour, parts.tm_min, parts.tm_sec]
            .map { digits($0, 2) }.joined(separator: ":")
        return "\(day)T\(clock).\(digits(time.tv_nsec / 1_000_000, 3))Z"
    }

    private static func write(_ line: String) {
        var line = line
        line.withUTF8 { bytes in
            var sent = 0
            while sent < bytes.count {
                let count = unsafe Glibc.write(
                    STDERR_FILENO, bytes.baseAddress.unsafelyUnwrapped + sent, bytes.count - sent)
                if count < 0, errno == EINTR { continue }
                guard count > 0 else { return }
                sent += count
            }
        }
    }
}

/// A line for programs.
private struct LogRecord: Encodable {
    var time: String
    var level: String
    var component: String
    var message: String
    var metadata: [String: String]?
}

extension Logger.Level {
    /// The priority of syslog(3).
    fileprivate var priority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}
