// Options that several commands share, and the project's units as arguments.

public import ArgumentParser
import Control
import ControlHTTP
import FoundationEssentials
import Glibc
public import RemoteMemory

/// `--dir`: which client device is meant.
struct DirectoryOption: ParsableArguments {
    @Option(
        name: .customLong("dir"),
        help: ArgumentHelp(
            "The client device's directory: its registry, control.sock and nbd.sock.",
            valueName: "directory"))
    var directory: String = Self.standard

    /// A client of the device that runs for this directory.
    var client: ControlClient { ControlClient(directory: directory) }

    /// The directory's absolute path, without symbolic links where it exists.
    var absolute: String {
        if let resolved = unsafe realpath(directory, nil) {
            defer { unsafe free(resolved) }
            return unsafe String(cString: resolved)
        }
        guard !directory.hasPrefix("/"), let present = unsafe getcwd(nil, 0) else {
            return directory
        }
        defer { unsafe free(present) }
        return unsafe String(cString: present) + "/" + directory
    }

    /// Where a client device keeps its state unless told otherwise.
    static var standard: String {
        if geteuid() == 0 { return "/var/lib/holdfast" }
        let environment = ProcessInfo.processInfo.environment
        // The XDG base directory specification: what is not absolute is to be ignored.
        if let state = environment["XDG_STATE_HOME"], state.hasPrefix("/") {
            return state + "/holdfast"
        }
        return (environment["HOME"] ?? "") + "/.local/state/holdfast"
    }
}

/// `--json`: for whom the output is.
struct OutputOption: ParsableArguments {
    @Flag(name: .customLong("json"), help: "Print JSON, for programs.")
    var isJSON = false

    /// Shows `value` as JSON, or as the lines that describe it to people.
    func show(_ value: some Encodable, _ description: @autoclosure () -> [String]) throws {
        guard isJSON else {
            try Terminal.writeLine(description().map(\.visible).joined(separator: "\n"))
            return
        }
        let text = try ControlJSON.encoder(pretty: true).encode(value)
        try Terminal.writeLine(String(decoding: text, as: UTF8.self))
    }
}

/// `--evict-after`: when a silent appliance is given up.
struct EvictionOption: ParsableArguments {
    /// Less would take a busy moment for a hang; more would keep a lost copy for no reason.
    private static let limits = 100...3_600_000

    @Option(
        help: ArgumentHelp(
            "How long an appliance may be silent before its members are given up: 100ms, 1s, 2m.",
            valueName: "time"),
        transform: milliseconds)
    var evictAfter = 1000

    var duration: Duration { .milliseconds(evictAfter) }

    private static func milliseconds(_ text: String) throws -> Int {
        guard let milliseconds = TimeArgument.milliseconds(text), limits.contains(milliseconds)
        else { throw ValidationError("a time from 100ms to 60m, such as 250ms, 1s or 2m") }
        return milliseconds
    }
}

/// Times as arguments.
enum TimeArgument {
    /// No time that is an argument of ours is longer, in milliseconds.
    private static let longest = 3_600_000

    /// Reads `250ms`, `1s` or `2m`; nil for anything else, and for more than an hour.
    static func milliseconds(_ text: String) -> Int? {
        for (suffix, scale) in [("ms", 1), ("s", 1000), ("m", 60_000)] where text.hasSuffix(suffix)
        {
            let digits = text.dropLast(suffix.count)
            guard let number = Int(digits), digits.allSatisfy(\.isNumber), number <= longest,
                number * scale <= longest
            else { return nil }
            return number * scale
        }
        return nil
    }
}

extension ByteCount: ExpressibleByArgument {
    public init?(argument: String) { self.init(parsing: argument) }
}

extension Layout: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

extension Ordering: ExpressibleByArgument {}
