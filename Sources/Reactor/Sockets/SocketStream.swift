// A connected stream, plain or under TLS: what client devices and appliances speak over.
//
// The descriptor is non-blocking. Both ways behave as their system calls do: a count, 0 at the end of what
// the peer sends, -1 with `errno`; EAGAIN says to wait for what `wants` tells.

public import CLinux
import Glibc

/// Owns a connected stream socket.
///
/// It may pass between threads, but belongs to one at a time.
@safe
public final class SocketStream: @unchecked Sendable {
    public let descriptor: Int32

    /// A plain stream.
    public init(plain descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    /// What to wait for after EAGAIN, when receiving and sending.
    public var receivingWants: Readiness { .readable }
    public var sendingWants: Readiness { .writable }

    /// Whether bytes wait in here of which the descriptor tells nothing.
    public var hasPending: Bool { false }

    /// Receives what there is, up to `count` bytes; as `recv` returns.
    @inline(__always)
    public func receive(_ place: UnsafeMutableRawPointer, _ count: Int) -> Int {
        unsafe recv(descriptor, place, count, 0)
    }

    /// Sends pieces one after the other, as many bytes as the socket takes; as `sendmsg` returns.
    @inline(__always)
    public func send(_ pieces: UnsafeMutablePointer<iovec>, _ count: Int) -> Int {
        var message = unsafe msghdr()
        unsafe message.msg_iov = pieces
        unsafe message.msg_iovlen = count
        return unsafe sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
    }
}
