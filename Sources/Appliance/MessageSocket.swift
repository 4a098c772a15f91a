// Whole messages to an appliance and back, over any stream; on the same host a descriptor may come beside.

import CLinux
import FoundationEssentials
import Glibc
import Reactor
public import TCPTransport

/// Why a message could not be exchanged.
public enum ApplianceConnectionError: Error, Hashable, CustomStringConvertible {
    /// Nobody listens there.
    case unreachable(path: String, errno: Int32)
    case pathTooLong(path: String)
    /// An address of a kind that no transport of this version reaches.
    case unsupported(address: String)
    /// Somebody may be there, and there is no connection all the same.
    case notConnected(DialError)
    /// It is connected, and does not answer in time.
    case silent
    /// It has no region for this key any more: another client device has it.
    case notAttached(AccessStatus)
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
            "'\(address)' cannot be reached by this version; give the appliance a unix:PATH or tcp:HOST:PORT"
        case .notConnected(let error): error.description
        case .silent: "the appliance does not answer in time: see whether it hangs"
        case .notAttached(let status): status.description
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

/// Owns the client device's end of a control connection.
///
/// Calls block until their message is through, or its time is over.
final class MessageSocket {
    /// The largest message, in bytes: a description of ten thousand regions.
    static let largestMessage = 1 << 20

    let stream: SocketStream
    private let isLocal: Bool
    /// How long a message and its answer may take each, however slowly the bytes move, in milliseconds.
    var patience: Int

    /// Connects within `patience` milliseconds, which messages have afterwards.
    init(to address: Address, security: PeerSecurity, patience: Int)
        throws(ApplianceConnectionError)
    {
        self.patience = patience
        switch address {
        case .unix(let path):
            isLocal = true
            stream = try Self.connect(toPath: path)
        case .tcp:
            isLocal = false
            stream = try Self.dial(address, .control, security, within: patience)
        }
    }

    /// A connection for `purpose`, open and proven.
    static func dial(
        _ address: Address, _ purpose: Purpose, _ security: PeerSecurity, within milliseconds: Int
    ) throws(ApplianceConnectionError) -> SocketStream {
        do throws(DialError) {
            return try Dialer.connect(
                to: address, for: purpose, security: security, within: milliseconds)
        } catch {
            guard case .refused = error else { throw .notConnected(error) }
            throw .unreachable(path: address.description, errno: ECONNREFUSED)
        }
    }

    private static func connect(toPath path: String) throws(ApplianceConnectionError)
        -> SocketStream
    {
        let descriptor = clinux_socket_stream(AF_UNIX)
        guard descriptor >= 0 else { throw .system(errno: errno) }
        clinux_set_nonblocking(descriptor)
        let stream = SocketStream(plain: descriptor)
        let result = unsafe clinux_unix_connect(descriptor, path)
        guard result != -2 else { throw .pathTooLong(path: path) }
        guard result == 0 else {
            // (Its backlog is full: it is there, and accepts nobody.)
            if errno == EAGAIN { throw .silent }
            throw .unreachable(path: path, errno: errno)
        }
        return stream
    }

    // MARK: Messages

    func send(_ message: some Encodable) throws(ApplianceConnectionError) {
        guard let body = try? JSONEncoder().encode(message) else { throw .unreadable }
        let count = UInt32(body.count)
        var bytes = [24, 16, 8, 0].map { (shift: UInt32) in
            UInt8(truncatingIfNeeded: count >> shift)
        }
        bytes.append(contentsOf: body)
        try send(bytes)
    }

    /// Sends bytes as they are.
    private func send(_ bytes: [UInt8]) throws(ApplianceConnectionError) {
        var bytes = bytes
        try stream.sendAll(&bytes, by: Deadline(milliseconds: patience))
    }

    /// Receives a message, and the descriptor that came with it, which the caller must close.
    func receive<Message: Decodable>(_ type: Message.Type)
        throws(ApplianceConnectionError) -> (Message, passed: Int32)
    {
        var passed: Int32 = -1
        do throws(ApplianceConnectionError) {
            let deadline = Deadline(milliseconds: patience)
            let header = try receive(4, &passed, by: deadline)
            let count = header.reduce(0) { $0 << 8 | Int($1) }
            guard count <= Self.largestMessage else { throw .messageTooLarge(bytes: count) }
            let body = try receive(count, &passed, by: deadline)
            guard let message = try? JSONDecoder().decode(Message.self, from: Data(body)) else {
                throw .unreadable
            }
            return (message, passed)
        } catch {
            if passed >= 0 { close(passed) }
            throw error
        }
    }

    private func receive(
        _ count: Int, _ passed: inout Int32, by deadline: Deadline
    ) throws(ApplianceConnectionError) -> [UInt8] {
        guard isLocal else { return try stream.receive(count, by: deadline) }
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            var came: Int32 = -1
            let result = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe clinux_receive_descriptor(
                    stream.descriptor, buffer.baseAddress.unsafelyUnwrapped + received,
                    count - received, &came)
            }
            if came >= 0 {
                if passed >= 0 { close(passed) }
                passed = came
            }
            if result > 0 {
                received += result
            } else {
                try stream.wait(after: result, for: .readable, by: deadline)
            }
        }
        return bytes
    }
}

/// When a caller's patience ends, by the monotonic clock.
struct Deadline {
    private let end: UInt64

    init(milliseconds: Int) {
        end = clinux_monotonic_nanoseconds() + UInt64(max(milliseconds, 0)) * 1_000_000
    }

    /// In milliseconds, rounded up.
    var left: Int32 {
        let now = clinux_monotonic_nanoseconds()
        return now >= end ? 0 : Int32(min((end - now + 999_999) / 1_000_000, 1 << 30))
    }
}

extension SocketStream {
    /// Sends all of it, blocking.
    func sendAll(_ bytes: inout [UInt8], by deadline: Deadline) throws(ApplianceConnectionError) {
        var sent = 0
        while sent < bytes.count {
            let result = unsafe bytes.withUnsafeMutableBytes { buffer in
                var piece = unsafe iovec(
                    iov_base: buffer.baseAddress.unsafelyUnwrapped + sent,
                    iov_len: buffer.count - sent)
                return unsafe send(&piece, 1)
            }
            if result > 0 {
                sent += result
            } else {
                try wait(after: result, for: .writable, by: deadline)
            }
        }
    }

    /// Receives exactly so many bytes, blocking.
    func receive(_ count: Int, by deadline: Deadline) throws(ApplianceConnectionError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            let result = unsafe bytes.withUnsafeMutableBytes { buffer in
                unsafe receive(
                    buffer.baseAddress.unsafelyUnwrapped + received, count - received)
            }
            if result > 0 {
                received += result
            } else {
                try wait(after: result, for: .readable, by: deadline)
            }
        }
        return bytes
    }

    /// Waits after a call that moved no byte, if that is for want of readiness.
    func wait(
        after result: Int, for readiness: Readiness, by deadline: Deadline
    ) throws(ApplianceConnectionError) {
        guard result < 0 else { throw .closed }
        switch errno {
        case EINTR: return
        case EAGAIN: break
        case EPIPE, ECONNRESET: throw .closed
        case ETIMEDOUT: throw .silent
        default: throw .system(errno: errno)
        }
        let left = deadline.left
        guard left > 0 else { throw .silent }
        let events = readiness.contains(.writable) ? POLLOUT : POLLIN
        var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
        unsafe poll(&entry, 1, left)
    }
}
