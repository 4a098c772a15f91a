// One connection before its transmission phase: its stream, plain at first, and what is negotiated on it.

import BlockServer
import CLinux
import Glibc
import Reactor

/// One handshake under way; its connection closes with it unless the stream was given away.
final class Handshake {
    enum SendOutcome { case all, blocked, broken }

    /// How much is received at once, in bytes.
    private static let piece = 4096

    private(set) var stream: SocketStream
    let doorway: Doorway
    let deadline: UInt64
    var negotiation: Negotiation
    var outcome = NegotiationOutcome.goesOn
    /// TLS was agreed on, and is not there yet.
    var isShaking = false
    var watched = Readiness.readable

    init(_ descriptor: Int32, _ doorway: Doorway, _ security: DoorSecurity, deadline: UInt64) {
        stream = SocketStream(plain: descriptor)
        self.doorway = doorway
        self.deadline = deadline
        negotiation = Negotiation(
            tls: doorway.policy(security), access: doorway.access(security, of: []))
    }

    var descriptor: Int32 { stream.descriptor }

    /// Something is still to be sent.
    var isBlocked: Bool { !negotiation.output.isEmpty || stream.holdsRecord }

    func beginTLS(_ context: TLSContext) {
        stream = stream.secured(by: context)
        isShaking = true
    }

    /// What has arrived: empty at the end, nil when there is nothing now.
    func receive() -> [UInt8]? {
        var count = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: Self.piece) { buffer, filled in
            guard let place = buffer.baseAddress else { return }
            count = unsafe stream.receive(place, buffer.count)
            filled = max(0, count)
        }
        if count < 0 { return errno == EAGAIN || errno == EINTR ? nil : [] }
        return bytes
    }

    /// Sends as much of the output as the socket takes.
    func send() -> SendOutcome {
        while isBlocked {
            let count = unsafe negotiation.output.withUnsafeMutableBytes { buffer in
                var piece = unsafe iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
                return unsafe stream.take(&piece, 1)
            }
            guard count >= 0 else {
                if errno == EINTR { continue }
                return errno == EAGAIN ? .blocked : .broken
            }
            negotiation.output.removeFirst(count)
            if stream.holdsRecord { return .blocked }
        }
        return .all
    }
}
