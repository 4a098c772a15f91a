// Bytes arrive once, whole and in order, however little the sockets take and however the caller cuts
// what was refused when it offers it again.

import CLinux
import Glibc
import Reactor
import Testing

@Suite struct StreamFlowTests {
    /// Numbers that look random and are the same in each run.
    private struct Numbers: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var word = state
            word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
            word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
            return word ^ (word >> 31)
        }
    }

    /// One end: what it has to send and how far it is; what it awaits and how far that is.
    private struct End {
        let stream: SocketStream
        let outgoing: [UInt8]
        let incoming: [UInt8]
        var sent = 0
        var received = 0
        var refusals = 0
        var isRight = true

        var isDone: Bool { sent == outgoing.count && received == incoming.count }

        /// Offers what is next, up to a random end, cut into random pieces; returns whether any went.
        mutating func send(_ numbers: inout Numbers) -> Bool {
            guard sent < outgoing.count else { return false }
            let total = min(Int.random(in: 1...200_000, using: &numbers), outgoing.count - sent)
            let start = sent
            var bytes = Array(outgoing[start..<start + total])
            let count = bytes.withUnsafeMutableBytes { buffer in
                var pieces: [iovec] = []
                var offset = 0
                while offset < total, pieces.count < 20 {
                    let part = min(Int.random(in: 0...30_000, using: &numbers), total - offset)
                    pieces.append(
                        iovec(iov_base: buffer.baseAddress.map { $0 + offset }, iov_len: part))
                    offset += part
                }
                return pieces.withUnsafeMutableBufferPointer { pieces in
                    pieces.baseAddress.map { stream.send($0, pieces.count) } ?? 0
                }
            }
            if count < 0 {
                refusals += 1
                if errno != EAGAIN { isRight = false }
            }
            sent += max(count, 0)
            return count > 0
        }

        /// Receives into a random room; returns whether any came.
        mutating func receive(_ numbers: inout Numbers) -> Bool {
            let room = Int.random(in: 1...100_000, using: &numbers)
            var place = [UInt8](repeating: 0, count: room)
            let count = place.withUnsafeMutableBytes { buffer in
                buffer.baseAddress.map { stream.receive($0, room) } ?? 0
            }
            guard count > 0 else {
                if count == 0 || errno != EAGAIN { isRight = false }
                return false
            }
            guard received + count <= incoming.count else {
                isRight = false
                return false
            }
            let isSame = incoming.withUnsafeBytes { expected in
                place[..<count].elementsEqual(expected[received..<received + count])
            }
            isRight = isRight && isSame
            received += count
            return true
        }

        /// What to wait for before going on.
        var entry: pollfd {
            let events = sent < outgoing.count ? POLLIN | POLLOUT : POLLIN
            return pollfd(fd: stream.descriptor, events: Int16(events), revents: 0)
        }
    }

    /// Moves `size` bytes both ways at once; returns how often a send was refused.
    private static func exchange(_ pair: StreamPair, _ size: Int, seed: UInt64) throws -> Int {
        var numbers = Numbers(state: seed)
        func content() -> [UInt8] {
            [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
                for index in 0..<size / 8 {
                    buffer.withMemoryRebound(to: UInt64.self) { $0[index] = numbers.next() }
                }
                count = size
            }
        }
        let (there, back) = (content(), content())
        var ends = [
            End(stream: pair.server, outgoing: there, incoming: back),
            End(stream: pair.client, outgoing: back, incoming: there),
        ]
        while !ends.allSatisfy(\.isDone), ends.allSatisfy(\.isRight) {
            var moved = false
            for index in ends.indices {
                if ends[index].send(&numbers) { moved = true }
                if Bool.random(using: &numbers), ends[index].receive(&numbers) { moved = true }
            }
            if moved || ends.contains(where: \.stream.hasPending) { continue }
            var entries = ends.map(\.entry)
            try #require(poll(&entries, 2, 10_000) > 0, "nobody has anything to wait for")
        }
        for end in ends {
            #expect(end.isRight && end.isDone)
        }
        return ends.map(\.refusals).reduce(0, +)
    }

    private static func pair(isEncrypted: Bool) throws -> StreamPair {
        guard isEncrypted else { return try StreamPair(server: nil, client: nil) }
        let pair = try TLSKeyTests.pair()
        try #require(pair.shake() == .init())
        return pair
    }

    private static func shrink(_ pair: StreamPair, to size: Int32) {
        for stream in [pair.server, pair.client] {
            clinux_set_option(stream.descriptor, SOL_SOCKET, SO_SNDBUF, size)
            clinux_set_option(stream.descriptor, SOL_SOCKET, SO_RCVBUF, size)
        }
    }

    @Test(arguments: [false, true])
    func `20 MB go both ways through tiny sockets`(isEncrypted: Bool) throws {
        let pair = try Self.pair(isEncrypted: isEncrypted)
        Self.shrink(pair, to: 4096)
        let refusals = try Self.exchange(pair, 20 << 20, seed: 1)
        #expect(refusals > 100, "the sockets were full again and again")
    }

    @Test(arguments: [false, true])
    func `20 MB go both ways through sockets as they are`(isEncrypted: Bool) throws {
        let pair = try Self.pair(isEncrypted: isEncrypted)
        _ = try Self.exchange(pair, 20 << 20, seed: 2)
    }

    @Test func `a refused record goes once, whatever is offered behind it`() throws {
        let pair = try Self.pair(isEncrypted: true)
        Self.shrink(pair, to: 4096)
        var sent = 0
        let whole = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 / 251) }
        while true {
            let count = pair.client.send(Array(whole[sent..<sent + 16384]))
            guard count > 0 else { break }
            sent += count
        }
        #expect(errno == EAGAIN)
        // Of the record that was refused, now only one byte is offered, then all the rest.
        var arrived: [UInt8] = []
        while arrived.count <= sent {
            arrived += pair.server.received() ?? []
            if pair.client.send([whole[sent]]) == 1 { break }
        }
        sent += 1
        while sent < whole.count {
            sent += max(pair.client.send(Array(whole[sent...])), 0)
            arrived += pair.server.received() ?? []
        }
        while let more = pair.server.received(), !more.isEmpty { arrived += more }
        #expect(arrived == whole)
    }

    @Test func `what waits inside is told of`() throws {
        let pair = try Self.pair(isEncrypted: true)
        #expect(pair.client.send([UInt8](repeating: 5, count: 100)) == 100)
        #expect(pair.server.received(10)?.count == 10)
        #expect(pair.server.hasPending, "the descriptor will tell nothing of the other 90")
        #expect(pair.server.received()?.count == 90)
        #expect(!pair.server.hasPending)
    }

    @Test func `part of a record is nothing to go on with`() throws {
        let (one, middle) = try StreamPair.descriptors()
        let (otherMiddle, other) = try StreamPair.descriptors()
        let server = try SocketStream(one, tls: TLSContext(key: TLSKeyTests.key))
        let client = try SocketStream(
            other, tls: TLSContext(key: TLSKeyTests.key).connecting(to: "x"))
        func pass(_ from: Int32, _ to: Int32, atMost limit: Int = 65536) {
            var bytes = [UInt8](repeating: 0, count: limit)
            let count = read(from, &bytes, limit)
            if count > 0 { #expect(write(to, bytes, count) == count) }
        }
        for _ in 0..<5 {
            _ = try client.handshake()
            pass(otherMiddle, middle)
            _ = try server.handshake()
            pass(middle, otherMiddle)
        }
        #expect(client.send([UInt8](repeating: 5, count: 100)) == 100)
        #expect(client.send([UInt8](repeating: 6, count: 100)) == 100)
        pass(otherMiddle, middle, atMost: 150)
        #expect(server.received(100)?.count == 100)
        _ = server.received(100)
        #expect(!server.hasPending, "whoever went on would spin")
        pass(otherMiddle, middle)
        #expect(server.received() == [UInt8](repeating: 6, count: 100))
        close(middle)
        close(otherMiddle)
    }
}
