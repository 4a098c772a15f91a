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
    @OptionGroup var eviction: EvictionOption

    mutating func validate() throws {
        for address in nbd { try Self.check(address) }
    }

    func run() async throws {
        let log = Log.logger("client-device")
        let path = try Self.prepare(directory.directory)
        Self.raiseDescriptorLimit()
        var listeners = [try Listener(.unix(path: path + "/nbd.sock"))]
        for text in nbd { listeners.append(try Self.listen(Address(text), log)) }
        let device = try ClientDevice(
            DeviceConfiguration(
                directory: path, listeners: listeners, populate: populate,
                version: Holdfast.version, evictAfter: eviction.duration), log: log)
        device.startThread()
        let (stops, continuation) = AsyncStream.makeStream(of: Int.self)
        SignalWatch.start { count in continuation.yield(count) }
        try await device.start()
        let control = Task {
            try await ControlServer(device: device, directory: path, logger: log).run()
        }
        for await count in stops {
            if count > 1 { Glibc.exit(1) }
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

    private static func listen(_ address: Address, _ log: Logger) throws -> Listener {
        if case .tcp(let host, _) = address, !["127.0.0.1", "::1", "localhost"].contains(host) {
            log.warning("whoever can reach \(address) can read and write every volume")
        }
        return try Listener(address)
    }

    /// Makes the directory if it is not there, for its owner alone; returns its absolute path.
    static func prepare(_ directory: String) throws -> String {
        var made = ""
        for part in directory.split(separator: "/", omittingEmptySubsequences: false) {
            made += made.isEmpty && !directory.hasPrefix("/") ? String(part) : "/\(part)"
            if part.isEmpty { made = made == "/" ? "" : String(made.dropLast()) }
            if !made.isEmpty { unsafe mkdir(made, 0o700) }
        }
        guard let resolved = unsafe realpath(directory, nil) else {
            throw SupervisorError.noDirectory(directory, errno: errno)
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
