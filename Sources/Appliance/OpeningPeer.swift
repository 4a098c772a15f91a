// A peer that has yet to prove that it may be here.

import CLinux
import Glibc
import Reactor
import TCPTransport

/// A connection from the network that is not open yet.
final class OpeningPeer: Peer {
    /// How long a peer may take until it is open, and attached if it is for access, in nanoseconds.
    static let openingTime: UInt64 = 10_000_000_000

    private let incoming: IncomingStream
    private var wanted: Readiness = .readable

    init(_ incoming: IncomingStream) {
        self.incoming = incoming
        super.init()
        startTime(Self.openingTime)
    }

    override var descriptor: Int32 { incoming.descriptor }
    override var wants: Readiness { wanted }

    override func advance(_ readiness: Readiness, _ server: ApplianceServer) -> Outcome {
        switch incoming.advance() {
        case .wants(let readiness):
            wanted = readiness
            return .waits
        case .failed:
            server.statistics.refused += 1
            return .ends
        case .opened(let stream, .control, let unread):
            return .becomes(ControlPeer(stream, isLocal: false, unread: unread))
        case .opened(let stream, .access, let unread):
            return .becomes(AccessPeer(stream, deadline: deadline, unread: unread, server))
        }
    }
}
