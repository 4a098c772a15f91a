// Runs the built `holdfast` program, as a script would or behind a terminal.

import Foundation
import Glibc

/// What a run of the program left behind.
struct Run: Sendable {
    let status: Int32
    let output: String
    let errors: String
    /// Whether the terminal was left as it was found; true where there was none.
    var echoesAgain = true
}

/// The program that was built along with these tests.
private var program: URL {
    let tests = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    return URL(fileURLWithPath: tests).deletingLastPathComponent().appending(path: "holdfast")
}

/// Runs `holdfast` with these arguments and waits for it to end.
func holdfast(_ arguments: [String], environment: [String: String]? = nil) async throws -> Run {
    try await withDirectory { scratch in
        let paths = [scratch + "/out", scratch + "/err"]
        for path in paths { _ = FileManager.default.createFile(atPath: path, contents: nil) }
        let status = try await run(
            arguments, environment, input: .nullDevice,
            output: try FileHandle(forWritingTo: URL(fileURLWithPath: paths[0])),
            errors: try FileHandle(forWritingTo: URL(fileURLWithPath: paths[1])))
        let texts = paths.map { path in
            String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
        }
        return Run(status: status, output: texts[0], errors: texts[1])
    }
}

/// Runs `holdfast` on a terminal of 100 columns and 30 rows.
///
/// `keys` are pressed once `expected` has appeared so many `times`.
func holdfastOnTerminal(
    _ arguments: [String], typing keys: String = "", after expected: String = "",
    times: Int = 1
) async throws -> Run {
    var primary: CInt = -1
    var secondary: CInt = -1
    var size = winsize(ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0)
    guard openpty(&primary, &secondary, nil, nil, &size) == 0 else {
        throw POSIXError(.ENODEV)
    }
    let (keyboard, screen) = (primary, secondary)
    let seen = collect(from: keyboard) { text in
        text.components(separatedBy: expected).count > times ? keys : ""
    }
    let terminal = FileHandle(fileDescriptor: screen, closeOnDealloc: false)
    let status = try await run(
        arguments, nil, input: terminal, output: terminal, errors: terminal)
    var settings = termios()
    let known = tcgetattr(screen, &settings) == 0
    let wanted = tcflag_t(ICANON | ECHO | ISIG)
    close(screen)
    let output = await seen.value
    close(keyboard)
    return Run(
        status: status, output: output, errors: "",
        echoesAgain: known && settings.c_lflag & wanted == wanted)
}

/// Collects what appears on a terminal until its other side is closed, and types what `keys` wants.
private func collect(
    from primary: CInt, _ keys: @escaping @Sendable (String) -> String
) -> Task<String, Never> {
    Task {
        await blocking {
            var all: [UInt8] = []
            var buffer = [UInt8](repeating: 0, count: 4096)
            var typed = false
            while true {
                let count = read(primary, &buffer, buffer.count)
                guard count > 0 else { return String(decoding: all, as: UTF8.self) }
                all += buffer[..<count]
                let wanted = typed ? "" : keys(String(decoding: all, as: UTF8.self))
                if !wanted.isEmpty { typed = write(primary, wanted, wanted.utf8.count) > 0 }
            }
        }
    }
}

private func run(
    _ arguments: [String], _ environment: [String: String]?, input: FileHandle,
    output: FileHandle, errors: FileHandle
) async throws -> Int32 {
    let process = Process()
    process.executableURL = program
    process.arguments = arguments
    if let environment { process.environment = environment }
    process.standardInput = input
    process.standardOutput = output
    process.standardError = errors
    let (ended, continuation) = AsyncStream<Int32>.makeStream()
    process.terminationHandler = { process in
        // A signal is not a status: no test expects a negative one.
        let status = process.terminationStatus
        continuation.yield(process.terminationReason == .exit ? status : -status)
        continuation.finish()
    }
    try process.run()
    // A program that hangs must fail its test rather than the run of all tests.
    let watchdog = Task {
        try await Task.sleep(for: .seconds(20))
        process.terminate()
    }
    defer { watchdog.cancel() }
    for await status in ended { return status }
    return -1
}
