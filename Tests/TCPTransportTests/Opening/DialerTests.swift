// A dialled stream is open and trusted, or there is an error that tells who is to blame.

import CLinux
import Glibc
import Reactor
import TCPTransport
import TestSupport
import Testing

@Suite struct DialerTests {
    private static let key = ClusterKey.random()
    /// Long enough for a busy machine: these connections stand at once, or fail at once.
    private static let patience = 10_000

    /// The server's address as no client takes for loopback, although it is: TLS is spoken there.
    private static func faraway(_ address: Address) throws -> Address {
        guard case .tcp(_, let port) = address else { throw ReactorError.badAddress("\(address)") }
        return .tcp(host: "0.0.0.0", port: port)
    }

    private static func dial(
        _ address: Address, _ security: PeerSecurity, within milliseconds: Int = patience
    ) -> Result<SocketStream, DialError> {
        do throws(DialError) {
            return .success(
                try Dialer.connect(
                    to: address, for: .access, security: security, within: milliseconds))
        } catch {
            return .failure(error)
        }
    }

    private static func problem(_ result: Result<SocketStream, DialError>) -> DialError? {
        guard case .failure(let error) = result else { return nil }
        return error
    }

    /// A server that says one thing to whoever connects, whatever they say.
    private static func babbler(_ words: [UInt8]) throws -> Address {
        let listener = try Listener(.tcp(host: "127.0.0.1", port: 0))
        Thread.detach(name: "babbler") {
            var entry = pollfd(fd: listener.descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, 10_000) > 0,
                case .connection(let descriptor) = listener.accept()
            else { return }
            let stream = SocketStream(plain: descriptor)
            entry.fd = descriptor
            poll(&entry, 1, 10_000)
            _ = stream.received()
            _ = stream.sent(words)
            // (What the client answers is awaited, so that closing does not overtake the words.)
            poll(&entry, 1, 10_000)
        }
        return listener.address
    }

    // MARK: Open

    @Test(arguments: [true, false], [true, false])
    func `a key opens a stream, under TLS and plain`(isFar: Bool, encrypts: Bool) throws {
        let security = try PeerSecurity(key: Self.key, encrypts: encrypts)
        let server = try OpeningServer(security, peerIsLoopback: !isFar)
        let address = isFar ? try Self.faraway(server.address) : server.address
        let stream = try Self.dial(address, security).get()
        #expect(stream.isEncrypted == (isFar && encrypts))
        #expect(stream.echoed([1, 2, 3]) == [1, 2, 3])
        #expect(server.outcome() == .opened(.access, isEncrypted: stream.isEncrypted))
        #expect(fcntl(stream.descriptor, F_GETFL) & O_NONBLOCK != 0)
        for name in [TCP_NODELAY, TCP_KEEPIDLE, TCP_USER_TIMEOUT] {
            var (value, size) = (Int32(0), socklen_t(4))
            getsockopt(stream.descriptor, Int32(IPPROTO_TCP), name, &value, &size)
            #expect(value > 0 && value < 60_000)
        }
    }

    @Test func `certificates open a stream, alone and with a key`() throws {
        let authority = try TestAuthority()
        let leaf = try authority.issue("leaf", for: "IP:0.0.0.0")
        let certificates = TLSCertificates(
            certificate: leaf.certificate, privateKey: leaf.privateKey,
            authority: authority.certificate)
        for key in [nil, Self.key] {
            let security = try PeerSecurity(key: key, certificates: certificates)
            let server = try OpeningServer(security, peerIsLoopback: false)
            let stream = try Self.dial(Self.faraway(server.address), security).get()
            #expect(stream.isEncrypted)
            #expect(stream.echoed([1, 2, 3]) == [1, 2, 3])
        }
        // Certificates do not stand in for the key.
        let server = try OpeningServer(
            PeerSecurity(key: Self.key, certificates: certificates), peerIsLoopback: false)
        let address = try Self.faraway(server.address)
        let keyless = try PeerSecurity(key: nil, certificates: certificates)
        #expect(Self.problem(Self.dial(address, keyless)) == .rejected(address, .keyRequired))
        #expect(server.outcome() == .failed(.keyMissing))
    }

    @Test func `a Unix socket is connected to as it is`() throws {
        let directory = try TemporaryDirectory()
        let listener = try Listener(.unix(path: directory.file("s")))
        let security = try PeerSecurity(key: Self.key)
        let stream = try Self.dial(listener.address, security).get()
        guard case .connection(let descriptor) = listener.accept() else {
            Issue.record("nobody is there")
            return
        }
        let other = SocketStream(plain: descriptor)
        #expect(other.received() == nil, "nothing is said unasked")
        #expect(stream.sent([1]) == 1)
        #expect(other.received() == [1])
    }

    // MARK: Nobody

    @Test func `nobody listens`() throws {
        let address: Address
        do { address = try Listener(.tcp(host: "127.0.0.1", port: 0)).address }
        let error = DialError.refused(address)
        #expect(Self.problem(Self.dial(address, .local)) == error)
        #expect(error.description.contains("\(address)"))
        let directory = try TemporaryDirectory()
        let missing = Address.unix(path: directory.file("s"))
        #expect(Self.problem(Self.dial(missing, .local)) == .refused(missing))
        let stale = clinux_socket_stream(AF_UNIX)
        #expect(clinux_unix_bind(stale, directory.file("s")) == 0)
        close(stale)
        #expect(Self.problem(Self.dial(missing, .local)) == .refused(missing))
        let long = Address.unix(path: "/" + String(repeating: "x", count: 200))
        #expect(Self.problem(Self.dial(long, .local)) == .pathTooLong(long))
    }

    @Test(arguments: [true, false])
    func `somebody listens and says nothing`(isEncrypted: Bool) throws {
        let listener = try Listener(.tcp(host: "127.0.0.1", port: 0))
        let address = isEncrypted ? try Self.faraway(listener.address) : listener.address
        let security = try PeerSecurity(key: Self.key)
        let error = Self.problem(Self.dial(address, security, within: 100))
        #expect(error == .timedOut(address, milliseconds: 100))
        #expect(error?.description.contains("100 ms") == true)
    }

    @Test func `a host that is not known`() {
        let address = Address.tcp(host: "no.such.host.invalid", port: 1)
        let security = try? PeerSecurity(key: Self.key)
        #expect(
            Self.problem(Self.dial(address, security ?? .local)) == .unknownHost(address))
    }

    @Test func `an address that must not be used is not`() throws {
        let listener = try Listener(.tcp(host: "0.0.0.0", port: 0))
        let error = SecurityError.unprotected(listener.address)
        #expect(Self.problem(Self.dial(listener.address, .local)) == .forbidden(error))
        guard case .none = listener.accept() else {
            Issue.record("not even connected to")
            return
        }
    }

    // MARK: Nobody to trust

    @Test(arguments: [true, false])
    func `another key`(isFar: Bool) throws {
        let server = try OpeningServer(
            PeerSecurity(key: Self.key), peerIsLoopback: !isFar)
        let address = isFar ? try Self.faraway(server.address) : server.address
        let error: OpeningError = isFar ? .tls(.wrongKey) : .wrongKey
        let stranger = try PeerSecurity(key: .random())
        #expect(Self.problem(Self.dial(address, stranger)) == .rejected(address, error))
        #expect(server.outcome() == .failed(error))
        #expect(
            DialError.rejected(address, error).description
                == "\(address): the other side has another cluster key: copy the same file to all "
                + "machines")
    }

    @Test func `plain where encryption is required`() throws {
        let server = try OpeningServer(PeerSecurity(key: Self.key), peerIsLoopback: false)
        let plain = try PeerSecurity(key: Self.key, encrypts: false)
        let address = try Self.faraway(server.address)
        #expect(Self.problem(Self.dial(address, plain)) == .rejected(address, .closed))
        #expect(server.outcome() == .failed(.notEncrypted))
    }

    @Test func `TLS where nobody can speak it`() throws {
        let server = try OpeningServer(.local, peerIsLoopback: true)
        let address = try Self.faraway(server.address)
        let security = try PeerSecurity(key: Self.key)
        #expect(Self.problem(Self.dial(address, security)) == .rejected(address, .tls(.closed)))
        #expect(server.outcome() == .failed(.encrypted))
    }

    @Test func `no key where one is asked for, and the other way round`() throws {
        let keyed = try OpeningServer(PeerSecurity(key: Self.key), peerIsLoopback: true)
        #expect(
            Self.problem(Self.dial(keyed.address, .local)) == .rejected(keyed.address, .keyRequired)
        )
        #expect(keyed.outcome() == .failed(.keyMissing))
        let open = try OpeningServer(.local, peerIsLoopback: true)
        #expect(
            Self.problem(Self.dial(open.address, try PeerSecurity(key: Self.key)))
                == .rejected(open.address, .downgrade))
    }

    @Test func `garbage for an answer`() throws {
        let words = Array("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n".utf8)
        let plain = try Self.babbler(words)
        #expect(Self.problem(Self.dial(plain, .local)) == .rejected(plain, .notHoldfast))
        let encrypted = try Self.faraway(Self.babbler(words))
        let security = try PeerSecurity(key: Self.key)
        #expect(
            Self.problem(Self.dial(encrypted, security)) == .rejected(encrypted, .tls(.notTLS)))
    }
}
