// What connects is opened or refused from its first byte on, however slowly it speaks.

import CLinux
import Glibc
import Reactor
import TCPTransport
import Testing

@Suite struct IncomingStreamTests {
    private static let key = ClusterKey.random()

    /// A connection that somebody else's end of is in hand.
    fileprivate static func incoming(
        _ security: PeerSecurity, fromLoopback: Bool, isBusy: Bool = false
    ) throws -> (IncomingStream, SocketStream) {
        var pair: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
        for descriptor in pair { clinux_set_nonblocking(descriptor) }
        return (
            security.accept(pair[0], from: fromLoopback, isBusy: isBusy),
            SocketStream(plain: pair[1])
        )
    }

    private static func failure(_ progress: IncomingStream.Progress) -> OpeningError? {
        guard case .failed(let error) = progress else { return nil }
        return error
    }

    private static func waits(_ progress: IncomingStream.Progress) -> Bool {
        guard case .wants(.readable) = progress else { return false }
        return true
    }

    @Test func `a slow client is waited for, byte by byte`() throws {
        let (incoming, peer) = try Self.incoming(PeerSecurity(key: Self.key), fromLoopback: true)
        var client = ClientOpening(purpose: .control, key: Self.key)
        #expect(Self.waits(incoming.advance()))
        while true {
            guard !client.output.isEmpty else {
                Issue.record("the client has said all, and is not through")
                return
            }
            for byte in client.output.dropLast() {
                #expect(peer.sent([byte]) == 1)
                #expect(Self.waits(incoming.advance()))
            }
            #expect(peer.sent([client.output.removeLast()]) == 1)
            client.output = []
            let progress = incoming.advance()
            let answer = try #require(peer.received())
            let outcome = client.hear(answer)
            if case .opened(let stream, .control, let unread) = progress {
                #expect(unread.isEmpty && outcome == .opened(.control))
                #expect(stream.sent([1]) == 1)
                #expect(peer.received() == [1])
                return
            }
            #expect(Self.waits(progress))
        }
    }

    @Test func `what comes behind a plain opening is handed over`() throws {
        let (incoming, peer) = try Self.incoming(.local, fromLoopback: true)
        let words = ClientOpening(purpose: .access, key: nil).output + [1, 2, 3]
        #expect(peer.sent(words) == words.count)
        guard case .opened(_, .access, let unread) = incoming.advance() else {
            Issue.record("not opened")
            return
        }
        #expect(unread == [1, 2, 3])
    }

    @Test func `garbage is refused at its first byte, and the connection closed`() throws {
        for security in [.local, try PeerSecurity(key: Self.key)] {
            for isLoopback in [true, false] {
                let (incoming, peer) = try Self.incoming(security, fromLoopback: isLoopback)
                #expect(peer.sent(Array("G".utf8)) == 1)
                #expect(Self.failure(incoming.advance()) == .notHoldfast)
                #expect(peer.received()?.isEmpty ?? true, "it hears nothing but the end")
                // (A process that another test starts may hold the closed end for a moment.)
                var sent = peer.sent([1])
                for _ in 0..<2000 where sent != -1 {
                    usleep(1000)
                    sent = peer.sent([1])
                }
                #expect(sent == -1 && errno == EPIPE)
            }
        }
    }

    @Test func `plain is refused where encryption is required`() throws {
        let (incoming, peer) = try Self.incoming(PeerSecurity(key: Self.key), fromLoopback: false)
        let words = ClientOpening(purpose: .access, key: Self.key).output
        #expect(peer.sent(words) == words.count)
        #expect(Self.failure(incoming.advance()) == .notEncrypted)
    }

    @Test func `TLS is taken on loopback too, if there is something to prove`() throws {
        let (keyed, one) = try Self.incoming(PeerSecurity(key: Self.key), fromLoopback: true)
        #expect(one.sent([0x16]) == 1)
        #expect(Self.waits(keyed.advance()))
        let (open, other) = try Self.incoming(.local, fromLoopback: true)
        #expect(other.sent([0x16]) == 1)
        #expect(Self.failure(open.advance()) == .encrypted)
    }

    @Test func `garbage that looks like TLS is refused`() throws {
        let (incoming, peer) = try Self.incoming(PeerSecurity(key: Self.key), fromLoopback: false)
        #expect(peer.sent([0x16] + [UInt8](repeating: 0x55, count: 2000)) == 2001)
        guard case .tls = Self.failure(incoming.advance()) else {
            Issue.record("it is not refused")
            return
        }
    }

    @Test func `a peer that leaves is an end`() throws {
        for said in [[], Array("HOLD".utf8), [0x16, 3, 1]] {
            let (incoming, peer) = try Self.incoming(
                PeerSecurity(key: Self.key), fromLoopback: true)
            if !said.isEmpty { #expect(peer.sent(said) == said.count) }
            shutdown(peer.descriptor, Int32(SHUT_WR))
            let expected: OpeningError = said.first == 0x16 ? .tls(.closed) : .closed
            #expect(Self.failure(incoming.advance()) == expected)
        }
    }

    @Test func `a busy server says so`() throws {
        let (incoming, peer) = try Self.incoming(.local, fromLoopback: true, isBusy: true)
        var client = ClientOpening(purpose: .access, key: nil)
        #expect(peer.sent(client.output) == 48)
        #expect(Self.failure(incoming.advance()) == .busy)
        #expect(client.hear(try #require(peer.received())) == .refused(.busy))
    }

    @Test func `who was refused is closed, who never spoke too`() async {
        await #expect(processExitsWith: .success) {
            var limit = rlimit(rlim_cur: 40, rlim_max: 40)
            guard setrlimit(__rlimit_resource_t(7), &limit) == 0 else { exit(2) }
            let words: [[UInt8]] = [[], [1], [0x16], Array("HOLD".utf8), Array("HOLE".utf8)]
            for round in 0..<200 {
                // (Making a pair fails when no descriptor is left.)
                let (incoming, peer) = try IncomingStreamTests.incoming(
                    PeerSecurity(key: .random()), fromLoopback: true)
                let said = words[round % words.count]
                if !said.isEmpty { _ = peer.sent(said) }
                _ = incoming.advance()
            }
        }
    }
}
