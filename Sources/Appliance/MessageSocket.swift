// Whole messages over a Unix socket, each with a descriptor beside it when there is one to pass.

import CLinux
import FoundationEssentials
import Glibc

/// Why a message could not be exchanged.
public enum ApplianceConnectionError: Error, Hashable, CustomStringConvertible {
    /// Nobody listens there.
    case unreachable(path: String, errno: Int32)
    case pathTooLong(path: String)
    /// An address of a kind that no transport of this version reaches.
    case unsupported(address: String)
    /// The other side closed, or died.
    case closed
    /// An appliance listens there already.
    case inUse(path: String)
    case messageTooLarge(bytes: Int)
    case unreadable
    case system(errno: Int32)
    case refused(ApplianceRefusal)

    public var description: String {
        switch self {
        case .unreachable(let path, let code):
            unsafe "no appliance answers at \(path): \(String(cString: strerror(code)))"
        case .pathTooLong(let path):
            "\(path) is longer than a socket address may be (107 bytes); choose a shorter --dir"
        case .unsupported(let address):
            "'\(address)' cannot be reached by this version; give the appliance a unix:PATH"
        case .inUse(let path): "an appliance listens at \(path) already; stop it or choose another"
        case .closed: "the appliance closed the connection"
        case .messageTooLarge(let size): "a message of \(size) bytes is larger than accepted"
        case .unreadable: "the appliance's answer makes no sense; use the same version everywhere"
        case .system(let code):
            unsafe "talking to the appliance failed: \(String(cString: strerror(code)))"
        case .refused(let refusal): refusal.description
        }
    }
}

/// Owns one end of a connected Unix socket.
package final class MessageSocket {
    /// The largest message, in bytes: a description of ten thousand regions.
    package static let largestMessage = 1 << 20
    package let descriptor: Int32
    /// How long a whole message may take, however slowly its bytes come in, in nanoseconds.
    private var patience = UInt64.max

    package init(owning descriptor: Int32) { self.descriptor = descriptor }

    deinit { close(descriptor) }

    package static func connect(to path: String) throws(ApplianceConnectionError) -> MessageSocket {
        let socket = MessageSocket(owning: clinux_socket_stream(AF_UNIX))
        guard socket.descriptor >= 0 else { throw .system(errno: errno) }
        let result = unsafe clinux_unix_connect(socket.descriptor, path)
        guard result != -2 else { throw .pathTooLong(path: path) }
        guard result == 0 else { throw .unreachable(path: path, errno: errno) }
        return socket
    }

    /// Makes calls give up on a peer that does not answer: after so many milliseconds a message.
    package func limitWaiting(milliseconds: Int) {
        patience = UInt64(milliseconds) * 1_000_000
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            var limit = timeval(tv_sec: milliseconds / 1000, tv_usec: milliseconds % 1000 * 1000)
            unsafe setsockopt(
                descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    /// The process on the other end.
    package var peer: Int32 { clinux_peer_pid(descriptor) }

    package func send(_ message: some Encodable, passing passed: Int32 = -1)
        throws(ApplianceConnectionError)
    {
        guard let body = try? JSONEncoder().encode(message) else { throw .unreadable }
        var bytes: [UInt8] = []
        let count = UInt32(body.count)
        for shift in [24, 16, 8, 0] as [UInt32] {
            bytes.append(UInt8(truncatingIfNeeded: count >> shift))
        }
        bytes.append(contentsOf: body)
        var sent = 0
        while sent < bytes.count {
            let result = unsafe bytes.withUnsafeBytes { buffer in
                unsafe clinux_send_descriptor(
                    descriptor, buffer.baseAddress.unsafelyUnwrapped + sent, buffer.count - sent,
                    sent == 0 ? passed : -1)
            }
            if result < 0, errno == EINTR { continue }
            guard result > 0 else {
                throw errno == EPIPE || errno == ECONNRESET ? .closed : .system(errno: errno)
            }
            sent += result
        }
    }

    /// Receives a message, and the descriptor that came with it, which the caller must close.
    package func receive<Message: Decodable>(_ type: Message.Type)
        throws(ApplianceConnectionError) -> (Message, passed: Int32)
    {
        var passed: Int32 = -1
        let started = clinux_monotonic_nanoseconds()
        let header = try receive(4, &passed, since: started)
        let count = header.reduce(0) { $0 << 8 | Int($1) }
        guard count <= Self.largestMessage else {
            if passed >= 0 { close(passed) }
            throw .messageTooLarge(bytes: count)
        }
        let body = try receive(count, &passed, since: started)
        guard let message = try? JSONDecoder().decode(Message.self, from: Data(body)) else {
            if passed >= 0 { close(passed) }
            throw .unreadable
        }
        return (message, passed)
    }

    private func receive(
        _ count: Int, _ passed: inout Int32, since started: UInt64
    ) throws(ApplianceConnectionError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            var came: Int32 = -1
            let result = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe clinux_receive_descriptor(
                    descriptor, buffer.baseAddress.unsafelyUnwrapped + received, count - received,
                    &came)
            }
            if came >= 0 {
                if passed >= 0 { close(passed) }
                passed = came
            }
            if result < 0, errno == EINTR { continue }
            let isLate = clinux_monotonic_nanoseconds() - started > patience
            guard result > 0, !isLate || received + result == count else {
                if passed >= 0 { close(passed) }
                throw result == 0 || errno == ECONNRESET ? .closed : .system(errno: errno)
            }
            received += result
        }
        return bytes
    }
}
