// holdfast key create FILE

import ArgumentParser
import Control
import TCPTransport

/// `holdfast key`.
struct KeyCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key",
        abstract: "Make the secret by which the machines of a cluster know each other.",
        subcommands: [Create.self])

    /// `holdfast key create`.
    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write a new cluster key to a file.",
            discussion: """
                Whoever has the file can read and write all volumes. It is made once, for its owner's \
                eyes alone, and copied to every machine of the cluster.

                Example:
                  holdfast key create /var/lib/holdfast/cluster.key
                """)

        @Argument(help: "Where to write it; an existing file is left as it is.")
        var file: String

        func run() async throws {
            try ClusterKey.create(file: file)
            try Terminal.writeLine(
                """
                Wrote a new cluster key to \(file).
                Copy it, readable by nobody else, to \(DirectoryOption.standard)/\
                \(SecurityOptions.standardKey) on every machine of the cluster, \
                or name it there with --cluster-key.
                """)
        }
    }
}
