// holdfast volume resize

import ArgumentParser
import Control
import ControlHTTP
import RemoteMemory

extension VolumeCommand {
    /// `holdfast volume resize`.
    struct Resize: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a volume larger, while it is used.",
            discussion: """
                What is new can be used at once and reads as zeros, over connections that stand as well; a \
                device of 'holdfast attach' has the new size within seconds, and the file system on it is \
                enlarged by its own tool, such as resize2fs or xfs_growfs. Volumes never shrink, and \
                snapshots keep the size they have.

                It is refused, and the volume stays what it is, when an appliance of one of its members \
                does not have the room.

                Example:
                  holdfast volume resize vol0 8G
                """)

        @Argument(help: "The volume's name.")
        var name: String
        @Argument(help: "Its new size: a number with K, M, G or T behind it.")
        var size: ByteCount
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let volume = try await place.client.resizeVolume(named: name, VolumeResize(size: size))
            try output.show(volume, ["\(name) has \(volume.sizeBytes)"])
        }
    }
}
