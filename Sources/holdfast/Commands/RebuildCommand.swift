// holdfast rebuild VOLUME [--limit SIZE]

import ArgumentParser
import Control
import ControlHTTP
import RemoteMemory

/// `holdfast rebuild`.
struct RebuildCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebuild",
        abstract: "Restore a volume's redundancy now, and show how far that is.",
        discussion: """
            The client device does this by itself when a member is lost; this command does not wait \
            for it to find the time. Ending the command does not end the rebuild.

            A limit holds for all rebuilds of the volume, and for the copies that snapshots become, \
            until it is changed or the client device is started anew.

            Example:
              holdfast rebuild vol0 --limit 200M
            """)

    /// How often the client device is asked.
    private static let pollInterval = Duration.milliseconds(250)

    @Argument(help: "The volume's name.")
    var volume: String
    @Option(
        help: ArgumentHelp(
            "The most to copy each second: a number with K, M, G or T behind it; 0 for no limit.",
            valueName: "size"))
    var limit: ByteCount?
    @OptionGroup var place: DirectoryOption
    @OptionGroup var output: OutputOption

    func run() async throws {
        var status = try await place.client.rebuild(volume: volume, RebuildStart(limit: limit))
        var bar = ProgressBar(title: volume, isSilent: output.isJSON)
        while status.health == .rebuilding {
            if let progress = status.rebuild { try bar.show(progress) }
            try await Task.sleep(for: Self.pollInterval)
            status = try await place.client.volume(named: volume)
        }
        try bar.finish()
        try output.show(status, ["\(volume) is \(status.health.rawValue)"])
        if let problem = Self.problem(with: status) { throw ControlError(.failed, problem) }
    }

    /// Why the rebuild did not lead to a healthy volume; nil when it did.
    static func problem(with status: VolumeStatus) -> String? {
        switch status.health {
        case .healthy, .rebuilding:
            nil
        case .degraded:
            "The volume \(status.name) could not be rebuilt: see with 'holdfast appliance list' "
                + "which appliances are down or full, and bring them back or add one."
        case .waiting:
            "The volume \(status.name) waits for appliances to come back: see with 'holdfast "
                + "appliance list' which are down."
        case .lost:
            "The contents of the volume \(status.name) are lost: delete it, and create it anew from "
                + "a backup or a snapshot."
        }
    }
}
