// When a client gives up: nothing has been answered, not even a byte, for as long as it wants to wait.
//
// Who does not answer is asked of the kernel, which knows the process that listens at the other end.

internal import Glibc
internal import NIOCore

/// The other end of a connection did not begin to answer in time.
struct LateAnswer: Error {
    /// The process that listens there, where that is known.
    let process: Int32?
}

/// `struct ucred` of unix(7), which the C library shows only to those who ask for its extensions.
private struct PeerCredentials: BitwiseCopyable {
    var process: Int32
    var user: UInt32
    var group: UInt32
}

/// Ends a connection with `LateAnswer` unless its first byte comes in time; afterwards it does nothing.
final class AnswerDeadline: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer

    private let patience: TimeAmount
    private var alarm: Scheduled<Void>?

    init(_ patience: TimeAmount) { self.patience = patience }

    /// The wait begins when the request is on its way.
    func flush(context: ChannelHandlerContext) {
        context.flush()
        guard alarm == nil else { return }
        alarm = context.eventLoop.assumeIsolated().scheduleTask(in: patience) {
            guard let socket = context.channel as? any SocketOptionProvider else {
                return Self.giveUp(context, nil)
            }
            let peer: EventLoopFuture<PeerCredentials> = socket.unsafeGetSocketOption(
                level: .socket, name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
            peer.assumeIsolated().whenComplete { result in
                Self.giveUp(context, try? result.get().process)
            }
        }
    }

    private static func giveUp(_ context: ChannelHandlerContext, _ process: Int32?) {
        context.fireErrorCaught(LateAnswer(process: process))
        context.close(promise: nil)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        alarm?.cancel()
        context.fireChannelRead(data)
    }

    func handlerRemoved(context: ChannelHandlerContext) { alarm?.cancel() }
}
