// holdfast appliance run: the appliance itself.

import Appliance
import ArgumentParser
import Glibc
import Logging
import Reactor
import RemoteMemory
import TCPTransport

extension ApplianceCommand {
    /// `holdfast appliance run`.
    struct Run: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Be an appliance: lend memory, in the foreground.",
            discussion: """
                Prints each address it listens at on a line of its own; a port of 0 is chosen by the \
                system.

                The memory is sparse: it costs what is written. It is lost when the appliance ends, and \
                the next one is a new, empty incarnation; unless it is kept in a directory that is \
                itself in memory.

                SIGHUP rereads the cluster key and the certificates, for connections that are made from \
                then on.

                Examples:
                  holdfast appliance run --name a1 --memory 16G --listen unix:/run/holdfast/a1.sock
                  holdfast appliance run --name a2 --memory 16G --listen tcp:192.0.2.7:7474 \
                    --memory-dir /dev/shm/holdfast
                """)

        @Option(help: "What to call it.")
        var name: String
        @Option(help: "How much to lend at most.")
        var memory: ByteCount
        @Option(
            help: ArgumentHelp(
                "Where to listen: unix:PATH or tcp:HOST:PORT; may be given several times.",
                valueName: "address"))
        var listen: [String]
        @Option(
            help: ArgumentHelp(
                "A directory on tmpfs or hugetlbfs that keeps the memory when the appliance is "
                    + "restarted.", valueName: "directory"))
        var memoryDir: String?
        @OptionGroup var security: SecurityOptions
        @OptionGroup var logging: LogOptions

        mutating func validate() throws {
            guard !listen.isEmpty else {
                throw ValidationError("say where to listen: --listen unix:PATH or tcp:HOST:PORT")
            }
            _ = try addresses()
        }

        private func addresses() throws -> [Address] {
            do throws(ReactorError) {
                var addresses: [Address] = []
                for text in listen { addresses.append(try Address(text)) }
                return addresses
            } catch {
                throw ValidationError(error.description)
            }
        }

        func run() async throws {
            let service = ServiceReport(manager: ServiceManager())
            let log = logging.logger(name)
            let security = try security.security(directory: nil)
            let server = try ApplianceServer(
                name: name, capacity: memory, addresses: try addresses(), security: security,
                memoryDirectory: memoryDir)
            let addresses = server.addresses
            let places = addresses.map(\.description).joined(separator: ", ")
            let status: @Sendable () async -> String? = { "lending \(memory) at \(places)" }
            SignalWatch.start(
                hungUp: service.rereading(status: status) { [options = self.security] in
                    await options.reread(directory: nil, log) { try await server.adopt($0) }
                },
                received: { count in
                    if count > 1 { Glibc.exit(1) }
                    service.manager?.stopping()
                    server.stop()
                })
            for address in addresses {
                if let warning = security.warning(about: address) { log.warning("\(warning)") }
            }
            log.info("lending \(memory) at \(places), incarnation \(server.incarnation)")
            try Terminal.writeLine(addresses.map(\.description).joined(separator: "\n"))
            service.begin(status: status) { await server.ping() }
            server.run()
        }
    }
}
