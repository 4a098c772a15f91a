// A server on a thread of its own, which opens connections one after the other, and plain dialling.

import CLinux
import Glibc
import Reactor
import Synchronization
import TCPTransport

enum Dialing {
    /// Connects without any opening.
    static func connectPlainly(to address: Address) throws -> SocketStream {
        guard case .tcp(let host, let port) = address else { throw ReactorError.badAddress("") }
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var found: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, "\(port)", &hints, &found) == 0, let info = found else {
            throw ReactorError.badAddress(host)
        }
        defer { freeaddrinfo(info) }
        let descriptor = clinux_socket_stream(info.pointee.ai_family)
        let place = __CONST_SOCKADDR_ARG(__sockaddr__: info.pointee.ai_addr)
        guard connect(descriptor, place, info.pointee.ai_addrlen) == 0 else {
            throw ReactorError.system(call: "connect", errno: errno)
        }
        clinux_set_nonblocking(descriptor)
        return SocketStream(plain: descriptor)
    }

    /// Goes on with an incoming stream until it ends, or nothing came for ten seconds.
    static func finish(_ incoming: IncomingStream) -> IncomingStream.Progress {
        while true {
            let progress = incoming.advance()
            guard case .wants(let readiness) = progress else { return progress }
            let events = readiness == .readable ? POLLIN : POLLOUT
            var entry = pollfd(fd: incoming.descriptor, events: Int16(events), revents: 0)
            guard poll(&entry, 1, 10_000) > 0 else { return progress }
        }
    }
}

/// What an opening came to, as tests compare it.
enum Opened: Equatable {
    case opened(Purpose, isEncrypted: Bool)
    case failed(OpeningError)
    case unfinished
}

/// Opens what connects, and echoes what is sent then, until its listener goes.
final class OpeningServer: Sendable {
    let address: Address
    private let outcomes: Outcomes

    private final class Outcomes: Sendable {
        let all = Mutex<[Opened]>([])
    }

    /// The first outcome, which is waited for.
    func outcome() -> Opened? {
        for _ in 0..<1000 {
            if let first = outcomes.all.withLock({ $0.first }) { return first }
            usleep(10_000)
        }
        return nil
    }

    /// `peerIsLoopback` is what the server is told of its peers.
    init(_ security: PeerSecurity, peerIsLoopback: Bool, connections: Int = 1) throws {
        let listener = try Listener(.tcp(host: "127.0.0.1", port: 0))
        address = listener.address
        let outcomes = Outcomes()
        self.outcomes = outcomes
        Thread.detach(name: "server") {
            for _ in 0..<connections {
                var entry = pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)
                guard poll(&entry, 1, 20_000) > 0,
                    case .connection(let descriptor) = listener.accept()
                else { return }
                let incoming = security.accept(descriptor, from: peerIsLoopback)
                switch Dialing.finish(incoming) {
                case .opened(let stream, let purpose, _):
                    outcomes.all.withLock {
                        $0.append(.opened(purpose, isEncrypted: stream.isEncrypted))
                    }
                    Self.echo(stream)
                case .failed(let error): outcomes.all.withLock { $0.append(.failed(error)) }
                case .wants: outcomes.all.withLock { $0.append(.unfinished) }
                }
            }
        }
    }

    private static func echo(_ stream: SocketStream) {
        var entry = pollfd(fd: stream.descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, 10_000) > 0, let bytes = stream.received() else { return }
        _ = stream.sent(bytes)
    }
}

extension SocketStream {
    func sent(_ bytes: [UInt8]) -> Int {
        var bytes = bytes
        return bytes.withUnsafeMutableBytes { buffer in
            var piece = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
            return send(&piece, 1)
        }
    }

    /// Receives what there is; nil when `receive` returns -1.
    func received() -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: 65536)
        let count = bytes.withUnsafeMutableBytes { buffer in
            buffer.baseAddress.map { receive($0, buffer.count) } ?? 0
        }
        return count < 0 ? nil : Array(bytes[..<count])
    }

    /// Sends bytes and waits for as many.
    func echoed(_ bytes: [UInt8]) -> [UInt8]? {
        guard sent(bytes) == bytes.count else { return nil }
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, 10_000) > 0 ? received() : nil
    }
}
