// holdfast volume create | list | show | delete (set and move: VolumeChangeCommands; resize: VolumeResizeCommand;
// limit: VolumeLimitCommand)

import ArgumentParser
import Control
import ControlHTTP
import RemoteMemory

/// `holdfast volume`.
struct VolumeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "volume",
        abstract: "Create, show, change and delete volumes.",
        discussion: "A volume is one block device, kept in the memory of several appliances.",
        subcommands: [
            Create.self, List.self, Show.self, Set.self, Move.self, Resize.self, Limit.self,
            Delete.self,
        ])

    /// `holdfast volume create`.
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Create a volume and serve it.",
            discussion: """
                The volume reads as zeros and takes up memory as it is written to. mirror:N keeps N \
                full copies and survives the loss of any N-1 of the appliances that hold them. erasure:K+M \
                spreads the data over K appliances and parity over M more, takes (K+M)/K of its size, and \
                survives the loss of any M.

                Examples:
                  holdfast volume create vol0 --size 4G --layout mirror:3
                  holdfast volume create vol1 --size 4G --layout erasure:4+2
                """)

        @Argument(help: "What to call it; NBD clients ask for it by this name.")
        var name: String
        @Option(help: "Its size: a number with K, M, G or T behind it.")
        var size: ByteCount
        @Option(help: "How it is spread over appliances: mirror:N or erasure:K+M.")
        var layout: Layout
        @Option(help: "Whether a write goes to all members at once, or to one after the other.")
        var ordering: Ordering = .parallel
        @Option(help: ChunkOption.help)
        var chunk: ByteCount?
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let volume = try await place.client.createVolume(
                VolumeCreation(
                    name: name, size: size, layout: layout, ordering: ordering, chunk: chunk))
            try output.show(volume, [volume.uri])
        }
    }

    /// `holdfast volume list`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List all volumes.",
            discussion: """
                Example:
                  holdfast volume list --json
                """)

        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let volumes = try await place.client.volumes()
            try output.show(volumes, Description.volumes(volumes))
        }
    }

    /// `holdfast volume show`.
    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show one volume: its members, snapshots and counters.",
            discussion: """
                Example:
                  holdfast volume show vol0
                """)

        @Argument(help: "The volume's name.")
        var name: String
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let volume = try await place.client.volume(named: name)
            try output.show(volume, Description.volume(volume))
        }
    }

    /// `holdfast volume delete`.
    struct Delete: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Delete a volume and everything in it.",
            discussion: """
                Its contents cannot be brought back. It is refused while NBD clients are connected \
                or snapshots of it exist.

                Example:
                  holdfast volume delete vol0
                """)

        @Argument(help: "The volume's name.")
        var name: String
        @OptionGroup var place: DirectoryOption

        func run() async throws {
            try await place.client.deleteVolume(named: name)
        }
    }
}

/// `--chunk`.
enum ChunkOption {
    static let help = ArgumentHelp(
        "How many bytes of erasure:K+M stand together on one appliance; \(StripeGeometry.usualChunk) if left out.",
        discussion: """
            Smaller ones make a small write a whole stripe, but a small read then asks several \
            appliances.
            """)
}
