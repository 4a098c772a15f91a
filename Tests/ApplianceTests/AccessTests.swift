// The software communication interface, over a real socket: what is asked for is done in order and in
// whole, and what must not be is not.

import Appliance
import Foundation
import Glibc
import RemoteMemory
import TCPTransport
import Testing

@Suite struct AccessTests {
    static let block = 4096

    @Test func `what is written is read back, whatever is around it`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let bytes = pattern(1, 3 * Self.block)
        #expect(client.write(bytes, at: 5 * 4096) == .done)
        let read = try #require(client.read(4 * 4096, 5 * Self.block))
        #expect(read == Array(repeating: 0, count: 4096) + bytes + Array(repeating: 0, count: 4096))
        // Places and counts need no alignment.
        #expect(client.write([1, 2, 3], at: 4099) == .done)
        #expect(client.read(4098, 5) == [0, 1, 2, 3, 0])
        #expect(client.read(0, 0) == [])
    }

    @Test func `attaching tells the size of the data`() throws {
        let appliance = try RunningAppliance()
        let (connection, id, key) = try appliance.keyed(.mebibytes(3))
        let client = try AccessClient(appliance)
        client.send(
            AccessClient.words(
                AccessRequestHeader(
                    bodySize: 32, operation: .attach, segmentCount: 0, tag: 99
                ).words) + AccessClient.words((id.value.high, id.value.low))
                + AccessClient.words((key.high, key.low)))
        let reply = try #require(client.reply())
        #expect(reply.tag == 99)
        #expect(reply.status == .done)
        #expect(reply.body == [0, 0, 0x30, 0, 0, 0, 0, 0])
        _ = try connection.describe()
    }

    @Test func `a request may come byte by byte, and many may come at once`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let write = AccessClient.request(.write, tag: 3, [.data(0, 5)], [9, 8, 7, 6, 5])
        for byte in write { client.send([byte]) }
        #expect(client.reply()?.tag == 3)
        var all: [UInt8] = []
        for tag in 0..<200 as Range<UInt64> {
            all += AccessClient.request(.read, tag: tag * 2, [.data(tag % 5, 1)])
            all += AccessClient.request(.probe, tag: tag * 2 + 1)
        }
        client.send(all)
        for tag in 0..<200 as Range<UInt64> {
            let read = try #require(client.reply())
            #expect(read.tag == tag * 2)
            #expect(read.body == [UInt8(9 - tag % 5)])
            #expect(client.reply()?.tag == tag * 2 + 1)
        }
    }

    @Test func `half a request keeps nobody waiting, and touches nothing`() throws {
        let appliance = try RunningAppliance()
        let (_, id, key) = try appliance.keyed(.mebibytes(8))
        let slow = try AccessClient(appliance, id, key)
        let other = try AccessClient(appliance, id, key)
        let bytes = pattern(2, 4 << 20)
        let request = AccessClient.request(.write, tag: 1, [.data(0, bytes.count)], bytes)
        var start = 0
        for end in [1, 15, 16, 31, 40, request.count - 1] {
            slow.send(Array(request[start..<end]))
            start = end
            #expect(other.read(0, 4096) == Array(repeating: 0, count: 4096), "after \(end) bytes")
        }
        slow.send([request[request.count - 1]])
        #expect(slow.reply()?.status == .done)
        #expect(other.read(0, bytes.count) == bytes)
    }

    @Test func `words before the data are stored beside it`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let intent = pattern(3, 56)
        let data = pattern(4, 8192)
        let mark = pattern(5, 8)
        let segments = [
            AccessSegment(place: 4096, count: 56, kind: .bytes), .data(0, 8192),
            AccessSegment(place: 4096 + 56, count: 8, kind: .bytes),
            AccessSegment(place: 65_536, count: 3, kind: .bytes),
        ]
        #expect(client.ask(.write, segments, intent + data + mark + [1, 2, 3])?.status == .done)
        let slot = client.ask(.read, [AccessSegment(place: 4096, count: 64, kind: .bytes)])
        #expect(slot?.body == intent + mark)
        let aside = client.ask(.read, [AccessSegment(place: 65_535, count: 5, kind: .bytes)])
        #expect(aside?.body == [0, 1, 2, 3, 0])
        #expect(client.read(0, 8192) == data)
    }

    // MARK: Zeroes, holes

    @Test func `zeroes stay allocated and holes give back`() throws {
        let appliance = try RunningAppliance()
        let (connection, id, key) = try appliance.keyed(.mebibytes(32))
        let client = try AccessClient(appliance, id, key)
        let bytes = pattern(6, 20 << 20)
        #expect(client.write(bytes, at: 0) == .done)
        #expect(try connection.describe(id).resident == .mebibytes(20))
        // More than is done in one turn, and not at a boundary of anything.
        #expect(client.ask(.write, [.data(1000, 18 << 20, .zeroes)])?.status == .done)
        #expect(try connection.describe(id).resident == .mebibytes(20))
        var expected = bytes
        expected.replaceSubrange(1000..<1000 + 18 << 20, with: repeatElement(0, count: 18 << 20))
        #expect(client.read(0, bytes.count) == expected)
        #expect(client.ask(.write, [.data(0, 20 << 20, .hole)])?.status == .done)
        #expect(try connection.describe(id).resident == .zero)
        #expect(client.ask(.read, [.data(0, 20 << 20)])?.content == .zeroes)
    }

    @Test func `reading holes allocates nothing`() throws {
        let appliance = try RunningAppliance()
        let (connection, id, key) = try appliance.keyed(.mebibytes(8))
        let client = try AccessClient(appliance, id, key)
        let wholly = try #require(client.ask(.read, [.data(0, 8 << 20)]))
        #expect(wholly.content == .zeroes)
        #expect(wholly.body.isEmpty)
        // Every other block: more runs than a reply has pieces for.
        for block in stride(from: 0 as UInt64, to: 400, by: 2) {
            #expect(client.write([UInt8(block % 200 + 1)], at: block * 4096) == .done)
        }
        let before = try connection.describe(id).resident
        let read = try #require(client.read(0, 400 * Self.block))
        for block in 0..<400 {
            #expect(read[block * 4096] == (block % 2 == 0 ? UInt8(block % 200 + 1) : 0))
            #expect(read[block * 4096 + 1..<(block + 1) * 4096].allSatisfy { $0 == 0 })
        }
        _ = client.ask(.digest, [.data(0, 8 << 20)])
        _ = client.ask(.read, [AccessSegment(place: 0, count: 2 << 20, kind: .bytes)])
        #expect(try connection.describe(id).resident == before)
    }

    @Test func `a mask tells which blocks are allocated, and they alone are sent`() throws {
        let appliance = try RunningAppliance()
        let (connection, id, key) = try appliance.keyed(ByteCount(1 << 20))
        let client = try AccessClient(appliance, id, key)
        let (one, two) = (pattern(7, 2 * 4096), pattern(8, 4096))
        #expect(client.write(one, at: 66 * 4096) == .done)
        #expect(client.write(two, at: 127 * 4096) == .done)
        let reply = try #require(client.ask(.readAllocated, [.data(64 * 4096, 64 * 4096)]))
        #expect(reply.content == .blocks)
        #expect(Array(reply.body.prefix(8)) == [0b1100, 0, 0, 0, 0, 0, 0, 0x80])
        #expect(Array(reply.body.dropFirst(8)) == one + two)
        let none = try #require(client.ask(.readAllocated, [.data(0, 64 * 4096)]))
        #expect(none.content == .blocks)
        #expect(none.body == [UInt8](repeating: 0, count: 8))
        #expect(client.ask(.readAllocated, [.data(1, 4096)])?.status == .refused)
        #expect(client.ask(.readAllocated, [.data(0, 65 * 4096)])?.status == .refused)
        #expect(try connection.describe(id).resident == .kibibytes(12))
    }

    @Test func `a digest is the SHA-256 of what was written`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached(.mebibytes(8))
        let bytes = pattern(9, 5_000_000)
        #expect(client.write(bytes, at: 12_345) == .done)
        for (place, count) in [(12_345, 5_000_000), (0, 8 << 20), (12_345, 1), (0, 0)]
            as [(UInt64, Int)]
        {
            var whole = [UInt8](repeating: 0, count: 8 << 20)
            whole.replaceSubrange(12_345..<12_345 + bytes.count, with: bytes)
            let expected = try sha256(Array(whole[Int(place)..<Int(place) + count]))
            let reply = try #require(client.ask(.digest, [.data(place, count)]))
            #expect(reply.content == .bytes)
            #expect(reply.body.map { String(format: "%02x", $0) }.joined() == expected)
        }
    }

    private func sha256(_ bytes: [UInt8]) throws -> String {
        let directory = try TemporaryDirectory()
        let file = directory.path + "/bytes"
        try Data(bytes).write(to: URL(filePath: file))
        let process = Process()
        let output = Pipe()
        process.executableURL = URL(filePath: "/usr/bin/sha256sum")
        process.arguments = [file]
        process.standardOutput = output
        try process.run()
        let text = String(
            decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return String(text.prefix(64))
    }

    // MARK: What must not be

    @Test(
        arguments: [
            AccessSegment(place: .max, count: 1, kind: .bytes),
            AccessSegment(place: .max - 3, count: 8, kind: .bytes),
            AccessSegment(place: (2 << 20) + (1 << 20) - 1, count: 2, kind: .bytes),
            AccessSegment(place: (2 << 20) + (1 << 20) + 1, count: 0, kind: .bytes),
            AccessSegment(place: (2 << 20) - 4, count: 8, kind: .bytes),
            AccessSegment(place: 4096, count: 8, kind: .hole),
            AccessSegment(place: 4096, count: 8, kind: .zeroes),
            AccessSegment(place: 2 << 20, count: .max, kind: .zeroes),
            AccessSegment(place: 2 << 20, count: .max, kind: .hole),
        ])
    func `a place outside is refused, and nothing of the request is done`(
        _ segment: AccessSegment
    ) throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let good = pattern(10, 64)
        let count = segment.kind == .bytes ? Int(segment.count) : 0
        let reply = client.ask(
            .write, [.data(0, 64), segment], good + [UInt8](repeating: 1, count: count))
        #expect(reply?.status == .refused)
        if segment.kind == .bytes {
            #expect(client.ask(.read, [segment])?.status == .refused)
            #expect(client.ask(.digest, [segment])?.status == .refused)
        }
        #expect(client.ask(.read, [.data(0, 64)])?.content == .zeroes)
    }

    @Test func `what is too much for one request is refused`() throws {
        let appliance = try RunningAppliance(capacity: .mebibytes(80))
        let client = try appliance.attached(.mebibytes(64))
        let most = AccessWire.largestRead
        #expect(client.ask(.read, [.data(0, most)])?.content == .zeroes)
        #expect(client.ask(.read, [.data(0, most + 1)])?.status == .refused)
        #expect(client.ask(.digest, [.data(0, most + 1)])?.status == .refused)
    }

    /// Headers and what is behind them of which no sense can be made.
    static let malformed: [[UInt8]] = [
        [UInt8](repeating: 0, count: 16), [UInt8](repeating: 0xff, count: 16),
        [0, 0, 0, 0, 7, 0, 0, 0] + [UInt8](repeating: 0, count: 8),
        [0, 0, 0, 0, 6, 1, 0, 0] + [UInt8](repeating: 0, count: 8),
        // A body too large, segments too many, and more of them than the body has.
        [1, 0, 2, 2, 2, 0, 0, 0] + [UInt8](repeating: 0, count: 8),
        [0x10, 0x10, 0, 0, 2, 0, 1, 1] + [UInt8](repeating: 0, count: 8 + 0x1010),
        [16, 0, 0, 0, 2, 0, 2, 0] + [UInt8](repeating: 0, count: 24),
        // A probe with a body, a second attach, a read of two segments, of another kind, with bytes.
        [1, 0, 0, 0, 6, 0, 0, 0] + [UInt8](repeating: 0, count: 9),
        [32, 0, 0, 0, 1, 0, 0, 0] + [UInt8](repeating: 0, count: 40),
        AccessClient.request(.read, tag: 0, [.data(0, 1), .data(1, 1)]),
        AccessClient.request(.read, tag: 0, [.data(0, 1, .hole)]),
        AccessClient.request(.read, tag: 0, [.data(0, 1)], [1]),
        AccessClient.request(.read, tag: 0),
        // A write with too few bytes, too many, and a segment of no kind.
        AccessClient.request(.write, tag: 0, [.data(0, 2)], [1]),
        AccessClient.request(.write, tag: 0, [.data(0, 2)], [1, 2, 3]),
        AccessClient.request(.write, tag: 0, [.data(0, 0, .bytes)]).dropLast() + [9],
    ]

    @Test(arguments: malformed.indices)
    func `nonsense ends its connection, and nobody else notices`(_ index: Int) throws {
        let bytes = Self.malformed[index]
        let appliance = try RunningAppliance()
        let (_, id, key) = try appliance.keyed()
        let client = try AccessClient(appliance, id, key)
        let other = try AccessClient(appliance, id, key)
        let write = AccessClient.request(.write, tag: 1, [.data(0, 1)], [1])
        client.send(AccessClient.request(.probe, tag: 5) + bytes + write)
        #expect(client.reply()?.tag == 5)
        #expect(client.reply()?.status == .malformed)
        #expect(client.isClosed)
        #expect(other.read(0, 1) == [0], "what follows is not carried out")
    }

    @Test func `before it is attached a connection can do nothing`() throws {
        let appliance = try RunningAppliance()
        for operation in [AccessOperation.probe, .write, .read, .readAllocated, .digest] {
            let client = try AccessClient(appliance)
            let segments: [AccessSegment] = operation == .probe ? [] : [.data(0, 0)]
            #expect(client.ask(operation, segments)?.status == .malformed)
            #expect(client.isClosed)
        }
    }

    @Test func `who is silent in a request is cut off`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let idle = try appliance.attached()
        client.send([0, 0, 0])
        #expect(client.isClosed)
        #expect(idle.read(0, 1) == [0], "who has begun nothing may be silent")
    }

    // MARK: The bytes of a read are those of its moment

    @Test func `a read sees nothing of a write behind it`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let (old, new) = (pattern(11, 65_536), pattern(12, 65_536))
        for _ in 0..<20 {
            #expect(client.write(old, at: 0) == .done)
            client.send(
                AccessClient.request(.read, tag: 1, [.data(0, 65_536)])
                    + AccessClient.request(
                        .write, tag: 2, [.data(4096, 61_440)], Array(new.dropFirst(4096)))
                    + AccessClient.request(.read, tag: 3, [.data(0, 65_536)]))
            #expect(client.reply()?.body == old)
            #expect(client.reply()?.tag == 2)
            #expect(client.reply()?.body == Array(old.prefix(4096)) + Array(new.dropFirst(4096)))
        }
    }

    @Test func `each block of a read that is taken late is old or new`() throws {
        let appliance = try RunningAppliance(capacity: .mebibytes(40))
        let (_, id, key) = try appliance.keyed(.mebibytes(32))
        let reader = try AccessClient(appliance, id, key)
        let writer = try AccessClient(appliance, id, key)
        let old = pattern(13, 32 << 20)
        #expect(writer.write(old, at: 0) == .done)
        reader.send(AccessClient.request(.read, tag: 1, [.data(0, 32 << 20)]))
        // (Its first bytes tell that it was carried out.)
        let header = reader.receive(16)
        #expect(header.count == 16)
        let new = pattern(14, 32 << 20)
        #expect(writer.write(new, at: 0) == .done)
        let read = reader.receive(32 << 20)
        #expect(read.count == old.count)
        #expect(read.prefix(4096) == old.prefix(4096), "this much was on its way")
        for block in stride(from: 0, to: read.count, by: 4096) {
            let bytes = read[block..<block + 4096]
            guard bytes == old[block..<block + 4096] || bytes == new[block..<block + 4096] else {
                Issue.record("the block at \(block) is neither old nor new")
                return
            }
        }
    }
}
