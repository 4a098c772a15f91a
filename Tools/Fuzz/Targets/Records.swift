// What a peer says under TLS once its key is agreed on: records of any content, sealed with the right key or changed
// on their way, in any order. What was content arrives, to the byte, up to the first thing that ends the connection.

import CLinux
import Glibc
import Reactor

func fuzzRecords(_ input: [UInt8]) {
    var reader = InputReader(input)
    var peer = RecordPeer(CipherSuite.allCases[Int(reader.byte()) % CipherSuite.allCases.count])
    while !reader.isEmpty { peer.step(&reader) }
    peer.receive(room: 1 << 16)
    peer.receive(room: 1 << 16)
    guard peer.arrived == peer.said else {
        fatalError("\(peer.arrived.count) bytes arrived of \(peer.said.count), or others")
    }
}

/// A peer that keeps account of what it said, with the stream that it said it to.
private struct RecordPeer {
    private static let first = secret(1)
    private static let second = secret(2)

    private static func secret(_ seed: UInt8) -> [UInt8] { (0..<48).map { $0 &+ seed } }

    private var stream: SocketStream
    private let end: SocketEnd
    private let cipher: PeerCipher
    /// Content that the stream has to deliver, and what it delivered.
    private(set) var said: [UInt8] = []
    private(set) var arrived: [UInt8] = []
    /// Nothing that is said from now on counts: the connection is over, well or badly.
    private var isOver = false
    /// In which case the stream has to have failed when all is received.
    private var hasErred = false

    init(_ suite: CipherSuite) {
        let (end, other) = SocketEnd.pair()
        self.end = end
        for descriptor in [end.descriptor, other] {
            clinux_set_option(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, 4 << 20)
        }
        guard let there = TrafficSecret(suite, Array(Self.first.prefix(suite.secretSize))),
            let back = TrafficSecret(suite, Array(Self.second.prefix(suite.secretSize)))
        else { fatalError("a secret has its suite's size") }
        // (A short life, so that its end is reached.)
        stream = SocketStream(other, receiving: there, sending: back, keyLife: 3)
        cipher = PeerCipher(sealing: there, opening: back)
    }

    mutating func step(_ reader: inout InputReader) {
        switch reader.byte() & 15 {
        case 0...3: say(Self.content(&reader), padding: 0)
        case 4: say(Self.content(&reader), padding: Int(reader.byte()))
        case 5:
            send(cipher.seal([24, 0, 0, 1, reader.byte() & 1], ContentType.handshake))
            cipher.sealing.update()
        case 6:
            let description = reader.byte()
            send(cipher.seal([2, description], ContentType.alert))
            // (That its user has cancelled something ends nothing: RFC 8446 section 6.1.)
            if description != 90 { finish(badly: description != 0) }
        case 7:
            let type = reader.byte()
            let content = (0..<Int(reader.byte() & 7)).map { _ in reader.byte() }
            guard !Self.isUsual(type, content) else { return }
            send(cipher.seal(content, type))
            finish(badly: true)
        case 8:
            var record = cipher.seal(Self.content(&reader), ContentType.data)
            // (Not in the length, of which a change may make it half of a longer one.)
            let place = 5 + Int(reader.number(UInt16.self)) % (record.count - 5)
            record[place] ^= max(1, reader.byte())
            send(record)
            finish(badly: true)
        case 9:
            send((0...Int(reader.byte())).map { _ in reader.byte() })
            // (Whatever that was, nothing can be told of what follows it.)
            finish(badly: false)
            hasErred = false
        case 10...12: receive(room: 1 + Int(reader.number(UInt16.self)))
        case 13: moveElsewhere()
        default: answer(Int(reader.number(UInt16.self)) + 1)
        }
    }

    /// What may come, and has a case of its own.
    private static func isUsual(_ type: UInt8, _ content: [UInt8]) -> Bool {
        switch type {
        // (A type of zero is padding, and the type is what stands before it.)
        case 0, ContentType.data: true
        case ContentType.alert: content.count == 2
        case ContentType.handshake: content.count == 5 && content.prefix(4) == [24, 0, 0, 1]
        default: false
        }
    }

    private static func content(_ reader: inout InputReader) -> [UInt8] {
        let seed = reader.byte()
        let count = Int(reader.number(UInt16.self)) % (RecordCipher.largestContent - 256)
        return (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 3) &+ seed }
    }

    private mutating func say(_ content: [UInt8], padding: Int) {
        if padding == 0 {
            send(cipher.seal(content, ContentType.data))
        } else {
            send(
                cipher.seal(
                    content + [ContentType.data] + [UInt8](repeating: 0, count: padding - 1), 0))
        }
        if !isOver { said += content }
    }

    private mutating func finish(badly: Bool) {
        if !isOver { hasErred = badly }
        isOver = true
    }

    private mutating func send(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes {
                Glibc.send(end.descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if count > 0 {
                sent += count
            } else if errno == EAGAIN {
                let before = arrived.count
                receive(room: 1 << 16)
                // (A stream that is over takes nothing any more.)
                if isOver, arrived.count == before { return }
            } else {
                return
            }
        }
    }

    /// Has the stream receive all there is.
    mutating func receive(room: Int) {
        var bytes = [UInt8](repeating: 0, count: room)
        while true {
            let count = bytes.withUnsafeMutableBytes { buffer in
                buffer.baseAddress.map { stream.receive($0, room) } ?? 0
            }
            if count > 0 { arrived += bytes[..<count] }
            guard arrived.count <= said.count,
                said[..<arrived.count].suffix(max(0, count)).elementsEqual(
                    arrived.suffix(max(0, count)))
            else { fatalError("what arrived was not said") }
            guard count <= 0 else { continue }
            // (Each call takes a bounded number of records.)
            if count < 0, errno == EAGAIN, hasRest { continue }
            break
        }
        if hasErred, arrived.count == said.count, !hasRest, stream.failure == nil {
            fatalError("nothing was wrong with what may not come")
        }
    }

    /// Whether the descriptor has more.
    private var hasRest: Bool {
        var count: Int32 = 0
        return ioctl(stream.descriptor, UInt(FIONREAD), &count) == 0 && count > 0
            && stream.failure == nil && !isOver
    }

    private mutating func moveElsewhere() {
        guard let (descriptor, tls, opened) = stream.suspend() else { return }
        guard let tls, let moved = SocketStream(descriptor, resuming: tls) else {
            fatalError("what was said of a connection makes no sense")
        }
        stream = moved
        arrived += opened
    }

    /// Has the stream send, and opens what comes.
    private mutating func answer(_ count: Int) {
        var bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
        let sent = bytes.withUnsafeMutableBytes { buffer in
            var piece = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
            return stream.send(&piece, 1)
        }
        guard stream.failure == nil else { return }
        guard sent == count, cipher.open(all: end.descriptor) == bytes else {
            fatalError("\(sent) of \(count) bytes were sent, or others")
        }
    }
}

/// The peer's keys.
private final class PeerCipher {
    var sealing: RecordCipher
    private var opening: RecordCipher

    init(sealing: TrafficSecret, opening: TrafficSecret) {
        self.sealing = RecordCipher(sealing, seals: true)
        self.opening = RecordCipher(opening, seals: false)
    }

    func seal(_ content: [UInt8], _ type: UInt8) -> [UInt8] {
        var record = [UInt8](repeating: 0, count: RecordCipher.headerSize) + content
        record += [UInt8](repeating: 0, count: RecordCipher.overhead - RecordCipher.headerSize)
        _ = record.withUnsafeMutableBufferPointer { record in
            record.baseAddress.map { sealing.seal(type, $0, count: content.count) }
        }
        return record
    }

    /// The content of all records that have arrived; changes the key where it is told to.
    func open(all descriptor: Int32) -> [UInt8] {
        var content: [UInt8] = []
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = recv(descriptor, &buffer, buffer.count, 0), count > 0 {
            bytes += buffer[..<count]
        }
        while bytes.count >= RecordCipher.headerSize {
            let body = Int(bytes[3]) << 8 | Int(bytes[4])
            var record = Array(bytes.prefix(RecordCipher.headerSize + body))
            bytes.removeFirst(record.count)
            var place = [UInt8](repeating: 0, count: body)
            let count = record.withUnsafeMutableBufferPointer { record in
                place.withUnsafeMutableBufferPointer { place in
                    record.baseAddress.flatMap { record in
                        place.baseAddress.flatMap { opening.open(record, body: body, into: $0) }
                    }
                }
            }
            guard let count, count > 0 else { fatalError("a record that nobody can open") }
            switch place[count - 1] {
            case ContentType.data: content += place[..<(count - 1)]
            case ContentType.handshake: opening.update()
            default: break
            }
        }
        return content
    }
}
