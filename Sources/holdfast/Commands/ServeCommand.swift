// holdfast serve: the client device.

import ArgumentParser
import CLinux
import ClientDevice
import Control
import ControlHTTP
import Glibc
import Logging
import Reactor

/// `holdfast serve`.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Be the client device: serve every volume of a directory over NBD.",
        discussion: """
            Takes over the volumes of --dir, repairs what a previous client device left half-done, and \
            serves them at nbd.sock in that directory. SIGTERM answers what is in flight, then ends.

            One client device serves a directory at a time. If it hangs, --take-over puts this one in its \
            place: nothing that the other one does lands any more. It is killed when volumes have members \
            in this host's shared memory; otherwise it ends by itself, with status 75, when it goes on.

            NBD clients on other machines need TLS, and a certificate or key that says who they are; \
            nbd.sock is for the user that runs this, and needs neither. Sockets that systemd passes are \
            served like those of --nbd.

            SIGHUP rereads the cluster key, certificates, keys and rules, for connections that are made \
            from then on.

            Examples:
              holdfast serve --dir /var/lib/holdfast --nbd tcp:127.0.0.1:10809
              holdfast serve --nbd tcp:192.0.2.20:10809 --nbd-psk-file clients.psk --nbd-allow alice=vol0
            """)

    @OptionGroup var directory: DirectoryOption
    @OptionGroup var server: NBDOptions
    @Flag(help: "Touch all memory of new volumes before they are served.")
    var populate = false
    @Flag(help: "Take over from a client device of this directory that hangs.")
    var takeOver = false
    @Flag(
        help: "Serve swap: stay in memory, and never wait for memory to be freed.")
    var swap = false
    @OptionGroup var eviction: EvictionOption
    @OptionGroup var security: SecurityOptions
    @OptionGroup var logging: LogOptions

    /// How the process ends when another client device has taken over: EX_TEMPFAIL of sysexits(3).
    static let supersededStatus: Int32 = 75

    func run() async throws {
        // (Threads that are started from here on inherit what it sets.)
        if swap { try SwapReadiness.establish() }
        let service = ServiceReport(manager: ServiceManager())
        let log = logging.logger("client-device")
        let path = try Self.prepare(directory.directory)
        DescriptorLimit.raise()
        let succession =
            takeOver
            ? try Succession.takeOver(path, log: log)
            : Succession(claim: try DeviceClaim.take(path))
        let door = try server.security()
        let passed = try ActivatedSockets()
        let (listeners, taken) = try listen(path, passed, besides: succession.zombie, door, log)
        var configuration = DeviceConfiguration(
            directory: path, listeners: listeners, populate: populate,
            version: Holdfast.version, evictAfter: eviction.duration,
            security: try security.security(directory: path), claim: succession.claim)
        configuration.door = door
        configuration.announcesShutdown = server.nbdAnnounceShutdown
        configuration.doorLimits = server.limits.limits
        // (Ending closes the clients' connections: they connect again, to the successor.)
        configuration.superseded = { Glibc.exit(Self.supersededStatus) }
        let device = try ClientDevice(configuration, log: log)
        device.startThread()
        let (stops, continuation) = AsyncStream.makeStream(of: Int.self)
        let status: @Sendable () async -> String? = {
            (try? await device.volumes()).map(ServiceReport.line)
        }
        SignalWatch.start(
            hungUp: service.rereading(status: status) { [security, server] in
                await security.reread(directory: path, log) { try await device.adopt($0) }
                await server.reread(log) { try await device.adopt($0) }
            },
            received: { count in continuation.yield(count) })
        try await device.start()
        await device.goOn(with: passed.connections.take(from: service.manager, log))
        for address in taken { Task { await device.listen(whenFree: address) } }
        let control = Task {
            try await ControlServer(
                device: device, directory: path, isSucceeding: succession.zombie != nil, logger: log
            ).run { service.begin(status: status) { await device.ping() } }
        }
        for await count in stops {
            if count > 1 { Glibc.exit(1) }
            service.manager?.stopping()
            Task {
                let standing = await device.stop(handingOver: service.manager != nil)
                if let manager = service.manager {
                    StoredConnections.keep(standing, by: manager, log)
                }
                control.cancel()
                _ = try? await control.value
                Glibc.exit(0)
            }
        }
    }

    /// Listens wherever it is asked to; what a zombie still holds is among the second.
    private func listen(
        _ directory: String, _ passed: ActivatedSockets, besides zombie: Int32?,
        _ door: DoorSecurity, _ log: Logger
    ) throws -> (listeners: [Listener], taken: [Address]) {
        let addresses = try server.nbd.map { try Address($0) }
        try server.limits.checkDescriptors(
            atAddresses: 1 + addresses.count + passed.listeners.count, log)
        for name in passed.unknown {
            log.warning("the socket '\(name)' that was passed is not known: name it nbd")
        }
        for address in addresses + passed.listeners.map(\.address) {
            try door.mayListen(at: address)
            if let warning = door.warning(about: address) { log.warning("\(warning)") }
        }
        var listeners = [
            try Listener(.unix(path: directory + "/nbd.sock"), succeeding: zombie)
        ]
        listeners += passed.listeners
        var taken: [Address] = []
        for address in addresses {
            do throws(ReactorError) {
                listeners.append(try Listener(address, succeeding: zombie))
            } catch {
                guard zombie != nil, case .addressInUse = error, case .tcp = address else {
                    throw error
                }
                taken.append(address)
            }
        }
        return (listeners, taken)
    }

    /// Makes the directory if it is not there, for its owner alone; returns its absolute path.
    static func prepare(_ directory: String) throws -> String {
        var made = ""
        var obstacle = ENOENT
        for part in directory.split(separator: "/", omittingEmptySubsequences: false) {
            made += made.isEmpty && !directory.hasPrefix("/") ? String(part) : "/\(part)"
            if part.isEmpty { made = made == "/" ? "" : String(made.dropLast()) }
            if !made.isEmpty, unsafe mkdir(made, 0o700) != 0, errno != EEXIST { obstacle = errno }
        }
        guard let resolved = unsafe realpath(directory, nil) else {
            throw SupervisorError.noDirectory(
                directory, errno: errno == ENOENT ? obstacle : errno)
        }
        defer { unsafe free(resolved) }
        return unsafe String(cString: resolved)
    }
}
