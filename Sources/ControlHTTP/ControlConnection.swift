// A connection between being accepted and being served.
//
// The library hands accepted connections to its accept loop through an asynchronous sequence, as
// NIOAsyncChannels. When the loop is cancelled with one still on its way, it is dropped; and NIO ends
// the process when a NIOAsyncChannel is dropped unused (apple/swift-nio#2637, #2813). A client device
// must not die of a `holdfast status` that comes while it stops. So what travels here is the bare
// channel, silent until its handler has it and makes a NIOAsyncChannel of it in the same breath.

internal import HummingbirdCore
internal import Logging
internal import NIOCore

/// An accepted connection; closed when it is dropped.
final class AcceptedConnection: ServerChildChannelValue {
    let channel: any Channel

    init(_ channel: any Channel) {
        self.channel = channel
    }

    deinit { channel.close(promise: nil) }
}

/// Serves HTTP/1.1 on accepted connections.
struct ControlConnectionHandler: ServerChildChannel {
    private let http: HTTP1Channel

    init(
        idleTimeout: TimeAmount, responder: @escaping HTTPChannelHandler.Responder
    ) {
        http = HTTP1Channel(
            responder: responder, configuration: .init(idleTimeout: idleTimeout))
    }

    /// Keeps the connection from being read before there is somebody to read it.
    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<AcceptedConnection> {
        channel.setOption(.autoRead, value: false).map { AcceptedConnection(channel) }
    }

    func handle(value connection: AcceptedConnection, logger: Logger) async {
        let channel = connection.channel
        let served = channel.eventLoop.flatSubmit { [http] in
            http.setup(channel: channel, logger: logger)
        }
        // Waiting for a future cannot be cancelled: what is made here arrives here.
        guard let served = try? await served.get() else { return }
        channel.setOption(.autoRead, value: true).whenFailure { _ in channel.close(promise: nil) }
        await http.handle(value: served, logger: logger)
    }
}
