// Who has the key gets through, and nobody else: neither with another key, nor a certificate, nor nothing.

import CLinux
import Glibc
import Reactor
import TestSupport
import Testing

@Suite struct TLSKeyTests {
    static let key = [UInt8](0..<32)

    static func pair(
        server: [UInt8] = Self.key, client: [UInt8] = Self.key
    ) throws -> StreamPair {
        try StreamPair(
            server: TLSContext(key: server), client: TLSContext(key: client).connecting(to: "x"))
    }

    @Test func `the same key opens a stream both ways`() throws {
        let pair = try Self.pair()
        #expect(pair.shake() == .init())
        #expect(pair.client.send([1, 2, 3]) == 3)
        #expect(pair.server.received() == [1, 2, 3])
        #expect(pair.server.send([4]) == 1)
        #expect(pair.client.received() == [4])
        #expect(pair.client.received() == nil)
        #expect(errno == EAGAIN)
    }

    @Test func `another key is refused, and both ends know why`() throws {
        var other = Self.key
        other[31] ^= 1
        let pair = try Self.pair(client: other)
        #expect(pair.shake() == .init(server: .wrongKey, client: .wrongKey))
        #expect(pair.client.send([1]) == -1)
        #expect(errno == EPROTO)
        #expect(pair.server.received() == nil)
        #expect(errno == EPROTO)
        #expect(pair.server.failure == .wrongKey)
    }

    @Test func `a key and a certificate have nothing in common`() throws {
        let authority = try TestAuthority()
        let leaf = try authority.issue("leaf", for: "DNS:x")
        let certificates = try TLSContext(
            certificates: TLSCertificates(
                certificate: leaf.certificate, privateKey: leaf.privateKey,
                authority: authority.certificate))
        let keyed = try StreamPair(
            server: TLSContext(key: Self.key), client: certificates.connecting(to: "x"))
        #expect(keyed.shake() == .init(server: .noCommonProof, client: .noCommonProof))
        let certified = try StreamPair(
            server: certificates, client: TLSContext(key: Self.key).connecting(to: "x"))
        let shaken = certified.shake()
        #expect(shaken.client != nil, "who has a key takes no certificate, whoever issued it")
        #expect(shaken.server != nil)
    }

    @Test func `what is no TLS is told apart`() throws {
        let plainClient = try StreamPair(server: TLSContext(key: Self.key), client: nil)
        #expect(plainClient.client.send(Array("GET / HTTP/1.1\r\n\r\n".utf8)) > 0)
        #expect(plainClient.shake().server == .notTLS)
        let plainServer = try StreamPair(
            server: nil, client: TLSContext(key: Self.key).connecting(to: "x"))
        #expect(plainServer.server.send(Array("SSH-2.0-OpenSSH_9.2\r\n".utf8)) > 0)
        #expect(plainServer.shake().client == .notTLS)
    }

    @Test func `a peer that closes in the middle is told apart`() throws {
        let (one, other) = try StreamPair.descriptors()
        let client = try SocketStream(one, tls: TLSContext(key: Self.key).connecting(to: "x"))
        #expect(try client.handshake() == .readable)
        close(other)
        #expect(throws: TLSError.closed) { try client.handshake() }
        #expect(throws: TLSError.closed, "it stays so") { try client.handshake() }
    }

    @Test func `both ends have the same binding, another connection another one`() throws {
        let (one, other) = (try Self.pair(), try Self.pair())
        #expect(one.shake() == .init() && other.shake() == .init())
        #expect(one.client.binding.count == 32)
        #expect(one.client.binding == one.server.binding)
        #expect(one.client.binding != other.client.binding)
        #expect(try StreamPair(server: nil, client: nil).client.binding == [])
    }

    @Test func `what a plain stream is asked for is there at once`() throws {
        let pair = try StreamPair(server: nil, client: nil)
        #expect(pair.shake() == .init())
        #expect(!pair.client.isEncrypted && pair.client.failure == nil)
        #expect(!pair.client.hasPending)
    }

    @Test func `a peer that has gone is an error, not a signal`() async {
        await #expect(processExitsWith: .success) {
            signal(SIGPIPE, SIG_DFL)
            let pair = try TLSKeyTests.pair()
            guard pair.shake() == .init() else { exit(2) }
            // (As a peer that is killed: no goodbye.)
            shutdown(pair.server.descriptor, Int32(SHUT_RDWR))
            for _ in 0..<3 where pair.client.send([1]) >= 0 {}
            guard pair.client.send([1]) == -1, errno == ECONNRESET else { exit(3) }
        }
    }

    @Test func `closing is the end of what the peer receives`() throws {
        let (one, other) = try StreamPair.descriptors()
        let server = try SocketStream(one, tls: TLSContext(key: Self.key))
        do {
            let client = try SocketStream(other, tls: TLSContext(key: Self.key).connecting(to: "x"))
            for _ in 0..<3 {
                _ = try client.handshake()
                _ = try server.handshake()
            }
            #expect(client.send([7]) == 1)
        }
        #expect(server.received() == [7])
        #expect(server.received() == [], "0 is the end, as it is for recv")
        #expect(server.received() == [])
    }

    @Test func `a tampered record ends the stream`() throws {
        let (one, middle) = try StreamPair.descriptors()
        let (otherMiddle, other) = try StreamPair.descriptors()
        let pair = try (
            SocketStream(one, tls: TLSContext(key: Self.key)),
            SocketStream(other, tls: TLSContext(key: Self.key).connecting(to: "x"))
        )
        func pass(_ from: Int32, _ to: Int32, flipping: Bool = false) {
            var bytes = [UInt8](repeating: 0, count: 65536)
            let count = read(from, &bytes, bytes.count)
            guard count > 0 else { return }
            if flipping { bytes[count - 1] ^= 1 }
            #expect(write(to, bytes, count) == count)
        }
        for _ in 0..<5 {
            _ = try pair.1.handshake()
            pass(otherMiddle, middle)
            _ = try pair.0.handshake()
            pass(middle, otherMiddle)
        }
        #expect(pair.1.send([1, 2, 3]) == 3)
        pass(otherMiddle, middle, flipping: true)
        #expect(pair.0.received() == nil)
        #expect(errno == EPROTO)
        #expect(pair.0.failure != nil)
        close(middle)
        close(otherMiddle)
    }
}
