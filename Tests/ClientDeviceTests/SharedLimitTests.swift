// A volume's limit is one for its clients and those of its snapshots, whichever is served first; what there is goes
// round among the connections, however much one asks for at once and another one after the other.

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

extension DataThread {
    /// Takes over a client whose reads of a snapshot use up a limit and, in the same turn but 20 ms later, one that
    /// reads its volume; returns how many reads of the second were handled in it.
    func readsOfLatecomer(
        _ early: Int32, _ many: [UInt8], _ late: Int32, _ few: [UInt8], of volume: VolumeID
    ) -> Int {
        adopt(early, export: "vol0@monday", received: many)
        usleep(20_000)
        let before = report(volume)?.counters.reads ?? 0
        adopt(late, export: "vol0", received: few)
        return (report(volume)?.counters.reads ?? 0) - before
    }
}

extension HeldReplyTests {
    /// So many reads of a byte.
    fileprivate static func reads(_ count: Int) -> [UInt8] {
        (0..<UInt64(count)).flatMap { request(CommandType.read, cookie: $0, bytes: 1) }
    }
}

@Suite(.serialized) struct SharedLimitTests {
    private typealias Client = HeldReplyTests

    private static let replySize = Wire.simpleReplySize + 1

    /// A thread that serves a volume, its snapshot, or both.
    private struct Served {
        let thread: DataThread
        let volume = VolumeID(.random())

        init() throws {
            thread = try DataThread(name: "data", log: Logger(label: "test"))
            thread.start()
        }

        func addVolume(_ limits: VolumeLimits) async throws {
            var setup = VolumeSetup(
                id: volume, name: "vol0", size: Client.size, ordering: .parallel, epoch: Epoch(1),
                patience: 60_000_000_000, active: [MemberIndex(0): .mapped(try Client.region())],
                decisions: { _, _ in })
            setup.limits = limits
            _ = await thread.add(setup)
        }

        func addSnapshot(_ limits: VolumeLimits) async throws {
            await thread.add(
                .mapped(try Client.region()), as: SnapshotKey(volume: volume, name: "monday"),
                export: "vol0@monday", size: Client.size, cutAt: Epoch(1),
                patience: 60_000_000_000, limits: limits)
        }

        /// A client that has sent so many reads of a byte.
        func client(of export: String, reads: Int) async throws -> Int32 {
            let (client, server) = try SharedLimitTests.pair()
            await thread.adopt(server, export: export, received: [])
            let requests = Client.reads(reads)
            try #require(
                reads == 0 || send(client, requests, requests.count, 0) == requests.count)
            return client
        }

        func end(_ clients: Int32...) async {
            for client in clients { close(client) }
            await thread.remove(SnapshotKey(volume: volume, name: "monday"))
            await thread.remove(volume)
            thread.loop.stop()
        }
    }

    private static func pair() throws -> (client: Int32, server: Int32) {
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        try #require(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        var time = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        return (ends[0], ends[1])
    }

    /// How many replies have come that nobody has taken.
    private func replies(_ client: Int32) -> Int {
        var bytes: Int32 = 0
        return ioctl(client, UInt(FIONREAD), &bytes) == 0 ? Int(bytes) / Self.replySize : 0
    }

    /// How long all replies to so many reads take; since before they were asked for, so that it is never less.
    private func time(
        _ count: Int, since start: ContinuousClock.Instant, _ clients: Int32...
    ) throws -> Duration {
        for client in clients { _ = try Client.receive(count * Self.replySize, from: client) }
        return ContinuousClock.now - start
    }

    @Test(arguments: [true, false])
    func `a volume and its snapshot have one limit together`(snapshotFirst: Bool) async throws {
        let served = try Served()
        let limits = VolumeLimits(iops: 400)
        if snapshotFirst { try await served.addSnapshot(limits) }
        try await served.addVolume(limits)
        if !snapshotFirst { try await served.addSnapshot(limits) }
        let start = ContinuousClock.now
        let one = try await served.client(of: "vol0", reads: 150)
        let other = try await served.client(of: "vol0@monday", reads: 150)
        // (50 ms of it at once.)
        #expect(try time(150, since: start, one, other) >= .milliseconds(680))

        await served.thread.limit(served.volume, to: .none)
        let freed = ContinuousClock.now
        let free = try await served.client(of: "vol0@monday", reads: 4000)
        // (With the limit, 10 seconds.)
        #expect(try time(4000, since: freed, free) < .seconds(5))
        await served.end(one, other, free)
    }

    @Test func `a snapshot whose volume is not served has the limit all the same`() async throws {
        let served = try Served()
        try await served.addSnapshot(VolumeLimits(iops: 400))
        var start = ContinuousClock.now
        let client = try await served.client(of: "vol0@monday", reads: 200)
        #expect(try time(200, since: start, client) >= .milliseconds(430))
        await served.thread.limit(served.volume, to: VolumeLimits(iops: 200))
        start = .now
        let slow = try await served.client(of: "vol0@monday", reads: 100)
        #expect(try time(100, since: start, slow) >= .milliseconds(430))
        // What is set while it is served holds also for a volume that comes later.
        try await served.addVolume(.none)
        start = .now
        let late = try await served.client(of: "vol0", reads: 100)
        #expect(try time(100, since: start, late) >= .milliseconds(430))
        await served.end(client, slow, late)
    }

    @Test func `bytes of a snapshot are bytes of the limit`() async throws {
        let served = try Served()
        let limits = VolumeLimits(bandwidth: .mebibytes(1))
        try await served.addVolume(limits)
        try await served.addSnapshot(limits)
        let reader = try await served.client(of: "vol0@monday", reads: 0)
        let start = ContinuousClock.now
        let half = Client.request(CommandType.read, cookie: 1, bytes: 512 << 10)
        try #require(send(reader, half, half.count, 0) == half.count)
        _ = try Client.receive(Wire.simpleReplySize + 512 << 10, from: reader)
        let writer = try await served.client(of: "vol0", reads: 1)
        #expect(try time(1, since: start, writer) >= .milliseconds(430))
        await served.end(reader, writer)
    }

    @Test func `connections that ask for everything at once share alike`() async throws {
        let served = try Served()
        let limits = VolumeLimits(iops: 500)
        try await served.addVolume(limits)
        try await served.addSnapshot(limits)
        var clients: [Int32] = []
        for export in ["vol0", "vol0@monday", "vol0", "vol0@monday"] {
            clients.append(try await served.client(of: export, reads: 1000))
        }
        var counts: [Int] = []
        for _ in 0..<2000 where counts.reduce(0, +) < 400 {
            try await Task.sleep(for: .milliseconds(10))
            counts = clients.map(replies)
        }
        #expect(counts.reduce(0, +) >= 400)
        for count in counts { #expect(count >= 80, "\(counts)") }
        for client in clients { close(client) }
        await served.end()
    }

    /// What comes at the moment when something is free must not be what is taken.
    @Test func `who comes later waits behind those who wait`() async throws {
        let served = try Served()
        let limits = VolumeLimits(iops: 400)
        try await served.addVolume(limits)
        try await served.addSnapshot(limits)
        let (early, earlyEnd) = try SharedLimitTests.pair()
        let (late, lateEnd) = try SharedLimitTests.pair()
        // (The first takes 21 at once, and 8 are free 20 ms later.)
        let overtaking = await served.thread.readsOfLatecomer(
            earlyEnd, Client.reads(100), lateEnd, Client.reads(8), of: served.volume)
        #expect(overtaking == 0)
        // It has its turn all the same, long before the first is done.
        _ = try time(8, since: .now, late)
        #expect(replies(early) < 60)
        _ = try time(100, since: .now, early)
        await served.end(early, late)
    }
}
