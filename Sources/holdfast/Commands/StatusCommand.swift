// holdfast status [--watch]

import ArgumentParser
import Control
import ControlHTTP
import FoundationEssentials

/// `holdfast status`.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show everything: the client device, its appliances, volumes and snapshots.",
        discussion: """
            With --watch it is shown anew every second, until q or ^C is pressed; with --json as \
            well, every second adds one line of JSON.

            Example:
              holdfast status --watch
            """)

    /// How often the client device is asked.
    private static let interval = Duration.seconds(1)
    /// How long a key may wait to be noticed.
    private static let keyInterval = Duration.milliseconds(50)

    @Flag(help: "Show it anew every second, until q or ^C.")
    var watch = false
    @OptionGroup var place: DirectoryOption
    @OptionGroup var output: OutputOption

    func run() async throws {
        let status = try await place.client.status()
        guard watch else {
            return try output.show(status, Description.device(status, now: .now))
        }
        if Terminal.isInteractive && !output.isJSON {
            try await redraw(first: status)
        } else {
            try await append(first: status)
        }
    }

    /// Writes one status after the other, for logs and programs.
    private func append(first: DeviceStatus) async throws {
        var status = first
        while true {
            if output.isJSON {
                let line = try ControlJSON.encoder().encode(status)
                try Terminal.writeLine(String(decoding: line, as: UTF8.self))
            } else {
                let lines = Description.device(status, now: .now).map(\.visible)
                try Terminal.writeLine(lines.joined(separator: "\n") + "\n")
            }
            try await Task.sleep(for: Self.interval)
            status = try await place.client.status()
        }
    }

    /// Keeps one screen up to date.
    ///
    /// Lines are overwritten rather than the screen cleared, so that it does not flicker. A client
    /// device that goes away is said to be away and asked again: it may be restarting.
    private func redraw(first: DeviceStatus) async throws {
        let keyboard = Keyboard()
        var lines = Description.device(first, now: .now)
        try Terminal.write(Terminal.home + Terminal.clearBelow)
        while true {
            let size = Terminal.size
            let visible = lines.prefix(size.rows - 1).map { line in
                line.visible.prefix(size.columns) + Terminal.clearLine + "\r\n"
            }
            try Terminal.write(Terminal.home + visible.joined() + Terminal.clearBelow)
            let next = ContinuousClock.now + Self.interval
            repeat {
                if keyboard?.wantsToQuit() == true { return }
                try await Task.sleep(for: Self.keyInterval)
            } while ContinuousClock.now < next
            do throws(ControlError) {
                lines = Description.device(try await place.client.status(), now: .now)
            } catch {
                lines = [error.message]
            }
        }
    }
}
