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
            let service = ServiceReport(manager: ServiceManager())
            let log = logging.logger(name)
            let path = try path()
            let server = try ApplianceServer(name: name, capacity: memory, path: path)
            // What it answers to itself it would answer to others.
            let prove: @Sendable () async throws -> ApplianceDescription = {
                try ApplianceConnection(path: path).describe()
            }
            let status: @Sendable () async -> String? = {
                (try? await prove()).map { "lending \($0.allocated) of \($0.capacity)" }
            }
            SignalWatch.start(
                hungUp: {
                    service.reload(status: status) { log.info("SIGHUP: nothing to reread") }
                },
                received: { count in
                    if count > 1 { Glibc.exit(1) }
                    service.manager?.stopping()
                    server.stop()
                })
            log.info("lending \(memory) at \(listen), incarnation \(server.incarnation)")
            service.begin(status: status) { _ = try await prove() }
            server.run()
        }
    }
}
