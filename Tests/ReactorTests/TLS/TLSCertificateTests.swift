// A certificate is good for its authority, its days and its hosts, and both ends must have one.

import CLinux
import Glibc
import Reactor
import TestSupport
import Testing

@Suite struct TLSCertificateTests {
    private static let hosts = "DNS:a.example,IP:192.0.2.1"

    private static func context(
        _ authority: TestAuthority, _ leaf: (certificate: String, privateKey: String)
    ) throws -> TLSContext {
        try TLSContext(
            certificates: TLSCertificates(
                certificate: leaf.certificate, privateKey: leaf.privateKey,
                authority: authority.certificate))
    }

    /// What an end makes of the other's refusal, which TLS 1.3 may tell after the handshake.
    private static func told(_ stream: SocketStream) -> TLSError? {
        #expect(stream.received() == nil)
        return stream.failure
    }

    @Test(arguments: ["a.example", "192.0.2.1"])
    func `a certificate that names the host opens a stream`(host: String) throws {
        let authority = try TestAuthority()
        let context = try Self.context(authority, authority.issue("leaf", for: Self.hosts))
        let pair = try StreamPair(server: context, client: context.connecting(to: host))
        #expect(pair.shake() == .init())
        #expect(pair.client.send([1, 2, 3]) == 3)
        #expect(pair.server.received() == [1, 2, 3])
    }

    @Test(arguments: ["b.example", "example", "192.0.2.2", "::1"])
    func `a certificate of another host is refused`(host: String) throws {
        let authority = try TestAuthority()
        let context = try Self.context(authority, authority.issue("leaf", for: Self.hosts))
        let pair = try StreamPair(server: context, client: context.connecting(to: host))
        let shaken = pair.shake()
        #expect(shaken.client == .wrongHost(host))
        #expect(shaken.client?.description.contains(host) == true)
        #expect(shaken.server == .ownCertificateRefused)
    }

    @Test func `a server's expired certificate is refused`() throws {
        let authority = try TestAuthority()
        let old = try Self.context(authority, authority.issue("old", for: Self.hosts, days: -1))
        let new = try Self.context(authority, authority.issue("new", for: Self.hosts))
        let pair = try StreamPair(server: old, client: new.connecting(to: "a.example"))
        #expect(pair.shake() == .init(server: .ownCertificateExpired, client: .expired))
    }

    @Test func `a client's expired certificate is refused`() throws {
        let authority = try TestAuthority()
        let old = try Self.context(authority, authority.issue("old", for: Self.hosts, days: -1))
        let new = try Self.context(authority, authority.issue("new", for: Self.hosts))
        let pair = try StreamPair(server: new, client: old.connecting(to: "a.example"))
        #expect(pair.shake() == .init(server: .expired))
        #expect(Self.told(pair.client) == .ownCertificateExpired)
    }

    @Test func `another authority's certificates are refused`() throws {
        let authority = try TestAuthority("one")
        let other = try TestAuthority("other", in: authority.directory)
        let ours = try Self.context(authority, authority.issue("ours", for: Self.hosts))
        let theirs = try Self.context(other, other.issue("theirs", for: Self.hosts))
        let server = try StreamPair(server: theirs, client: ours.connecting(to: "a.example"))
        #expect(server.shake() == .init(server: .ownAuthorityUnknown, client: .unknownAuthority))
        // (A client that trusts both, whose own certificate the server does not.)
        let trusting = try TLSContext(
            certificates: TLSCertificates(
                certificate: authority.directory.file("theirs.pem"),
                privateKey: authority.directory.file("theirs.key"),
                authority: authority.certificate))
        let client = try StreamPair(server: ours, client: trusting.connecting(to: "a.example"))
        #expect(client.shake() == .init(server: .unknownAuthority))
        #expect(Self.told(client.client) == .ownAuthorityUnknown)
    }

    // MARK: Files

    @Test func `files that cannot be used say which and why`() throws {
        let authority = try TestAuthority()
        let leaf = try authority.issue("leaf")
        let other = try authority.issue("other")
        let place = authority.directory
        func refusal(
            certificate: String? = nil, key: String? = nil, from trusted: String? = nil
        ) -> TLSError? {
            do throws(TLSError) {
                _ = try TLSContext(
                    certificates: TLSCertificates(
                        certificate: certificate ?? leaf.certificate,
                        privateKey: key ?? leaf.privateKey,
                        authority: trusted ?? authority.certificate))
                return nil
            } catch {
                return error
            }
        }
        #expect(refusal() == nil)
        let missing = place.file("missing")
        #expect(refusal(certificate: missing) == .unreadable(file: missing, errno: ENOENT))
        #expect(refusal(key: missing) == .unreadable(file: missing, errno: ENOENT))
        #expect(refusal(from: missing) == .unreadable(file: missing, errno: ENOENT))
        // (Nobody writes to it: reading would wait for ever.)
        let pipe = place.file("pipe")
        try #require(mkfifo(pipe, 0o600) == 0)
        #expect(refusal(certificate: pipe) == .noCertificate(file: pipe))
        #expect(refusal(key: pipe) == .noPrivateKey(file: pipe))
        #expect(refusal(from: pipe) == .noCertificate(file: pipe))
        #expect(refusal(certificate: leaf.privateKey) == .noCertificate(file: leaf.privateKey))
        #expect(refusal(from: leaf.privateKey) == .noCertificate(file: leaf.privateKey))
        #expect(
            refusal(key: other.privateKey)
                == .strangerPrivateKey(file: other.privateKey, certificate: leaf.certificate))
        let csr = place.file("leaf.csr")
        chmod(csr, 0o600)
        #expect(refusal(key: csr) == .noPrivateKey(file: csr))
        chmod(leaf.privateKey, 0o640)
        #expect(refusal() == nil, "a group may share a key")
        chmod(leaf.privateKey, 0o604)
        #expect(refusal() == .exposedPrivateKey(file: leaf.privateKey))
    }

    @Test func `a private key with a passphrase asks nobody`() throws {
        let authority = try TestAuthority()
        let leaf = try authority.issue("leaf")
        let locked = authority.directory.file("locked.key")
        try ToolRun.output(
            "openssl", "pkcs8", "-topk8", "-in", leaf.privateKey, "-passout", "pass:secret",
            "-out", locked)
        chmod(locked, 0o600)
        #expect(throws: TLSError.noPrivateKey(file: locked)) {
            _ = try Self.context(authority, (leaf.certificate, locked))
        }
    }
}
