// How far a long run is, on standard error: a bar that stays on one line of a terminal, and elsewhere
// (a log, a pipe) a line every ten seconds, which says the same without control characters.

import Glibc

/// Shows the progress of one piece of work.
struct ProgressLine {
    private static let cells = 24
    private static let clearLine = "\u{1B}[K"
    private static let barInterval = Duration.milliseconds(100)
    private static let lineInterval = Duration.seconds(10)

    private let isBar: Bool
    private let stopwatch = Stopwatch()
    private var lastShown = ContinuousClock.now
    private var hasBar = false

    /// A display of nothing yet; on a terminal when standard error is one.
    init() {
        isBar = isatty(STDERR_FILENO) == 1
    }

    /// Shows how far it is, unless it did so only just now.
    mutating func show(_ title: String, done: Int, of total: Int, _ unit: String) {
        let now = ContinuousClock.now
        guard now - lastShown >= (isBar ? Self.barInterval : Self.lineInterval) else { return }
        lastShown = now
        let line = Self.line(
            title: title, done: done, of: total, unit: unit, seconds: stopwatch.seconds,
            cells: isBar ? Self.cells : 0)
        if isBar {
            hasBar = true
            _ = write("\r" + line.prefix(Self.columns - 1) + Self.clearLine, to: STDERR_FILENO)
        } else {
            note(line)
        }
    }

    /// Removes the bar, so that what comes next starts on a line of its own.
    mutating func finish() {
        if hasBar { _ = write("\r" + Self.clearLine, to: STDERR_FILENO) }
        hasBar = false
    }

    /// One line about `done` of `total` after so many `seconds`, with a bar of so many `cells`.
    static func line(
        title: String, done: Int, of total: Int, unit: String, seconds: Double, cells: Int
    ) -> String {
        let fraction = total > 0 ? min(1, Double(done) / Double(total)) : 1
        var parts = [title]
        if cells > 0 {
            let filled = Int((fraction * Double(cells)).rounded(.down))
            parts.append(
                "[" + String(repeating: "#", count: filled)
                    + String(repeating: ".", count: cells - filled) + "]")
        }
        parts.append("\(Int(fraction * 100)) %")
        parts.append("\(done) of \(total) \(unit)")
        if seconds > 0, done > 0 {
            parts.append("\(Int(Double(done) / seconds))/s")
            if done < total {
                parts.append("\(duration(seconds * (1 / fraction - 1))) left")
            }
        }
        return parts.joined(separator: "  ")
    }

    private static var columns: Int {
        var window = winsize()
        guard ioctl(STDERR_FILENO, UInt(TIOCGWINSZ), &window) == 0, window.ws_col > 0 else {
            return 80
        }
        return Int(window.ws_col)
    }
}

/// A duration by its two largest units, such as `6 s`, `1 min 20 s` or `3 h 2 min`.
func duration(_ seconds: Double) -> String {
    guard seconds < 1e9 else { return "very long" }
    let whole = Int(max(0, seconds).rounded(.up))
    if whole < 60 { return "\(whole) s" }
    if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
    return "\(whole / 3600) h \(whole % 3600 / 60) min"
}

/// Sleeps, unless a signal arrives.
func pause(milliseconds: UInt32) { usleep(milliseconds * 1000) }
