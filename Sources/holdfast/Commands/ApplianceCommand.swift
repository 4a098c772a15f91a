// holdfast appliance add | list | remove (drain: ApplianceDrainCommand)
//
// These speak to a client device about its appliances; only `run` is an appliance.

import ArgumentParser
import Control
import ControlHTTP

/// `holdfast appliance`.
struct ApplianceCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "appliance",
        abstract: "Lend memory, and tell a client device who lends it.",
        discussion: "An appliance is a process that lends memory, on this or another machine.",
        subcommands: [Run.self, Add.self, List.self, Drain.self, Remove.self])

    /// `holdfast appliance add`.
    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Let the client device use an appliance.",
            discussion: """
                The appliance must be running. Volumes that miss members are rebuilt on it.

                Example:
                  holdfast appliance add rack2 tcp:192.0.2.7:7474 --failure-domain rack2
                """)

        @Argument(help: "What to call it.")
        var name: String
        @Argument(help: "Where it listens: unix:PATH, tcp:HOST:PORT or rdma:HOST:PORT.")
        var address: String
        @Option(
            help: ArgumentHelp(
                "What it shares with others that may be lost together, such as a rack; a volume's "
                    + "members are kept apart by it.", valueName: "label"))
        var failureDomain: String?
        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let appliance = try await place.client.addAppliance(
                ApplianceAddition(name: name, address: address, failureDomain: failureDomain))
            try output.show(appliance, Description.appliances([appliance]))
        }
    }

    /// `holdfast appliance list`.
    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the appliances the client device knows.",
            discussion: """
                Example:
                  holdfast appliance list
                """)

        @OptionGroup var place: DirectoryOption
        @OptionGroup var output: OutputOption

        func run() async throws {
            let appliances = try await place.client.appliances()
            try output.show(appliances, Description.appliances(appliances))
        }
    }

    /// `holdfast appliance remove`.
    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make the client device forget an appliance.",
            discussion: """
                It is refused while the appliance holds members or snapshots; 'holdfast appliance \
                drain' moves its members away. The appliance itself keeps running.

                Example:
                  holdfast appliance remove rack2
                """)

        @Argument(help: "The appliance's name.")
        var name: String
        @OptionGroup var place: DirectoryOption

        func run() async throws {
            try await place.client.removeAppliance(named: name)
        }
    }
}
