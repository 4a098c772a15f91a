// Nobody keeps a data thread to itself: a connection with much to do gives way after a bounded piece of it, and
// one that does not take its replies, or whose export goes, costs a bounded amount of memory and no time.

import CLinux
import ClientDevice
import Foundation
import Glibc
import Logging
import NBDProtocol
import Reactor
import RemoteMemory
import ResiliencySet
import Testing

extension DataThread {
    /// Takes over two connections in one turn; returns how many reads were handled in it for each.
    func readsInOneTurn(
        _ greedy: Int32, _ many: [UInt8], _ modest: Int32, _ one: [UInt8], of volume: VolumeID
    ) -> (greedy: Int, modest: Int) {
        let before = report(volume)?.counters.reads ?? 0
        adopt(greedy, export: "vol0", received: many)
        let between = report(volume)?.counters.reads ?? 0
        adopt(modest, export: "vol0", received: one)
        return (between - before, (report(volume)?.counters.reads ?? 0) - between)
    }
}

@Suite struct FairnessTests {
    private typealias Client = HeldReplyTests

    private struct Served {
        let thread: DataThread
        let volume = VolumeID(.random())
        let decisions: AsyncStream<MembershipDecision>

        init(limits: VolumeLimits = .none) async throws {
            let (decisions, sink) = AsyncStream<MembershipDecision>.makeStream()
            self.decisions = decisions
            thread = try DataThread(name: "data", log: Logger(label: "test"))
            thread.start()
            var setup = VolumeSetup(
                id: volume, name: "vol0", size: Client.size, ordering: .parallel, epoch: Epoch(1),
                patience: 60_000_000_000,
                active: [
                    MemberIndex(0): .mapped(try Client.region()),
                    MemberIndex(1): .mapped(try Client.region()),
                ], decisions: { sink.yield($1) })
            setup.limits = limits
            _ = await thread.add(setup)
        }

        func end() async {
            await thread.remove(volume)
            thread.loop.stop()
        }
    }

    private func pair() throws -> (client: Int32, server: Int32) {
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        try #require(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        var time = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        return (ends[0], ends[1])
    }

    private func reads(_ count: Int, of bytes: Int) -> [UInt8] {
        (1...UInt64(count)).flatMap { Client.request(CommandType.read, cookie: $0, bytes: bytes) }
    }

    @Test(arguments: [(1, 257), (4096, 228), (1 << 20, 8)])
    func `a turn handles a bounded piece, and everything is answered in the end`(
        bytes: Int, most: Int
    ) async throws {
        let served = try await Served()
        let (greedy, greedyEnd) = try pair()
        let (modest, modestEnd) = try pair()
        let total = bytes > 4096 ? 30 : 2000
        let handled = await served.thread.readsInOneTurn(
            greedyEnd, reads(total, of: bytes), modestEnd, reads(1, of: 1), of: served.volume)
        #expect(handled.greedy <= most)
        #expect(handled.greedy > 0)
        #expect(handled.modest == 1, "the other has its turn before the first is done")
        for _ in 0..<total {
            _ = try Client.receive(Wire.simpleReplySize + bytes, from: greedy)
        }
        _ = try Client.receive(Wire.simpleReplySize + 1, from: modest)
        close(greedy)
        close(modest)
        await served.end()
    }

    @Test func `requests wait for a limit, and none is lost`() async throws {
        let served = try await Served(limits: VolumeLimits(iops: 400))
        let (client, server) = try pair()
        let start = ContinuousClock.now
        let handled = await served.thread.readsInOneTurn(
            server, reads(200, of: 1), try pair().server, [], of: served.volume)
        // (50 ms of the limit at once.)
        #expect(handled.greedy <= 21)
        for _ in 0..<200 { _ = try Client.receive(Wire.simpleReplySize + 1, from: client) }
        #expect(ContinuousClock.now - start >= .milliseconds(440))
        await served.thread.limit(served.volume, to: .none)
        let free = try pair()
        let unlimited = await served.thread.readsInOneTurn(
            free.server, reads(200, of: 1), try pair().server, [], of: served.volume)
        #expect(unlimited.greedy == 200)
        close(client)
        close(free.client)
        await served.end()
    }

    @Test func `who waits for an export that goes is disconnected, and does not hang`() async throws
    {
        let served = try await Served()
        let (client, server) = try pair()
        await served.thread.adopt(server, export: "vol0", received: [])
        #expect(await !served.thread.lose(MemberIndex(1), of: served.volume))
        var iterator = served.decisions.makeAsyncIterator()
        _ = try #require(await iterator.next())
        // A write waits until the loss is recorded, which it never will be, and a read waits for the write.
        var requests = Client.request(CommandType.write, cookie: 1, bytes: Client.block)
        requests += [UInt8](repeating: 1, count: Client.block) + reads(1, of: Client.block)
        try #require(send(client, requests, requests.count, 0) == requests.count)
        var left: Int32 = 1
        while left > 0 {
            try #require(ioctl(server, UInt(FIONREAD), &left) == 0)
            await Task.yield()
        }
        await served.thread.remove(served.volume)
        var byte = [UInt8](repeating: 0, count: 4096)
        var count = 1
        while count > 0 { count = recv(client, &byte, byte.count, 0) }
        #expect(count == 0 || errno == ECONNRESET, "closed, and not silent")

        // Whoever comes when it is gone is closed as well.
        let (late, lateEnd) = try pair()
        await served.thread.adopt(lateEnd, export: "vol0", received: [])
        #expect(recv(late, &byte, 1, 0) == 0)
        close(client)
        close(late)
        served.thread.loop.stop()
    }

    /// In bytes.
    private static var residentMemory: Int {
        let text = (try? String(contentsOfFile: "/proc/self/statm", encoding: .utf8)) ?? ""
        return (text.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0) * 4096
    }

    @Test func `a client that takes no replies costs a bounded amount of memory`() async throws {
        let bytes = 32 << 20
        let volume = try await FarVolume(
            on: [LoopbackAppliance(), LoopbackAppliance()], size: .mebibytes(32))
        let data = [UInt8](repeating: 7, count: bytes)
        #expect(volume.ask(CommandType.write, cookie: 0, bytes, data))
        _ = try volume.reply()
        let before = Self.residentMemory
        // More than half a gibibyte of replies, none of which is taken.
        for cookie in 0..<20 {
            #expect(volume.ask(CommandType.read, cookie: UInt64(cookie), bytes))
        }
        var reads = -1
        while true {
            let now = await volume.thread.report(volume.id)?.counters.reads ?? 0
            if now == reads { break }
            reads = now
            try await Task.sleep(for: .milliseconds(500))
        }
        #expect(reads <= 4, "\(reads) of 20 were read ahead")
        #expect(Self.residentMemory - before < 300 << 20)
        // It is only slow: when it takes them, they all come.
        for _ in 0..<20 {
            _ = try volume.reply()
            _ = try HeldReplyTests.receive(bytes, from: volume.client)
        }
        await volume.end()
    }
}
