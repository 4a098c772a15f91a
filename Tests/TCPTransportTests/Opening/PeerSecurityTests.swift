// The table at the head of PeerSecurity, row by row.

import CLinux
import Glibc
import Reactor
import TCPTransport
import TestSupport
import Testing

@Suite struct PeerSecurityTests {
    private static let key = ClusterKey.random()

    /// What a connection to an address comes to.
    private enum Way: Equatable {
        case plain
        case tls
        case refused(SecurityError)
    }

    private static func way(_ security: PeerSecurity, _ text: String) throws -> Way {
        let address = try Address(text)
        do throws(SecurityError) {
            switch try security.protection(ofConnectionTo: address) {
            case .plain: return .plain
            case .tls: return .tls
            }
        } catch {
            #expect(throws: error) { try security.mayListen(at: address) }
            return .refused(error)
        }
    }

    private static let unix = "unix:/s"
    private static let loopback = "tcp:127.0.0.1:1"
    private static let other = "tcp:192.0.2.1:1"

    private static func certificates(_ authority: TestAuthority) throws -> TLSCertificates {
        let leaf = try authority.issue("leaf")
        return TLSCertificates(
            certificate: leaf.certificate, privateKey: leaf.privateKey,
            authority: authority.certificate)
    }

    @Test func `without any proof nothing leaves the machine`() throws {
        for security in [PeerSecurity.local, try PeerSecurity(key: nil)] {
            #expect(try Self.way(security, Self.unix) == .plain)
            #expect(try Self.way(security, Self.loopback) == .plain)
            let unprotected = SecurityError.unprotected(try Address(Self.other))
            #expect(try Self.way(security, Self.other) == .refused(unprotected))
            #expect(unprotected.description.hasPrefix("tcp:192.0.2.1:1 can be reached"))
            #expect(security.warning(about: try Address(Self.loopback)) == nil)
        }
        for everywhere in ["tcp:0.0.0.0:1", "tcp:[::]:1", "tcp:a.example:1"] {
            #expect(throws: SecurityError.self) {
                try PeerSecurity.local.mayListen(at: Address(everywhere))
            }
        }
    }

    @Test func `insecure is plain everywhere, with a warning`() throws {
        let security = try PeerSecurity(key: nil, allowsInsecure: true)
        #expect(try Self.way(security, Self.other) == .plain)
        #expect(
            security.warning(about: try Address(Self.other))?.contains("--insecure") == true)
        #expect(security.warning(about: try Address(Self.loopback)) == nil)
        #expect(security.warning(about: try Address(Self.unix)) == nil)
    }

    @Test func `a key encrypts between machines`() throws {
        for insecure in [false, true] {
            let security = try PeerSecurity(key: Self.key, allowsInsecure: insecure)
            #expect(try Self.way(security, Self.unix) == .plain)
            #expect(try Self.way(security, Self.loopback) == .plain)
            #expect(try Self.way(security, Self.other) == .tls)
            #expect(security.warning(about: try Address(Self.other)) == nil)
        }
    }

    @Test func `a key without encryption is plain, with a warning`() throws {
        let security = try PeerSecurity(key: Self.key, encrypts: false)
        #expect(try Self.way(security, Self.other) == .plain)
        #expect(
            security.warning(about: try Address(Self.other))?.contains("--no-encryption") == true)
        #expect(security.warning(about: try Address(Self.loopback)) == nil)
    }

    @Test func `certificates encrypt loopback too, unless there is a key`() throws {
        let authority = try TestAuthority()
        let certificates = try Self.certificates(authority)
        let alone = try PeerSecurity(key: nil, certificates: certificates)
        #expect(try Self.way(alone, Self.unix) == .plain)
        #expect(try Self.way(alone, Self.loopback) == .tls)
        #expect(try Self.way(alone, Self.other) == .tls)
        let both = try PeerSecurity(key: Self.key, certificates: certificates)
        #expect(try Self.way(both, Self.loopback) == .plain)
        #expect(try Self.way(both, Self.other) == .tls)
    }

    @Test func `certificates without encryption prove nothing`() throws {
        let authority = try TestAuthority()
        let security = try PeerSecurity(
            key: nil, certificates: Self.certificates(authority), allowsInsecure: true,
            encrypts: false)
        let error = SecurityError.unprovable(try Address(Self.other))
        #expect(try Self.way(security, Self.other) == .refused(error))
    }

    @Test(arguments: [
        ("127.0.0.1", true), ("127.8.9.10", true), ("::1", true), ("localhost", true),
        ("::ffff:127.0.0.1", true), ("128.0.0.1", false), ("0.0.0.0", false), ("::", false),
        ("::2", false), ("::ffff:192.0.2.1", false), ("127.0.0.1.example", false),
        ("localhost.example", false),
    ])
    func `loopback is what no other machine reaches`(host: String, isLoopback: Bool) {
        #expect(PeerSecurity.isLoopback(host) == isLoopback)
    }

    @Test func `a peer's address tells where it is`() throws {
        for host in ["127.0.0.1", "::1"] {
            let listener = try Listener(.tcp(host: host, port: 0))
            let stream = try Dialing.connectPlainly(to: listener.address)
            #expect(PeerSecurity.isLoopback(peerOf: stream.descriptor))
            #expect(!PeerSecurity.isLoopback(peerOf: listener.descriptor), "it has no peer")
        }
        var pair: [Int32] = [0, 0]
        #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
        #expect(PeerSecurity.isLoopback(peerOf: pair[0]))
        for descriptor in pair { close(descriptor) }
    }
}
