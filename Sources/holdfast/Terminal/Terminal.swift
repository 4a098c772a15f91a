// Standard output, and the terminal behind it when there is one.
//
// Results go to standard output, errors to standard error; nothing else is ever written to either,
// so that both can be read by programs.

import CLinux
import Control
import Glibc

/// The process's standard streams.
enum Terminal {
    /// Whether standard output is looked at by a person.
    static var isInteractive: Bool { isatty(STDOUT_FILENO) == 1 }

    /// Clears from the cursor to the end of its line.
    static let clearLine = "\u{1B}[K"
    /// Clears from the cursor to the end of the screen.
    static let clearBelow = "\u{1B}[J"
    /// Moves the cursor to the upper left corner.
    static let home = "\u{1B}[H"

    /// The width of the terminal; 80 where there is none to ask.
    static var columns: Int { size.columns }

    /// The terminal's width and height in characters; 80 by 24 where there is none to ask.
    static var size: (columns: Int, rows: Int) {
        var window = winsize()
        guard unsafe ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &window) == 0, window.ws_col > 0,
            window.ws_row > 0
        else { return (80, 24) }
        return (Int(window.ws_col), Int(window.ws_row))
    }

    /// Writes to standard output at once.
    ///
    /// When nobody reads it any more (`holdfast status --watch | head`) there is nothing left to do
    /// and nobody to tell: the process ends. Everything else that goes wrong is thrown.
    static func write(_ text: String) throws(ControlError) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes { bytes in
                unsafe Glibc.write(STDOUT_FILENO, bytes.baseAddress, bytes.count)
            }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno == EPIPE {
                exit(1)
            } else if errno != EINTR {
                let reason = unsafe strerror(errno).map { unsafe String(cString: $0) } ?? "unknown"
                throw ControlError(
                    .failed, "Could not write the output (\(reason)): check where it is sent to.")
            }
        }
    }

    /// Writes a line to standard output.
    static func writeLine(_ text: String) throws(ControlError) {
        try write(text + "\n")
    }

    /// Writes the one sentence that a failed command ends with.
    static func writeError(_ sentence: String) {
        let text = Array("holdfast: \(sentence)\n".utf8)
        _ = unsafe text.withUnsafeBytes { bytes in
            unsafe Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count)
        }
    }
}

/// The keyboard, key by key and without echo, for as long as this value lives.
///
/// `^C` arrives as a key too, so that the terminal's settings are restored however the user ends it.
struct Keyboard: ~Copyable {
    private let settings: termios

    /// Nil when standard input is not a terminal.
    init?() {
        var settings = termios()
        guard unsafe tcgetattr(STDIN_FILENO, &settings) == 0 else { return nil }
        self.settings = settings
        settings.c_lflag &= ~tcflag_t(ICANON | ECHO | ISIG)
        unsafe tcsetattr(STDIN_FILENO, TCSANOW, &settings)
    }

    deinit {
        var settings = settings
        unsafe tcsetattr(STDIN_FILENO, TCSANOW, &settings)
    }

    /// Whether `q` or `^C` was pressed, or the terminal is gone; does not wait.
    func wantsToQuit() -> Bool {
        var descriptor = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
        while unsafe poll(&descriptor, 1, 0) == 1 {
            var key: UInt8 = 0
            guard unsafe read(STDIN_FILENO, &key, 1) == 1 else { return true }
            if key == UInt8(ascii: "q") || key == 3 { return true }
        }
        return false
    }
}
