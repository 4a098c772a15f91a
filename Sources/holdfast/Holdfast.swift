// The command line: parse, ask, show. Every family of commands has a file in Commands/; how things
// look is in Terminal/. No command knows how a client device works: it asks through Control.

import ArgumentParser
import Control
import Glibc

/// The `holdfast` command.
@main
struct Holdfast: AsyncParsableCommand {
    /// The version of every program built from this source.
    static let version = "0.1.0"

    static let configuration = CommandConfiguration(
        commandName: "holdfast",
        abstract: "The memory of several machines as one resilient block device.",
        discussion: """
            A client device ('holdfast up' or 'holdfast serve') keeps every block of a volume in the \
            memory of several appliances and serves it over NBD. The other commands ask the client \
            device of --dir, which must be running.

            Exit status: 0 done, 1 failed (one sentence on standard error says what to do), 64 usage.
            SIZE is a number of bytes, or one with K, M, G or T behind it (powers of 1024).
            """,
        version: version,
        subcommands: [
            UpCommand.self, ServeCommand.self, VolumeCommand.self, SnapshotCommand.self,
            ApplianceCommand.self, AttachCommand.self, DetachCommand.self, RebuildCommand.self,
            ScrubCommand.self, StatusCommand.self, KeyCommand.self,
        ]
    )

    static func main() async {
        do {
            var command = try parseAsRoot()
            do {
                if var asynchronous = command as? any AsyncParsableCommand {
                    try await asynchronous.run()
                } else {
                    try command.run()
                }
            } catch let help as CleanExit where CommandLine.arguments.dropFirst().first != "help" {
                // Not asked for: a group of commands was named, and none of them.
                Terminal.writeError("name one of the commands below\n" + message(for: help))
                Glibc.exit(64)
            }
        } catch {
            end(reporting: error)
        }
    }

    /// Ends the process in the way that every command promises: see `discussion`.
    private static func end(reporting error: any Error) -> Never {
        let code = exitCode(for: error)
        switch code {
        case .success:
            // Help, version and completion scripts come this way.
            exit(withError: error)
        case .validationFailure:
            let message = fullMessage(for: error)
            let prefix = "Error: "
            Terminal.writeError(
                message.hasPrefix(prefix) ? String(message.dropFirst(prefix.count)) : message)
        default:
            // A command that has said what is wrong throws a bare ExitCode.
            if !(error is ExitCode) { Terminal.writeError("\(error)".visible) }
        }
        Glibc.exit(code.rawValue)
    }
}
