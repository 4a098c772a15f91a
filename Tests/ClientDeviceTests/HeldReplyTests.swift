// Requests that waited in the engine are answered all at once, outside of their connection's turn: every
// reply finds room, whatever its size.

import CLinux
import ClientDevice
import Glibc
import Logging
import NBDProtocol
import Reactor
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import Testing

@Suite struct HeldReplyTests {
    static let size = ByteCount.mebibytes(1)
    static let block = 4096
    /// How many reads wait, a few less than a volume takes.
    static let reads = 200

    /// What the clients read: every other block is allocated, so that a reply has a piece for each.
    static func content(_ count: Int) -> [UInt8] {
        (0..<count).map { $0 / block % 2 == 0 ? UInt8(truncatingIfNeeded: $0 / block + 1) : 0 }
    }

    static func region() throws -> MappedRegion {
        // Close on exec, and allow sealing.
        let descriptor = clinux_memfd_create("test", 1 | 2)
        let length = RegionLayout.regionSize(forDataOf: size)
        try #require(descriptor >= 0 && ftruncate(descriptor, off_t(length.bytes)) == 0)
        try #require(clinux_seal(descriptor, F_SEAL_SHRINK) == 0)
        let region = try MappedRegion(
            descriptor: descriptor, dataSize: size, isHuge: false, isWritable: true)
        let content = content(Int(size.bytes))
        for start in stride(from: 0, to: content.count, by: 2 * block) {
            let range = ByteRange(
                start: ByteOffset(UInt64(start)), count: ByteCount(UInt64(block)))
            memset(region.view.bytes(range), Int32(content[start]), block)
        }
        return region
    }

    /// A member is lost: a write waits until that is recorded, and reads of its range wait for the write.
    @Test(arguments: [512, 4096, 12_288, 262_144, 1_048_576])
    func readsThatWaitedAreAllAnswered(bytes: Int) async throws {
        let (decisions, sink) = AsyncStream<MembershipDecision>.makeStream()
        let thread = try DataThread(name: "data", log: Logger(label: "test"))
        thread.start()
        defer { thread.loop.stop() }
        let volume = VolumeID(.random())
        let regions = [
            MemberIndex(0): try Self.region(), MemberIndex(1): try Self.region(),
        ]
        _ = await thread.add(
            VolumeSetup(
                id: volume, name: "vol0", size: Self.size, ordering: .parallel, epoch: Epoch(1),
                patience: 60_000_000_000, active: regions.mapValues { .mapped($0) },
                decisions: { sink.yield($1) }))
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        defer { close(ends[0]) }
        try #require(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        await thread.adopt(ends[1], export: "vol0", received: [])

        #expect(await !thread.lose(MemberIndex(1), of: volume))
        var iterator = decisions.makeAsyncIterator()
        let decision = try #require(await iterator.next())
        #expect(decision == .fail(MemberSet(MemberIndex(1))))

        let expected = Self.content(bytes)
        var requests = Self.request(CommandType.write, cookie: 0, bytes: Self.block)
        requests += [UInt8](repeating: expected[0], count: Self.block)
        for cookie in 1...UInt64(Self.reads) {
            requests += Self.request(CommandType.read, cookie: cookie, bytes: bytes)
        }
        try #require(send(ends[0], requests, requests.count, 0) == requests.count)
        // All is received, and the turn in which it was is over: no reply came before this.
        var left: Int32 = 1
        while left > 0 {
            try #require(ioctl(ends[1], UInt(FIONREAD), &left) == 0)
            await Task.yield()
        }
        #expect(await thread.report(volume)?.counters.reads == 0)

        await thread.recorded(decision, of: volume, epoch: Epoch(2))
        var answered: Set<UInt64> = []
        while answered.count <= Self.reads {
            let header = try Self.receive(Wire.simpleReplySize, from: ends[0])
            #expect(Self.integer(header[0..<4]) == UInt64(Wire.simpleReplyMagic))
            #expect(Self.integer(header[4..<8]) == 0)
            let cookie = Self.integer(header[8..<16])
            #expect(answered.insert(cookie).inserted, "each request is answered once")
            guard cookie > 0 else { continue }
            try #require(try Self.receive(bytes, from: ends[0]) == expected)
        }
        await thread.remove(volume)
    }

    // MARK: The client

    static func request(_ type: UInt16, cookie: UInt64, bytes: Int) -> [UInt8] {
        bigEndian(Wire.requestMagic) + bigEndian(UInt16(0)) + bigEndian(type) + bigEndian(cookie)
            + bigEndian(UInt64(0)) + bigEndian(UInt32(bytes))
    }

    static func bigEndian(_ value: some FixedWidthInteger) -> [UInt8] {
        withUnsafeBytes(of: value.bigEndian) { Array($0) }
    }

    static func integer(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reduce(0) { $0 << 8 | UInt64($1) }
    }

    static func receive(_ count: Int, from descriptor: Int32) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            let result = bytes.withUnsafeMutableBytes {
                recv(descriptor, $0.baseAddress?.advanced(by: received), count - received, 0)
            }
            try #require(result > 0, "the connection ended after \(received) of \(count) bytes")
            received += result
        }
        return bytes
    }
}
