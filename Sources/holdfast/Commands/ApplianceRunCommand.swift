// holdfast appliance run: the appliance itself.

import Appliance
import ArgumentParser
import Glibc
import Logging
import Reactor
import RemoteMemory

extension ApplianceCommand {
    /// `holdfast appliance run`.
    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Be an appliance: lend memory, in the foreground.",
            discussion: """
                The memory is sparse: it costs what is written. It is lost when the appliance ends; the \
                next one is a new, empty incarnation.

                Example:
                  holdfast appliance run --name a1 --memory 16G --listen unix:/run/holdfast/a1.sock
                """)

        @Option(help: "What to call it.")
        var name: String
        @Option(help: "How much to lend at most.")
        var memory: ByteCount
        @Option(help: ArgumentHelp("Where to listen: unix:PATH.", valueName: "address"))
        var listen: String
        @OptionGroup var logging: LogOptions

        mutating func validate() throws { _ = try path() }

        private func path() throws -> String {
            do throws(ReactorError) {
                guard case .unix(let path) = try Address(listen) else {
                    throw ReactorError.badAddress(listen)
                }
                return path
            } catch {
                throw ValidationError("an appliance listens at unix:PATH; '\(listen)' is none")
            }
        }

        func run() async throws {
            let log = logging.logger(name)
            let server = try ApplianceServer(name: name, capacity: memory, path: try path())
            SignalWatch.start { count in
                if count > 1 { Glibc.exit(1) }
                server.stop()
            }
            log.info("lending \(memory) at \(listen), incarnation \(server.incarnation)")
            server.run()
        }
    }
}
