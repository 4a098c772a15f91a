// Addresses, and sockets that listen at them.

import CLinux
import Glibc

/// Where to listen or connect: `unix:PATH` or `tcp:HOST:PORT`.
public enum Address: Hashable, Sendable, CustomStringConvertible {
    case unix(path: String)
    case tcp(host: String, port: UInt16)

    /// - Throws: `ReactorError.badAddress` when `text` is none.
    public init(_ text: String) throws(ReactorError) {
        if text.hasPrefix("unix:"), text.utf8.count > 5 {
            self = .unix(path: String(text.dropFirst(5)))
            return
        }
        guard text.hasPrefix("tcp:") else { throw .badAddress(text) }
        let rest = text.dropFirst("tcp:".count)
        guard let colon = rest.lastIndex(of: ":") else { throw .badAddress(text) }
        let digits = rest[rest.index(after: colon)...]
        guard digits.allSatisfy({ $0.isASCII && $0.isNumber }), let port = UInt16(digits) else {
            throw .badAddress(text)
        }
        var host = rest[..<colon]
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty else { throw .badAddress(text) }
        self = .tcp(host: String(host), port: port)
    }

    public var description: String {
        switch self {
        case .unix(let path): "unix:\(path)"
        case .tcp(let host, let port):
            host.contains(":") ? "tcp:[\(host)]:\(port)" : "tcp:\(host):\(port)"
        }
    }
}

extension Address {
    /// Where a socket is bound; nil when that is nothing that can be written as an address here.
    fileprivate init?(boundTo descriptor: Int32) {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        var port = [CChar](repeating: 0, count: Int(NI_MAXSERV))
        let family = unsafe withUnsafeMutablePointer(to: &storage) { place -> Int32? in
            unsafe place.withMemoryRebound(to: sockaddr.self, capacity: 1) { place -> Int32? in
                guard unsafe getsockname(descriptor, place, &size) == 0 else { return nil }
                let family = Int32(unsafe place.pointee.sa_family)
                guard family != AF_UNIX else { return family }
                let result = unsafe getnameinfo(
                    place, size, &host, socklen_t(host.count), &port, socklen_t(port.count),
                    NI_NUMERICHOST | NI_NUMERICSERV)
                return result == 0 ? family : nil
            }
        }
        switch family {
        case AF_UNIX:
            // (An abstract name begins with a zero byte, and no name at all is as short as the family.)
            let bytes = unsafe withUnsafeBytes(of: storage) { bytes in
                unsafe Array(bytes[MemoryLayout<sa_family_t>.size..<Int(size)].prefix { $0 != 0 })
            }
            guard !bytes.isEmpty else { return nil }
            self = .unix(path: String(decoding: bytes, as: UTF8.self))
        case AF_INET, AF_INET6:
            let text = { (units: [CChar]) in
                String(
                    decoding: units.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            }
            guard let port = UInt16(text(port)) else { return nil }
            self = .tcp(host: text(host), port: port)
        default: return nil
        }
    }
}

/// Owns a listening socket; a Unix socket's file goes with it, if it is still this one's.
public final class Listener: Sendable {
    /// How many connections may wait to be accepted.
    private static let backlog: Int32 = 256

    public let descriptor: Int32
    /// The address as bound: a TCP port of 0 has become a real one.
    public let address: Address
    /// The file of a Unix socket.
    private let file: FileIdentity?

    /// Listens, replacing the file of a Unix socket at which nobody listens any more.
    ///
    /// The file of a `predecessor`, a process that hangs and whose place is taken, is replaced too, though
    /// that one listens.
    public init(_ address: Address, succeeding predecessor: Int32? = nil) throws(ReactorError) {
        switch address {
        case .unix(let path):
            self.address = address
            descriptor = try Self.listen(atPath: path, succeeding: predecessor)
            file = FileIdentity(at: path)
        case .tcp(let host, let port):
            file = nil
            let (descriptor, port) = try Self.listen(host, port)
            self.descriptor = descriptor
            self.address = .tcp(host: host, port: port)
        }
    }

    /// Takes over a socket at which somebody else began to listen; a Unix socket's file stays that one's.
    ///
    /// - Throws: `ReactorError.notListening` for what is no stream socket with an address that is known here.
    public init(inherited descriptor: Int32) throws(ReactorError) {
        var listens: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        guard
            unsafe getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) == 0,
            listens == 1, let address = Address(boundTo: descriptor)
        else { throw .notListening(descriptor: descriptor) }
        self.address = address
        self.descriptor = descriptor
        file = nil
        clinux_set_nonblocking(descriptor)
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
    }

    deinit {
        if case .unix(let path) = address { file?.remove(from: path) }
        close(descriptor)
    }

    /// What accepting came to.
    public enum Acceptance {
        /// A non-blocking descriptor, which the caller owns.
        case connection(Int32)
        /// Nobody waits.
        case none
        /// Somebody waits, but the process or system has no descriptor or memory left.
        case exhausted(errno: Int32)
    }

    /// Takes the next connection.
    public func accept() -> Acceptance {
        let connection = clinux_accept(descriptor)
        guard connection >= 0 else {
            switch errno {
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: return .exhausted(errno: errno)
            default: return .none
            }
        }
        if case .tcp = address {
            clinux_set_option(connection, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
            clinux_set_option(connection, SOL_SOCKET, SO_KEEPALIVE, 1)
        }
        return .connection(connection)
    }

    private static func listen(
        atPath path: String, succeeding predecessor: Int32?
    ) throws(ReactorError) -> Int32 {
        switch try SocketOccupant(of: path) {
        case .none: break
        case .process(let process):
            // (One whose name cannot be had accepts nobody: that is what hanging looks like.)
            guard let predecessor, process == nil || process == predecessor else {
                throw .addressInUse("unix:\(path)")
            }
        }
        var status = stat()
        if unsafe lstat(path, &status) == 0 {
            guard status.st_mode & S_IFMT == S_IFSOCK else { throw .notASocket(path) }
            unsafe unlink(path)
        }
        let descriptor = clinux_socket_stream(AF_UNIX)
        clinux_set_nonblocking(descriptor)
        let previous = umask(0o077)
        let bound = unsafe clinux_unix_bind(descriptor, path)
        umask(previous)
        guard bound == 0, Glibc.listen(descriptor, backlog) == 0 else {
            let code = errno
            close(descriptor)
            throw .system(call: "listening at \(path)", errno: code)
        }
        return descriptor
    }

    private static func listen(_ host: String, _ port: UInt16) throws(ReactorError)
        -> (Int32, UInt16)
    {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        guard unsafe getaddrinfo(host, String(port), &hints, &found) == 0, let info = unsafe found
        else {
            throw .badAddress("tcp:\(host):\(port)")
        }
        defer { unsafe freeaddrinfo(info) }
        let descriptor = clinux_socket_stream(unsafe info.pointee.ai_family)
        clinux_set_nonblocking(descriptor)
        clinux_set_option(descriptor, SOL_SOCKET, SO_REUSEADDR, 1)
        guard unsafe bind(descriptor, info.pointee.ai_addr, info.pointee.ai_addrlen) == 0,
            Glibc.listen(descriptor, backlog) == 0
        else {
            let code = errno
            close(descriptor)
            throw code == EADDRINUSE
                ? .addressInUse("tcp:\(host):\(port)")
                : .system(call: "listening at tcp:\(host):\(port)", errno: code)
        }
        var bound = sockaddr_in6()
        var size = socklen_t(MemoryLayout<sockaddr_in6>.size)
        unsafe withUnsafeMutablePointer(to: &bound) { place in
            unsafe place.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = unsafe getsockname(descriptor, $0, &size)
            }
        }
        // (The port stands at the same place in both families' addresses.)
        return (descriptor, UInt16(bigEndian: bound.sin6_port))
    }
}
