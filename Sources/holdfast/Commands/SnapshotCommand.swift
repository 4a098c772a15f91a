// holdfast snapshot create | list | delete

import ArgumentParser
import Control

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
                submitted after this command is done. A member of the volume becomes the snapshot, \
                and a new member is rebuilt in its place. Where that would leave no redundancy, one \
                more member is added first, which takes as long as a rebuild.

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

        func run() async throws {
            let created = try await place.client.createSnapshot(
                ofVolume: volume, SnapshotCreation(name: snapshot, immediate: immediate))
            let held = (created.heldMilliseconds * 10).rounded() / 10
            try output.show(created, [created.snapshot.uri, "writers were held for \(held) ms"])
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
