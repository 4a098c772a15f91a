// A volume whose regions are mapped anew while clients have replies in the mappings of before.

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

@Suite struct GrowthTests {
    static let larger = ByteCount.mebibytes(5)
    /// Of 1 MiB each: more than any socket takes at once.
    static let reads: UInt64 = 24

    private let thread: DataThread
    private let volume = VolumeID(.random())
    private let regions: [MemberIndex: MappedRegion]
    private let client: Int32
    private let decisions: AsyncStream<MembershipDecision>

    init() async throws {
        let (decisions, sink) = AsyncStream<MembershipDecision>.makeStream()
        self.decisions = decisions
        thread = try DataThread(name: "data", log: Logger(label: "test"))
        thread.start()
        regions = [
            MemberIndex(0): try HeldReplyTests.region(),
            MemberIndex(1): try HeldReplyTests.region(),
        ]
        _ = await thread.add(
            VolumeSetup(
                id: volume, name: "vol0", size: HeldReplyTests.size, ordering: .parallel,
                epoch: Epoch(1), patience: 60_000_000_000,
                active: regions.mapValues { .mapped($0) }, decisions: { sink.yield($1) }))
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        try #require(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        client = ends[0]
        await thread.adopt(ends[1], export: "vol0", received: [])
    }

    private func end() async {
        close(client)
        await thread.remove(volume)
        thread.loop.stop()
    }

    private func growRegions() throws {
        let length = RegionLayout.regionSize(forDataOf: Self.larger)
        for region in regions.values {
            try #require(ftruncate(region.view.descriptor, off_t(length.bytes)) == 0)
        }
    }

    private func ask(
        _ type: UInt16, cookie: UInt64, at offset: UInt64, _ count: Int, _ payload: [UInt8] = []
    ) throws {
        let bytes =
            HeldReplyTests.bigEndian(Wire.requestMagic) + HeldReplyTests.bigEndian(UInt16(0))
            + HeldReplyTests.bigEndian(type) + HeldReplyTests.bigEndian(cookie)
            + HeldReplyTests.bigEndian(offset) + HeldReplyTests.bigEndian(UInt32(count)) + payload
        try #require(send(client, bytes, bytes.count, 0) == bytes.count)
    }

    /// The next reply's cookie and error.
    private func reply() throws -> (cookie: UInt64, error: UInt64) {
        let header = try HeldReplyTests.receive(Wire.simpleReplySize, from: client)
        return (
            HeldReplyTests.integer(header[8..<16]), HeldReplyTests.integer(header[4..<8])
        )
    }

    @Test func `what a client has not taken yet comes from where it was`() async throws {
        let size = Int(HeldReplyTests.size.bytes)
        for cookie in 1...Self.reads { try ask(CommandType.read, cookie: cookie, at: 0, size) }
        // (Some are on their way out, and the socket is full.)
        var waiting: Int32 = 0
        while waiting == 0 {
            try #require(ioctl(client, UInt(FIONREAD), &waiting) == 0)
            await Task.yield()
        }
        try growRegions()
        #expect(await thread.enlargeRegions(of: volume, to: Self.larger) == nil)
        let expected = HeldReplyTests.content(size)
        for cookie in 1...Self.reads {
            let reply = try reply()
            #expect(reply.cookie == cookie && reply.error == 0)
            try #require(try HeldReplyTests.receive(size, from: client) == expected)
        }
        await end()
    }

    @Test func `who is connected uses what is new from the moment on that it is recorded`()
        async throws
    {
        let place = HeldReplyTests.size.bytes - 4096
        let payload = [UInt8](repeating: 9, count: 8192)
        try ask(CommandType.write, cookie: 1, at: place, payload.count, payload)
        #expect(try reply() == (1, UInt64(ErrorNumber.noSpace.rawValue)))
        try growRegions()
        #expect(await thread.enlargeRegions(of: volume, to: Self.larger) == nil)
        #expect(await thread.beginGrowth(of: volume, to: Self.larger))
        #expect(await thread.isGrowing(volume))
        var iterator = decisions.makeAsyncIterator()
        let decision = try #require(await iterator.next())
        #expect(decision == .grow(to: Self.larger))
        await thread.recorded(decision, of: volume, epoch: Epoch(2))
        #expect(await !thread.isGrowing(volume))
        try ask(CommandType.write, cookie: 2, at: place, payload.count, payload)
        #expect(try reply() == (2, 0))
        try ask(CommandType.read, cookie: 3, at: place, payload.count)
        #expect(try reply() == (3, 0))
        #expect(try HeldReplyTests.receive(payload.count, from: client) == payload)
        try ask(CommandType.read, cookie: 4, at: Self.larger.bytes - 4096, 4096)
        #expect(try reply() == (4, 0))
        #expect(
            try HeldReplyTests.receive(4096, from: client) == [UInt8](repeating: 0, count: 4096))
        await end()
    }

    @Test func `regions that have not grown are no use, and nothing changes`() async throws {
        let problem = await thread.enlargeRegions(of: volume, to: Self.larger)
        #expect(problem?.contains("for a region of") == true)
        try ask(CommandType.read, cookie: 1, at: 0, 4096)
        #expect(try reply() == (1, 0))
        #expect(
            try HeldReplyTests.receive(4096, from: client) == HeldReplyTests.content(4096))
        await end()
    }
}
