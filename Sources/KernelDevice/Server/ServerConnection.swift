// A connection to a client device, made here and used by the kernel.
//
// Whoever makes it waits for a limited time: a client device that hangs still has its connections accepted
// by the kernel. The limits are taken off before the kernel gets the socket, which would keep to them.
//
// Connections go over the Unix socket alone, and that is what makes it safe to send a request again.
//
//     kernel     write A ──▶ old connection ┐ no answer: shut down     write A again, then write B ──▶ new one
//     server                                └ hangs … wakes up ─▶ must not carry out the old A after B
//
// The kernel shuts the old connection down before it sends A again. On a Unix socket the server sees that
// at once, whatever is still unread: it carries out nothing of a connection that is shut down. What it had
// taken from the connection before was in its hands before A came again, and overlapping writes are carried
// out in the order in which they came. (Over TCP the news would queue up behind the old requests.)

import CLinux
import Glibc
package import NBDProtocol
import Reactor

/// One connection whose handshake is done; closed with its value unless it was given away.
package struct ServerConnection: ~Copyable {
    /// How long a server may take for one step of the handshake.
    static let patience = timeval(tv_sec: 10, tv_usec: 0)

    package let descriptor: Int32
    package let facts: ExportFacts
    /// The process that accepted.
    package let server: Int32

    /// Connects, and asks to use an export or to know it.
    package init(
        to backend: Backend, _ purpose: ClientHandshake.Purpose
    ) throws(KernelDeviceError) {
        let descriptor = try Self.connect(backend)
        var handshake = ClientHandshake(export: backend.export, to: purpose)
        do throws(KernelDeviceError) {
            facts = try Self.run(&handshake, on: descriptor, backend)
        } catch {
            close(descriptor)
            throw error
        }
        self.descriptor = descriptor
        server = clinux_peer_pid(descriptor)
        Self.limit(descriptor, timeval())
    }

    deinit { close(descriptor) }

    private static func connect(_ backend: Backend) throws(KernelDeviceError) -> Int32 {
        let descriptor = clinux_socket_stream(AF_UNIX)
        guard descriptor >= 0 else { throw .system(call: "socket", errno: errno) }
        limit(descriptor, patience)
        switch unsafe clinux_unix_connect(descriptor, backend.socketPath) {
        case 0: return descriptor
        case -2:
            close(descriptor)
            throw .pathTooLong(backend.socketPath)
        default:
            let code = errno
            close(descriptor)
            // (So many are waiting to be accepted that there is no room for one more.)
            guard code != EAGAIN else { throw .serverSilent(directory: backend.directory) }
            throw .noServer(directory: backend.directory, errno: code)
        }
    }

    /// How long receiving and sending wait; for ever with nothing.
    private static func limit(_ descriptor: Int32, _ time: timeval) {
        var time = time
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            unsafe setsockopt(
                descriptor, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    private static func run(
        _ handshake: inout ClientHandshake, on descriptor: Int32, _ backend: Backend
    ) throws(KernelDeviceError) -> ExportFacts {
        while true {
            // No more than the handshake needs: what follows is the kernel's to read.
            let bytes = try receive(min(handshake.needed, 4096), from: descriptor, backend)
            let outcome = handshake.receive(bytes.span)
            try send(handshake.output, on: descriptor, backend)
            handshake.output = []
            switch outcome {
            case .goesOn: continue
            case .done(let facts): return facts
            case .failed(let failure):
                throw .handshake(
                    export: backend.export, directory: backend.directory,
                    HandshakeFailureText(failure))
            }
        }
    }

    private static func receive(
        _ count: Int, from descriptor: Int32, _ backend: Backend
    ) throws(KernelDeviceError) -> [UInt8] {
        var result = 0
        repeat {
            var code: Int32 = 0
            let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
                result = unsafe recv(descriptor, buffer.baseAddress, count, 0)
                code = errno
                filled = max(0, result)
            }
            if result > 0 { return bytes }
            guard result < 0 else {
                throw .noServer(directory: backend.directory, errno: ECONNRESET)
            }
            guard code == EINTR else { throw failure(code, backend) }
        } while true
    }

    private static func send(
        _ bytes: [UInt8], on descriptor: Int32, _ backend: Backend
    ) throws(KernelDeviceError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = unsafe rest.withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                throw failure(errno, backend)
            }
        }
    }

    private static func failure(_ code: Int32, _ backend: Backend) -> KernelDeviceError {
        code == EAGAIN
            ? .serverSilent(directory: backend.directory)
            : .noServer(directory: backend.directory, errno: code)
    }
}

/// As many connections to one export as a device has.
package struct ServerConnections: ~Copyable {
    package let descriptors: [Int32]
    package let facts: ExportFacts
    package let server: Int32

    /// Makes them one after the other, so that a server that hangs has one of them waiting.
    package init(to backend: Backend) throws(KernelDeviceError) {
        var descriptors: [Int32] = []
        var first: (facts: ExportFacts, server: Int32)?
        do throws(KernelDeviceError) {
            for _ in 0..<backend.connections {
                let connection = try ServerConnection(to: backend, .use)
                if first == nil { first = (connection.facts, connection.server) }
                descriptors.append(connection.release())
            }
        } catch {
            for descriptor in descriptors { close(descriptor) }
            throw error
        }
        guard let first else { preconditionFailure("a device has a connection") }
        self.descriptors = descriptors
        facts = first.facts
        server = first.server
    }

    /// What the kernel took lives on there.
    deinit { for descriptor in descriptors { close(descriptor) } }
}

extension ServerConnection {
    /// Gives the descriptor away.
    consuming func release() -> Int32 {
        let kept = descriptor
        discard self
        return kept
    }
}
