// Serves a client device to whoever may open its control socket: the user that runs it, and root.
//
// That permission is the whole authentication, so the socket is never a network address and never
// readable by others (see ControlSocket.swift). Requests are few and small; the limits below keep a
// confused client from growing the device's memory or from using up its file descriptors.

public import Control
internal import Hummingbird
internal import HummingbirdCore
public import Logging
internal import NIOCore
internal import Synchronization

/// The control interface of a client device: HTTP and JSON on a Unix socket.
public struct ControlServer: Sendable {
    /// The most bytes a request's body may have; what is larger is refused as `invalid`.
    public static let maximumBodyBytes = 64 * 1024
    /// The most connections served at once; further ones wait to be accepted.
    public static let maximumConnections = 64
    /// How long a connection may be idle between requests before it is closed.
    public static let idleSeconds: Int64 = 60

    private let device: any ControlledDevice
    private let socket: ControlSocket
    private let isSucceeding: Bool
    private let logger: Logger

    /// A server of `device` at `directory/control.sock`; `run` starts it.
    ///
    /// One that is succeeding takes the place of a server whose process hangs.
    public init(
        device: any ControlledDevice, directory: String, isSucceeding: Bool = false, logger: Logger
    ) {
        self.device = device
        self.socket = ControlSocket(directory: directory)
        self.isSucceeding = isSucceeding
        self.logger = logger
    }

    /// Serves until the task is cancelled; then removes the socket and returns.
    ///
    /// A request being answered when that happens sees its task cancelled, and is waited for.
    ///
    /// - Parameter onListening: called once, when clients can connect.
    /// - Throws: `conflict` when another server has the directory; `failed` when the socket cannot
    ///   be made; `invalid` when its path is too long.
    public func run(
        onListening: @escaping @Sendable () async -> Void = {}
    ) async throws(ControlError) {
        let claim = try ControlSocketClaim.take(socket, succeeding: isSucceeding)
        // The claim must outlive the socket: it is dropped after the last use below.
        defer { extendLifetime(claim) }
        let file = claim.file
        let start = Start()
        let application = makeApplication { [socket, logger] channel in
            do throws(ControlError) {
                try socket.publish(holding: file)
            } catch {
                start.failure.withLock { $0 = error }
                try? await channel.close()
                return
            }
            logger.debug("control interface is ready", metadata: ["socket": "\(socket.path)"])
            await onListening()
        }
        do {
            try await application.run()
        } catch {
            if !Task.isCancelled, start.failure.withLock({ $0 }) == nil {
                start.failure.withLock { $0 = stopped(error) }
            }
        }
        socket.withdraw(holding: file)
        if let failure = start.failure.withLock({ $0 }) { throw failure }
    }

    /// What went wrong on the way, from whichever task noticed it first.
    private final class Start: Sendable {
        let failure = Mutex<ControlError?>(nil)
    }

    private func stopped(_ error: any Error) -> ControlError {
        ControlError(
            .failed,
            "The control interface at \(socket.path) stopped (\(error)): restart the client device."
        )
    }

    private func makeApplication(
        onServerRunning: @escaping @Sendable (any Channel) async -> Void
    ) -> some ApplicationProtocol {
        // The library reports each start, at a path that is not yet the one to be used, and as an error
        // each connection that an orderly stop cuts off.
        var quiet = logger
        quiet.logLevel = .critical
        return Application(
            router: ControlRoutes(device: device, logger: logger).router(),
            server: HTTPServerBuilder { responder in
                ControlConnectionHandler(
                    idleTimeout: .seconds(Self.idleSeconds), responder: responder)
            },
            configuration: .init(
                address: .unixDomainSocket(path: socket.newbornPath),
                serverName: "holdfast",
                availableConnectionsDelegate: .maximum(Self.maximumConnections, logger: quiet)),
            onServerRunning: onServerRunning,
            logger: quiet)
    }
}
