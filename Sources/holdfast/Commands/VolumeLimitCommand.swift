// holdfast volume limit

import ArgumentParser
import Control
import ControlHTTP
import RemoteMemory

extension VolumeCommand {
    /// `holdfast volume limit`.
    struct Limit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Limit how fast the clients of a volume may go.",
            discussion: """
                The limit is for all clients of the volume and of its snapshots together, and is kept \
                until it is changed; what is left out stays as it was, and 0 is no limit. Requests above \
                it wait, and each connection that waits has its turn. Rebuilds, scrubs, and the making of \
                snapshots are not counted.

                Examples:
                  holdfast volume limit vol0 --iops 20000 --bandwidth 200M
                  holdfast volume limit vol0 --iops 0
                """)

        @Argument(help: "The volume's name.")
        var name: String
        @Option(help: ArgumentHelp("Requests a second.", valueName: "count"))
        var iops: UInt64?
        @Option(help: ArgumentHelp("Bytes a second, read and written.", valueName: "size"))
        var bandwidth: ByteCount?
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        mutating func validate() throws {
            guard iops != nil || bandwidth != nil else {
                throw ValidationError("say what to limit: --iops, --bandwidth, or both")
            }
        }

        func run() async throws {
            let volume = try await place.client.limitVolume(
                named: name, LimitChange(iops: iops, bandwidth: bandwidth))
            try output.show(volume, ["\(name): \(Description.limits(of: volume) ?? "no limits")"])
        }
    }
}
