// How far a long piece of work is: a bar that stays on one line of a terminal, and elsewhere (a log,
// a pipe) a line a second, which says the same without control characters.

import Control
import RemoteMemory

/// Shows the progress of one piece of work on standard output.
struct ProgressBar {
    private enum Style {
        case bar
        case lines
        case silent
    }

    private static let cells = 24

    private let title: String
    private let style: Style
    private var lastShown: ContinuousClock.Instant?

    /// A progress display; it shows nothing when `isSilent`.
    init(title: String, isSilent: Bool) {
        self.title = title
        self.style = isSilent ? .silent : Terminal.isInteractive ? .bar : .lines
    }

    /// Shows `progress`, unless a line was written less than a second ago.
    mutating func show(_ progress: RebuildProgress) throws(ControlError) {
        switch style {
        case .silent:
            return
        case .bar:
            let line = Self.line(title: title, progress, cells: Self.cells)
            try Terminal.write("\r" + line.prefix(Terminal.columns - 1) + Terminal.clearLine)
        case .lines:
            let now = ContinuousClock.now
            if let lastShown, now - lastShown < .seconds(1) { return }
            lastShown = now
            try Terminal.writeLine(Self.line(title: title, progress, cells: 0))
        }
    }

    /// Removes the bar, so that what comes next starts on a line of its own.
    func finish() throws(ControlError) {
        if style == .bar { try Terminal.write("\r" + Terminal.clearLine) }
    }

    /// One line about `progress`, with a bar of so many `cells`; none for 0.
    static func line(title: String, _ progress: RebuildProgress, cells: Int) -> String {
        var parts = [title]
        if cells > 0 {
            let filled = Int((progress.fraction * Double(cells)).rounded(.down))
            parts.append(
                "[" + String(repeating: "#", count: filled)
                    + String(repeating: ".", count: cells - filled) + "]")
        }
        parts.append(progress.percentage)
        parts.append("\(progress.doneBytes) of \(progress.totalBytes)")
        parts.append("\(progress.bytesPerSecond)/s")
        if let seconds = progress.secondsLeft { parts.append("\(Text.duration(seconds)) left") }
        return parts.joined(separator: "  ")
    }
}

extension RebuildProgress {
    /// The part that is done: 0 to 1; nothing to do is done.
    var fraction: Double {
        guard totalBytes > .zero else { return 1 }
        return min(1, Double(doneBytes.bytes) / Double(totalBytes.bytes))
    }

    /// The part that is done, such as `42 %`; 100 only when all is.
    var percentage: String { "\(Int(fraction * 100)) %" }
}

/// Quantities and dates for people.
enum Text {
    /// A duration by its two largest units, such as `6 s`, `1 min 20 s` or `3 h 2 min`.
    static func duration(_ seconds: Double) -> String {
        // Whatever is longer or not a number at all is no duration worth two digits.
        guard seconds < 1e9 else { return "very long" }
        let whole = Int(max(0, seconds).rounded(.up))
        if whole < 60 { return "\(whole) s" }
        if whole < 3600 { return "\(whole / 60) min \(whole % 60) s" }
        if whole < 86400 { return "\(whole / 3600) h \(whole % 3600 / 60) min" }
        return "\(whole / 86400) d \(whole % 86400 / 3600) h"
    }
}
