// From an address to a stream that both ends trust: connect, TLS, opening, all within one deadline.
//
// It blocks its caller, so it belongs off the data path. Finding the addresses of a host name is left to
// the system, whose patience is its own; numeric addresses need none. A host that has several is tried at
// each, in the order in which the system gives them.

import CLinux
import Glibc
public import Reactor

/// Why there is no connection.
public enum DialError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The machine is there, and nobody listens: the appliance does not run.
    case refused(Address)
    /// The machine does not answer as it should, or the network does not reach it.
    case unreachable(Address, errno: Int32)
    case timedOut(Address, milliseconds: Int)
    /// No address is known for the host's name.
    case unknownHost(Address)
    /// Somebody answers, and one side does not trust the other.
    case rejected(Address, OpeningError)
    /// This side must not connect there with what it was given.
    case forbidden(SecurityError)
    case pathTooLong(Address)

    public var description: String {
        switch self {
        case .refused(let address): "nobody listens at \(address): start the appliance there"
        case .unreachable(let address, let code):
            unsafe "\(address) cannot be reached (\(String(cString: strerror(code)))): check the network"
        case .timedOut(let address, let milliseconds):
            "\(address) did not answer within \(milliseconds) ms: check the machine and its network"
        case .unknownHost(let address): "the host of \(address) is not known: check its name"
        case .rejected(let address, let error): "\(address): \(error)"
        case .forbidden(let error): error.description
        case .pathTooLong(let address):
            "\(address) is longer than a socket address may be (107 bytes); choose a shorter one"
        }
    }
}

/// Connects to appliances.
public enum Dialer {
    /// When the kernel asks a silent peer whether it is there: after so many seconds, so often, so long.
    static let keepaliveIdle: Int32 = 5
    static let keepaliveInterval: Int32 = 2
    static let keepaliveCount: Int32 = 3
    /// How long bytes may stay unacknowledged before the kernel gives the connection up, in milliseconds:
    /// as long as a silent peer has.
    static let unacknowledged: Int32 = 11_000

    /// Connects, and proves and is proven all that `security` asks for.
    ///
    /// The stream is non-blocking. A Unix socket is connected to as it is, without an opening: the kernel
    /// tells its listener who connects.
    public static func connect(
        to address: Address, for purpose: Purpose, security: PeerSecurity,
        within milliseconds: Int
    ) throws(DialError) -> SocketStream {
        let protection: Protection
        do throws(SecurityError) {
            protection = try security.protection(ofConnectionTo: address)
        } catch {
            throw .forbidden(error)
        }
        switch address {
        case .unix(let path):
            return SocketStream(plain: try connect(toPath: path, address))
        case .tcp(let host, let port):
            let found = try HostAddresses(host, port, address)
            let deadline = Deadline(milliseconds)
            let descriptor = try connect(to: found, address, deadline)
            let stream =
                switch protection {
                case .tls(let context): SocketStream(descriptor, tls: context)
                case .plain: SocketStream(plain: descriptor)
                }
            try shakeHands(stream, address, deadline)
            try open(stream, purpose, security.key, address, deadline)
            return stream
        }
    }

    private static func connect(toPath path: String, _ address: Address) throws(DialError) -> Int32
    {
        let descriptor = clinux_socket_stream(AF_UNIX)
        guard descriptor >= 0 else { throw .unreachable(address, errno: errno) }
        clinux_set_nonblocking(descriptor)
        let result = unsafe clinux_unix_connect(descriptor, path)
        guard result != 0 else { return descriptor }
        let code = errno
        close(descriptor)
        guard result != -2 else { throw .pathTooLong(address) }
        throw code == ECONNREFUSED || code == ENOENT
            ? .refused(address) : .unreachable(address, errno: code)
    }

    // MARK: TCP

    private static func connect(
        to addresses: borrowing HostAddresses, _ address: Address, _ deadline: Deadline
    ) throws(DialError) -> Int32 {
        var problem = DialError.unknownHost(address)
        var next = unsafe addresses.first
        while let info = unsafe next {
            do throws(DialError) {
                return try unsafe connect(to: info.pointee, address, deadline)
            } catch {
                // That nobody listens at one address says more than that another is out of reach.
                if case .refused = problem {} else { problem = error }
            }
            unsafe next = info.pointee.ai_next
        }
        throw problem
    }

    private static func connect(
        to info: addrinfo, _ address: Address, _ deadline: Deadline
    ) throws(DialError) -> Int32 {
        let descriptor = clinux_socket_stream(unsafe info.ai_family)
        guard descriptor >= 0 else { throw .unreachable(address, errno: errno) }
        clinux_set_nonblocking(descriptor)
        do throws(DialError) {
            if unsafe Glibc.connect(descriptor, info.ai_addr, info.ai_addrlen) != 0 {
                guard errno == EINPROGRESS || errno == EINTR else {
                    throw problem(address, errno)
                }
                try deadline.wait(for: .writable, descriptor, address)
                var (code, size) = (Int32(0), socklen_t(MemoryLayout<Int32>.size))
                unsafe getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size)
                guard code == 0 else { throw problem(address, code) }
            }
        } catch {
            close(descriptor)
            throw error
        }
        tune(descriptor)
        return descriptor
    }

    private static func problem(_ address: Address, _ code: Int32) -> DialError {
        code == ECONNREFUSED ? .refused(address) : .unreachable(address, errno: code)
    }

    /// Small messages go at once, and a peer that vanished is noticed.
    public static func tune(_ descriptor: Int32) {
        let tcp = Int32(IPPROTO_TCP)
        clinux_set_option(descriptor, tcp, TCP_NODELAY, 1)
        clinux_set_option(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
        clinux_set_option(descriptor, tcp, TCP_KEEPIDLE, keepaliveIdle)
        clinux_set_option(descriptor, tcp, TCP_KEEPINTVL, keepaliveInterval)
        clinux_set_option(descriptor, tcp, TCP_KEEPCNT, keepaliveCount)
        clinux_set_option(descriptor, tcp, TCP_USER_TIMEOUT, unacknowledged)
    }

    // MARK: Trust

    private static func shakeHands(
        _ stream: SocketStream, _ address: Address, _ deadline: Deadline
    ) throws(DialError) {
        while true {
            let wanted: Readiness?
            do throws(TLSError) {
                wanted = try stream.handshake()
            } catch {
                throw .rejected(address, .tls(error))
            }
            guard let wanted else { return }
            try deadline.wait(for: wanted, stream.descriptor, address)
        }
    }

    private static func open(
        _ stream: SocketStream, _ purpose: Purpose, _ key: ClusterKey?, _ address: Address,
        _ deadline: Deadline
    ) throws(DialError) {
        var opening = ClientOpening(purpose: purpose, key: key, binding: stream.binding)
        while true {
            let bytes: [UInt8]?
            var wanted = Readiness()
            do throws(OpeningError) {
                if try stream.sendAll(of: &opening.output) {
                    // (No more than the opening has: what comes behind it is for the caller.)
                    bytes = try stream.receiveSome(atMost: opening.missing)
                    wanted = .readable
                } else {
                    bytes = nil
                    wanted = .writable
                }
            } catch {
                throw .rejected(address, error)
            }
            guard let bytes else {
                try deadline.wait(for: wanted, stream.descriptor, address)
                continue
            }
            switch opening.receive(bytes.span) {
            case .goesOn: continue
            case .opened: return
            case .refused(let error): throw .rejected(address, error)
            }
        }
    }
}

/// Owns the addresses that the system found for a host.
@safe
private struct HostAddresses: ~Copyable {
    let first: UnsafeMutablePointer<addrinfo>?

    init(_ host: String, _ port: UInt16, _ address: Address) throws(DialError) {
        var hints = unsafe addrinfo()
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        unsafe hints.ai_flags = AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        guard unsafe getaddrinfo(host, String(port), &hints, &found) == 0 else {
            throw .unknownHost(address)
        }
        unsafe first = unsafe found
    }

    deinit { unsafe freeaddrinfo(first) }
}

/// The moment by which a connection must stand.
private struct Deadline {
    private let milliseconds: Int
    private let end: UInt64

    init(_ milliseconds: Int) {
        self.milliseconds = milliseconds
        end = clinux_monotonic_nanoseconds() + UInt64(milliseconds) * 1_000_000
    }

    /// Waits until the descriptor is ready, or has an error to tell of.
    func wait(
        for readiness: Readiness, _ descriptor: Int32, _ address: Address
    ) throws(DialError) {
        let events = readiness.contains(.writable) ? POLLOUT : POLLIN
        while true {
            let now = clinux_monotonic_nanoseconds()
            guard now < end else { throw .timedOut(address, milliseconds: milliseconds) }
            var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
            // (Rounded up, so that the last wait does not spin.)
            let left = min((end - now + 999_999) / 1_000_000, UInt64(Int32.max))
            let count = unsafe poll(&entry, 1, Int32(left))
            if count > 0 { return }
            if count < 0, errno != EINTR { throw .unreachable(address, errno: errno) }
        }
    }
}
