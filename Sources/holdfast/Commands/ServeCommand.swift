// holdfast serve: the client device.

import ArgumentParser
import CLinux
import ClientDevice
import Control
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

            SIGHUP rereads the cluster key and the certificates, for connections to appliances that are \
            made from then on.

            Example:
              holdfast serve --dir /var/lib/holdfast --nbd tcp:127.0.0.1:10809
            """)

    @OptionGroup var directory: DirectoryOption
    @Option(
        help: ArgumentHelp(
            "Where else to serve NBD: unix:PATH or tcp:HOST:PORT.", valueName: "address"))
    var nbd: [String] = []
    @Flag(help: "Touch all memory of new volumes before they are served.")
    var populate = false
    @Flag(help: "Take over from a client device of this directory that hangs.")
    var takeOver = false
    @OptionGroup var eviction: EvictionOption
    @OptionGroup var security: SecurityOptions
    @OptionGroup var logging: LogOptions

    mutating func validate() throws {
        for address in nbd { try Self.check(address) }
    }

    /// How the process ends when another client device has taken over: EX_TEMPFAIL of sysexits(3).
    static let supersededStatus: Int32 = 75

    func run() async throws {
        let service = ServiceReport(manager: ServiceManager())
        let log = logging.logger("client-device")
        let path = try Self.prepare(directory.directory)
        Self.raiseDescriptorLimit()
        let succession =
            takeOver
            ? try Succession.takeOver(path, log: log)
            : Succession(claim: try DeviceClaim.take(path))
        let (listeners, taken) = try listen(path, besides: succession.zombie, log)
        var configuration = DeviceConfiguration(
            directory: path, listeners: listeners, populate: populate,
            version: Holdfast.version, evictAfter: eviction.duration,
            security: try security.security(directory: path), claim: succession.claim)
        // (Ending closes the clients' connections: they connect again, to the successor.)
        configuration.superseded = { Glibc.exit(Self.supersededStatus) }
        let device = try ClientDevice(configuration, log: log)
        device.startThread()
        let (stops, continuation) = AsyncStream.makeStream(of: Int.self)
        let status: @Sendable () async -> String? = {
            (try? await device.volumes()).map(ServiceReport.line)
        }
        SignalWatch.start(
            hungUp: service.rereading(status: status) { [security] in
                await security.reread(directory: path, log) { try await device.adopt($0) }
            },
            received: { count in continuation.yield(count) })
        try await device.start()
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
                await device.stop()
                control.cancel()
                _ = try? await control.value
                Glibc.exit(0)
            }
        }
    }

    /// Fails with a usage error for what is no address.
    static func check(_ address: String) throws {
        do throws(ReactorError) {
            _ = try Address(address)
        } catch {
            throw ValidationError(error.description)
        }
    }

    /// Listens wherever it is asked to; what a zombie still holds is among the second.
    private func listen(
        _ directory: String, besides zombie: Int32?, _ log: Logger
    ) throws -> (listeners: [Listener], taken: [Address]) {
        var listeners = [
            try Listener(.unix(path: directory + "/nbd.sock"), succeeding: zombie)
        ]
        var taken: [Address] = []
        for text in nbd {
            let address = try Address(text)
            do throws(ReactorError) {
                listeners.append(try Self.listen(address, succeeding: zombie, log))
            } catch {
                guard zombie != nil, case .addressInUse = error, case .tcp = address else {
                    throw error
                }
                taken.append(address)
            }
        }
        return (listeners, taken)
    }

    private static func listen(
        _ address: Address, succeeding zombie: Int32?, _ log: Logger
    ) throws(ReactorError) -> Listener {
        if case .tcp(let host, _) = address, !["127.0.0.1", "::1", "localhost"].contains(host) {
            log.warning("whoever can reach \(address) can read and write every volume")
        }
        return try Listener(address, succeeding: zombie)
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

    /// One descriptor a connection: as many as this user may have.
    private static func raiseDescriptorLimit() {
        var limit = rlimit()
        guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
            return
        }
        limit.rlim_cur = limit.rlim_max
        unsafe setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }
}
