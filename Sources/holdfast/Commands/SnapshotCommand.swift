// holdfast snapshot create | list | delete

import ArgumentParser
import Control
import ControlHTTP

/// `holdfast snapshot`.
struct SnapshotCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot",
        abstract: "Create, list and delete snapshots of a volume.",
        discussion: "A snapshot is served read-only over NBD, by the name VOLUME@SNAPSHOT.",
        subcommands: [Create.self, List.self, Delete.self])

    /// `holdfast snapshot create`.
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Cut a snapshot of a volume.",
            discussion: """
                The snapshot holds every write that was acknowledged before, and none that is \
                submitted after this command is done. A member of a mirror becomes the snapshot, \
                and a new member is rebuilt in its place. Where that would leave no redundancy, one \
                more member is added first, which takes as long as a rebuild. Beside an erasure set a \
                second region is filled for each member, which takes as long; all of them are the snapshot.

                Example:
                  holdfast snapshot create vol0 before-upgrade
                """)

        @Argument(help: "The volume's name.")
        var volume: String
        @Argument(help: "What to call the snapshot.")
        var snapshot: String
        @Flag(help: "Cut now, even if there is no redundancy until the volume is rebuilt.")
        var immediate = false
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        /// How often the client device is asked how far it is.
        private static let pollInterval = Duration.milliseconds(250)

        func run() async throws {
            let created = try await withThrowingTaskGroup(of: Void.self) { [self] group in
                group.addTask { try await showProgress() }
                // The snapshot itself: whatever it ends with, there is no more progress to be shown.
                defer { group.cancelAll() }
                return try await place.client.createSnapshot(
                    ofVolume: volume, SnapshotCreation(name: snapshot, immediate: immediate))
            }
            try ProgressBar(title: volume, isSilent: output.isJSON).finish()
            let held = (created.heldMilliseconds * 10).rounded() / 10
            try output.show(created, [created.snapshot.uri, "writers were held for \(held) ms"])
        }

        /// Shows how far the regions are that have to be filled first.
        private func showProgress() async throws {
            var bar = ProgressBar(title: "\(volume)@\(snapshot)", isSilent: output.isJSON)
            while true {
                do {
                    try await Task.sleep(for: Self.pollInterval)
                } catch {
                    return
                }
                // (Not being told how far it is stops nothing.)
                guard let status = try? await place.client.volume(named: volume),
                    let progress = status.generation?.progress, !Task.isCancelled
                else { continue }
                try bar.show(progress)
            }
        }
    }

    /// `holdfast snapshot list`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the snapshots of a volume.",
            discussion: """
                Example:
                  holdfast snapshot list vol0
                """)

        @Argument(help: "The volume's name.")
        var volume: String
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let snapshots = try await place.client.snapshots(ofVolume: volume)
            try output.show(snapshots, Description.snapshots(snapshots))
        }
    }

    /// `holdfast snapshot delete`.
    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete a snapshot and free its memory.",
            discussion: """
                It is refused while NBD clients are connected to the snapshot.

                Example:
                  holdfast snapshot delete vol0 before-upgrade
                """)

        @Argument(help: "The volume's name.")
        var volume: String
        @Argument(help: "The snapshot's name.")
        var snapshot: String
        @OptionGroup var place: DirectoryOption

        func run() async throws {
            try await place.client.deleteSnapshot(named: snapshot, ofVolume: volume)
        }
    }
}
