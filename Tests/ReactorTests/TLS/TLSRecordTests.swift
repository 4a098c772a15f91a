// What a peer may send after the handshake, what it may not, and what it is told: a stream against an end whose
// records are made by hand.

import CLinux
import Glibc
import Reactor
import Testing

/// A stream, and an end that says what nobody would.
private struct HandMade: ~Copyable {
    let stream: SocketStream
    let descriptor: Int32
    var sealing: RecordCipher
    var opening: RecordCipher

    init(_ suite: CipherSuite = .aes128GCM, keyLife: UInt64 = .max) throws {
        let (one, other) = try StreamPair.descriptors()
        let there = try RecordCipherTests.secret(suite, 1)
        let back = try RecordCipherTests.secret(suite, 2)
        stream = SocketStream(one, receiving: there, sending: back, keyLife: keyLife)
        descriptor = other
        sealing = RecordCipher(there, seals: true)
        opening = RecordCipher(back, seals: false)
    }

    deinit { close(descriptor) }

    /// Sends bytes as they are.
    func sendRaw(_ bytes: [UInt8]) { #expect(write(descriptor, bytes, bytes.count) == bytes.count) }

    mutating func send(_ content: [UInt8], _ type: UInt8 = ContentType.data) {
        sendRaw(RecordCipherTests.seal(content, type, by: &sealing))
    }

    /// The next record that arrived: its content and type.
    mutating func receive() -> [UInt8]? {
        var header = [UInt8](repeating: 0, count: RecordCipher.headerSize)
        guard recv(descriptor, &header, header.count, Int32(MSG_DONTWAIT)) == header.count
        else { return nil }
        var body = [UInt8](repeating: 0, count: Int(header[3]) << 8 | Int(header[4]))
        guard recv(descriptor, &body, body.count, Int32(MSG_DONTWAIT)) == body.count
        else { return nil }
        return RecordCipherTests.open(header + body, by: &opening)
    }
}

@Suite struct TLSRecordTests {
    private static let wantsAnswer: [UInt8] = [24, 0, 0, 1, 1]
    private static let wantsNone: [UInt8] = [24, 0, 0, 1, 0]

    @Test(arguments: CipherSuite.allCases)
    func `content goes both ways`(suite: CipherSuite) throws {
        var peer = try HandMade(suite)
        peer.send([1, 2, 3])
        peer.send([4])
        #expect(peer.stream.received() == [1, 2, 3, 4])
        #expect(peer.stream.send([5, 6]) == 2)
        #expect(peer.receive() == [5, 6, ContentType.data])
    }

    @Test func `a record of many bytes is taken in parts`() throws {
        var peer = try HandMade()
        let whole = (0..<RecordCipher.largestContent).map { UInt8(truncatingIfNeeded: $0 / 3) }
        peer.send(whole)
        peer.send([7])
        #expect(peer.stream.received(100) == Array(whole[..<100]))
        #expect(peer.stream.hasPending)
        #expect(peer.stream.received(whole.count - 101) == Array(whole[100..<whole.count - 1]))
        #expect(peer.stream.hasPending)
        #expect(peer.stream.received() == [whole[whole.count - 1], 7])
        #expect(!peer.stream.hasPending)
    }

    @Test func `padding and empty records are nothing`() throws {
        var peer = try HandMade()
        peer.send([])
        peer.send([1, ContentType.data, 0, 0, 0], 0)
        peer.send([])
        #expect(peer.stream.received() == [1])
        // Padding up to what a record may have at all.
        let long = [UInt8](repeating: 8, count: RecordCipher.largestContent - 2)
        peer.send(long + [ContentType.data], 0)
        #expect(peer.stream.received() == long)
        #expect(peer.stream.received() == nil && errno == EAGAIN)
    }

    @Test(arguments: CipherSuite.allCases)
    func `a peer changes its key, and changes it again`(suite: CipherSuite) throws {
        var peer = try HandMade(suite)
        for number in 0..<5 as Range<UInt8> {
            peer.send([number])
            peer.send(Self.wantsNone, ContentType.handshake)
            peer.sealing.update()
        }
        peer.send([5])
        #expect(peer.stream.received() == [0, 1, 2, 3, 4, 5])
        #expect(peer.stream.send([1]) == 1)
        #expect(peer.receive() == [1, ContentType.data], "nobody asked for another key here")
    }

    @Test func `who is asked for another key changes it before anything else`() throws {
        var peer = try HandMade()
        // (Asked often, it is answered once: RFC 8446 section 4.6.3.)
        for _ in 0..<3 {
            peer.send(Self.wantsAnswer, ContentType.handshake)
            peer.sealing.update()
        }
        #expect(peer.stream.received() == nil && errno == EAGAIN)
        #expect(peer.stream.send([1, 2]) == 2)
        #expect(peer.receive() == Self.wantsNone + [ContentType.handshake])
        peer.opening.update()
        #expect(peer.receive() == [1, 2, ContentType.data])
        #expect(peer.stream.send([3]) == 1)
        #expect(peer.receive() == [3, ContentType.data])
    }

    @Test func `a key seals no more records than it may`() throws {
        var peer = try HandMade(keyLife: 3)
        for round in 0..<4 as Range<UInt8> {
            if round > 0 {
                #expect(peer.stream.send([round]) == 1)
                #expect(peer.receive() == Self.wantsNone + [ContentType.handshake])
                peer.opening.update()
                #expect(peer.receive() == [round, ContentType.data])
            }
            for number in 0..<(round > 0 ? 2 : 3) as Range<UInt8> {
                #expect(peer.stream.send([number]) == 1)
                #expect(peer.receive() == [number, ContentType.data])
            }
        }
        // In the middle of one call, too.
        let whole = [UInt8](repeating: 4, count: 4 * RecordCipher.largestContent)
        clinux_set_option(peer.stream.descriptor, SOL_SOCKET, SO_SNDBUF, 1 << 20)
        #expect(peer.stream.send(whole) == whole.count)
        var received = 0
        while let record = peer.receive() {
            if record.last == ContentType.handshake {
                peer.opening.update()
            } else {
                received += record.count - 1
            }
        }
        #expect(received == whole.count)
        #expect(CipherSuite.aes128GCM.keyLife == 1 << 24)
    }

    @Test func `what came before a close is delivered, and nothing behind it`() throws {
        var peer = try HandMade()
        peer.send([1])
        peer.send([1, 0], ContentType.alert)
        peer.send([2])
        #expect(peer.stream.received() == [1])
        #expect(peer.stream.hasPending, "the descriptor may tell nothing more")
        #expect(peer.stream.received() == [])
        #expect(peer.stream.received() == [])
        #expect(!peer.stream.hasPending && peer.stream.failure == nil)
        #expect(peer.stream.send([3]) == 1, "the other direction goes on")
    }

    @Test func `a peer that only closes its socket has ended`() throws {
        var peer = try HandMade()
        peer.send([1])
        shutdown(peer.descriptor, Int32(SHUT_WR))
        #expect(peer.stream.received() == [1])
        #expect(peer.stream.received() == [])
        #expect(peer.stream.failure == nil)
    }

    @Test(arguments: [
        (UInt8(42), TLSError.ownCertificateRefused), (45, .ownCertificateExpired),
        (48, .ownAuthorityUnknown), (51, .wrongKey), (116, .ownCertificateMissing),
    ])
    func `an alert says what is wrong`(alert: UInt8, error: TLSError) throws {
        var peer = try HandMade()
        peer.send([1])
        peer.send([2, alert], ContentType.alert)
        #expect(peer.stream.received() == [1])
        #expect(peer.stream.received() == nil && errno == EPROTO)
        #expect(peer.stream.failure == error)
        #expect(peer.stream.send([1]) == -1 && errno == EPROTO)
    }

    @Test func `an alert without a name of its own is told as OpenSSL has it`() throws {
        var peer = try HandMade()
        peer.send([2, 80], ContentType.alert)
        #expect(peer.stream.received() == nil)
        #expect(peer.stream.failure?.description.contains("internal error") == true)
    }

    @Test func `a record that is damaged ends the connection, and the peer is told`() throws {
        var peer = try HandMade()
        peer.send([1])
        var record = RecordCipherTests.seal([2], by: &peer.sealing)
        record[6] ^= 1
        peer.sendRaw(record)
        #expect(peer.stream.received() == [1])
        #expect(peer.stream.hasPending)
        #expect(peer.stream.received() == nil && errno == EPROTO)
        #expect(peer.stream.failure == .damaged)
        #expect(peer.receive() == [2, 20, ContentType.alert])
    }

    /// Content and type of records that may not come.
    @Test(
        arguments: [
            ([0, 0, 0, 0], 0), ([1], 20), ([1], 24), ([1, 2, 3], 255),
            // A ticket, a request for a certificate, half a key update, two of them, one that wants something else.
            ([4, 0, 0, 0], 22), ([13, 0, 0, 0], 22), ([24, 0], 22),
            ([24, 0, 0, 1, 0, 24, 0, 0, 1, 0], 22),
            ([24, 0, 0, 1, 2], 22), ([24, 0, 0, 2, 0, 0], 22), ([], 22), ([], 21), ([1], 21),
            ([1, 0, 0], 21),
        ] as [([UInt8], UInt8)])
    func `what may not come ends the connection`(content: [UInt8], type: UInt8) throws {
        var peer = try HandMade()
        peer.send(content, type)
        #expect(peer.stream.received() == nil && errno == EPROTO)
        #expect(peer.stream.failure == .outOfTurn)
        #expect(peer.receive() == [2, 10, ContentType.alert])
    }

    @Test(
        arguments: [
            // In the clear: data, an alert, a change of cipher; too short and too long to be anything.
            [22, 3, 3, 0, 20], [21, 3, 3, 0, 2], [20, 3, 3, 0, 1], [23, 3, 3, 0, 16],
            [23, 3, 3, 0, 0],
            [23, 3, 3, 0x41, 0x01], [23, 3, 3, 0xFF, 0xFF],
        ] as [[UInt8]])
    func `a header that may not come ends the connection at once`(header: [UInt8]) throws {
        let peer = try HandMade()
        peer.sendRaw(header)
        #expect(peer.stream.received() == nil && errno == EPROTO)
        #expect(peer.stream.failure == .outOfTurn)
    }

    @Test(.enabled(if: geteuid() == 0, "skipped: only root may have a socket hold so much"))
    func `key updates without end keep nobody else waiting`() throws {
        var peer = try HandMade()
        clinux_set_option(peer.descriptor, SOL_SOCKET, SO_SNDBUFFORCE, 8 << 20)
        for _ in 0..<30 {
            var bytes: [UInt8] = []
            for _ in 0..<1000 {
                bytes += RecordCipherTests.seal(
                    Self.wantsNone, ContentType.handshake, by: &peer.sealing)
                peer.sealing.update()
            }
            peer.sendRaw(bytes)
        }
        // One call takes some and returns, though there are more.
        var waiting: Int32 = 0
        #expect(peer.stream.received() == nil && errno == EAGAIN)
        #expect(ioctl(peer.stream.descriptor, UInt(FIONREAD), &waiting) == 0 && waiting > 0)
    }

    // MARK: Going on elsewhere

    /// The same connection, as another process would go on with it.
    private static func moved(_ stream: SocketStream) throws -> (SocketStream, opened: [UInt8]) {
        let (descriptor, tls, opened) = try #require(stream.suspend())
        let said = try #require(tls)
        #expect(!"\(said)".contains("8, 15"))
        return (try #require(SocketStream(descriptor, resuming: said)), opened)
    }

    @Test(arguments: CipherSuite.allCases)
    func `a connection goes on elsewhere in the middle of everything`(suite: CipherSuite) throws {
        var peer = try HandMade(suite)
        #expect(peer.stream.send([1]) == 1)
        peer.send([1])
        #expect(peer.stream.received() == [1])
        peer.send(Self.wantsAnswer, ContentType.handshake)
        peer.sealing.update()
        // A record of which a part was taken, one that was not opened, and half of one.
        let large = (0..<9000).map { UInt8(truncatingIfNeeded: $0) }
        peer.send(large)
        peer.send([2, 3])
        let last = RecordCipherTests.seal([4, 5], by: &peer.sealing)
        peer.sendRaw(Array(last[..<7]))
        #expect(peer.stream.received(10) == Array(large[..<10]))
        let (stream, opened) = try Self.moved(peer.stream)
        #expect(opened == Array(large[10...]))
        #expect(stream.hasPending)
        #expect(stream.received() == [2, 3])
        peer.sendRaw(Array(last[7...]))
        #expect(stream.received() == [4, 5])
        #expect(peer.receive() == [1, ContentType.data])
        #expect(stream.send([6]) == 1)
        #expect(peer.receive() == Self.wantsNone + [ContentType.handshake], "it is still owed")
        peer.opening.update()
        #expect(peer.receive() == [6, ContentType.data])
        // And once more, in the middle of nothing.
        let (again, rest) = try Self.moved(stream)
        #expect(rest == [] && !again.hasPending)
        peer.send([7])
        #expect(again.received() == [7])
    }

    @Test func `what was given away says no goodbye`() throws {
        var peer = try HandMade()
        let (stream, _) = try Self.moved(peer.stream)
        #expect(peer.receive() == nil)
        #expect(stream.send([1]) == 1)
        #expect(peer.receive() == [1, ContentType.data])
    }

    @Test func `who has failed or ended does not go on elsewhere`() throws {
        var peer = try HandMade()
        peer.send([2, 80], ContentType.alert)
        _ = peer.stream.received()
        #expect(peer.stream.suspend() == nil)
        var other = try HandMade()
        other.send([1, 0], ContentType.alert)
        #expect(other.stream.received() == [])
        #expect(other.stream.suspend() == nil)
    }

    @Test func `who holds a record does not go on elsewhere`() throws {
        let peer = try HandMade()
        clinux_set_option(peer.stream.descriptor, SOL_SOCKET, SO_SNDBUF, 4096)
        var bytes = [UInt8](repeating: 1, count: 100_000)
        while !peer.stream.holdsRecord {
            let count = bytes.withUnsafeMutableBytes { buffer in
                var piece = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
                return peer.stream.take(&piece, 1)
            }
            try #require(count > 0)
        }
        #expect(peer.stream.suspend() == nil)
    }
}
