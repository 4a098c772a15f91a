// Keys that say whose they are, and what a certificate calls its owner.

import CLinux
import Foundation
import Glibc
import Reactor
import TestSupport
import Testing

@Suite struct NamedKeyTests {
    private let directory: TemporaryDirectory

    init() throws { directory = try TemporaryDirectory() }

    /// The only name that clients of this project's own have.
    private static let name = "holdfast"
    private static let digits = TLSKeyTests.key.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }
        .joined()

    private func write(_ text: String, mode: mode_t = 0o600) throws -> String {
        let file = directory.file("keys.psk")
        try text.write(toFile: file, atomically: true, encoding: .utf8)
        try #require(chmod(file, mode) == 0)
        return file
    }

    private func keys(_ text: String) throws -> PreSharedKeys {
        try PreSharedKeys(file: write(text))
    }

    private func serve(_ text: String, _ certificates: TLSCertificates? = nil) throws -> TLSContext
    {
        try TLSContext(certificates: certificates, named: keys(text))
    }

    private func certificates(_ names: String) throws -> TLSCertificates {
        let authority = try TestAuthority(in: directory)
        let leaf = try authority.issue("leaf", for: names)
        return TLSCertificates(
            certificate: leaf.certificate, privateKey: leaf.privateKey,
            authority: authority.certificate)
    }

    @Test func `the name of a key is known to the end that accepts`() throws {
        let server = try serve(
            "alice:\(String(repeating: "a", count: 64))\n\(Self.name):\(Self.digits)\n")
        let client = try TLSContext(key: TLSKeyTests.key).connecting(to: "x")
        let pair = try StreamPair(server: server, client: client)
        #expect(pair.server.peerNames.isEmpty)
        #expect(pair.shake() == .init())
        #expect(pair.server.peerNames == [Self.name])
        #expect(pair.client.send([1, 2, 3]) == 3)
        #expect(pair.server.received() == [1, 2, 3])
    }

    @Test func `another key under the same name is refused`() throws {
        let server = try serve("\(Self.name):\(String(repeating: "a", count: 64))")
        let client = try TLSContext(key: TLSKeyTests.key).connecting(to: "x")
        let pair = try StreamPair(server: server, client: client)
        #expect(pair.shake().server == .wrongKey)
        #expect(pair.server.peerNames.isEmpty)
    }

    @Test func `a name without a key is refused`() throws {
        let server = try serve("alice:\(Self.digits)")
        let client = try TLSContext(key: TLSKeyTests.key).connecting(to: "x")
        let pair = try StreamPair(server: server, client: client)
        #expect(pair.shake().server == .noCommonProof)
    }

    @Test func `a certificate names its owner in all its ways`() throws {
        let context = try TLSContext(
            certificates: certificates(
                "DNS:a.example,email:a@example.org,URI:spiffe://a/b,IP:127.0.0.1"),
            named: nil)
        let pair = try StreamPair(server: context, client: context.connecting(to: "a.example"))
        #expect(pair.shake() == .init())
        #expect(pair.server.peerNames == ["leaf", "a.example", "a@example.org", "spiffe://a/b"])
    }

    @Test func `keys and certificates stand side by side`() throws {
        let certificates = try certificates("DNS:a.example")
        let both = try serve("\(Self.name):\(Self.digits)", certificates)
        let keyed = try StreamPair(
            server: both, client: TLSContext(key: TLSKeyTests.key).connecting(to: "x"))
        #expect(keyed.shake() == .init())
        #expect(keyed.server.peerNames == [Self.name])
        let certified = try StreamPair(
            server: both,
            client: TLSContext(certificates: certificates).connecting(to: "a.example"))
        #expect(certified.shake() == .init())
        #expect(certified.server.peerNames == ["leaf", "a.example"])
    }

    @Test func `beside keys a stranger's certificate is refused for what it is`() throws {
        let both = try serve("\(Self.name):\(Self.digits)", certificates("DNS:a.example"))
        let stranger = try TestAuthority("stranger", in: directory)
        let leaf = try stranger.issue("other", for: "DNS:a.example")
        let client = try TLSContext(
            certificates: TLSCertificates(
                certificate: leaf.certificate, privateKey: leaf.privateKey,
                authority: directory.file("authority.pem")))
        let pair = try StreamPair(server: both, client: client.connecting(to: "a.example"))
        #expect(pair.shake().server == .unknownAuthority)
    }

    // MARK: The file

    @Test(arguments: [
        ("alice", 1), ("alice:", 1), (":\(digits)", 1), ("alice:\(digits)0", 1),
        ("alice:\(digits.dropLast(2))zz", 1), ("alice:00112233445566778899aabbccddee", 1),
        ("alice:\(String(repeating: "0", count: 130))", 1), ("#616c696365:\(digits)", 1),
        ("alice:\(digits)\n\nbob\n", 3),
    ])
    func `a line that is no key is named`(text: String, line: Int) throws {
        let file = try write(text)
        #expect(throws: PreSharedKeyError.malformed(file: file, line: line)) {
            try PreSharedKeys(file: file)
        }
    }

    @Test(arguments: [0o640, 0o604, 0o660, 0o602] as [mode_t])
    func `a file that others may read or write is refused`(mode: mode_t) throws {
        let file = try write("alice:\(Self.digits)", mode: mode)
        #expect(throws: PreSharedKeyError.exposed(file: file)) { try PreSharedKeys(file: file) }
    }

    @Test func `what else is no file of keys`() throws {
        let missing = directory.file("missing")
        #expect(throws: PreSharedKeyError.unreadable(file: missing, errno: ENOENT)) {
            try PreSharedKeys(file: missing)
        }
        let empty = try write("\n\r\n")
        #expect(throws: PreSharedKeyError.empty(file: empty)) { try PreSharedKeys(file: empty) }
        let twice = try write("alice:\(Self.digits)\nalice:\(Self.digits)\n")
        #expect(throws: PreSharedKeyError.twice(file: twice, name: "alice")) {
            try PreSharedKeys(file: twice)
        }
        let long = try write(String(repeating: "alice:\(Self.digits)\n", count: 20_000))
        #expect(throws: PreSharedKeyError.unlikely(file: long)) { try PreSharedKeys(file: long) }
        // (Nobody writes to it: reading would wait for ever.)
        let pipe = directory.file("pipe")
        try #require(mkfifo(pipe, 0o600) == 0)
        #expect(throws: PreSharedKeyError.unlikely(file: pipe)) { try PreSharedKeys(file: pipe) }
    }

    @Test func `no dump shows a key`() throws {
        let keys = try keys("alice:\(Self.digits)")
        var text = ""
        dump(keys, to: &text)
        #expect(!text.contains("1, 2, 3") && !"\(keys)".contains("000102"))
        #expect("\(keys)" == "keys of clients" && String(reflecting: keys) == "keys of clients")
    }
}
