// Nothing is allocated between the bytes of a request and the bytes of its reply.
//
// The data thread serves a volume over three regions of three appliances, mapped or far away, to a client
// that has many requests in flight, while the allocations of that thread alone are counted.

import Appliance
import CAllocationCounter
import ClientDevice
import Glibc
import Logging
import NBDProtocol
import Reactor
import RemoteMemory
import SharedMemoryTransport
import TCPTransport
import Testing

/// Runs on the thread of a loop, to tell which it is.
private actor Probe {
    private nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }

    init(_ loop: EventLoop) { self.loop = loop }

    func watch() { allocation_counter_watch_this_thread() }
}

/// An appliance on a thread of its own, until it is let go of.
private final class RunningAppliance {
    private struct Box: @unchecked Sendable {
        let server: ApplianceServer
    }

    let connection: ApplianceConnection
    private let box: Box

    init(_ address: Address) throws {
        let box = Box(
            server: try ApplianceServer(
                name: "test", capacity: .mebibytes(128), addresses: [address], security: .local,
                memoryDirectory: nil))
        Reactor.Thread.detach(name: "appliance") { box.server.run() }
        self.box = box
        connection = try ApplianceConnection(
            address: box.server.addresses[0], security: .local)
    }

    deinit {
        box.server.stop()
    }

    func region(of size: ByteCount, owner: OwnerID) throws -> MemberMemory {
        let id = RegionID(.random())
        try connection.allocate(id, dataSize: size, populate: false)
        switch try connection.open(id, owner: owner, epoch: Epoch(1)) {
        case .descriptor(let descriptor, let description):
            return .mapped(
                try MappedRegion(
                    descriptor: descriptor, dataSize: size, isHuge: description.isHuge,
                    isWritable: true))
        case .key(let key, _):
            let channel = RegionChannel(try connection.attach(id, key: key), dataSize: size)
            return .remote(try RegionVisit(channel, within: 5000))
        }
    }
}

@Suite(.serialized) struct AllocationTests {
    static let size = ByteCount.mebibytes(64)
    /// Allocations that a run may have: a dictionary that grows once, not one a request.
    static let most: UInt64 = 10

    @Test(arguments: [1, 32, 128], Ordering.allCases)
    func `requests allocate nothing`(depth: Int, ordering: Ordering) async throws {
        let appliances = try (0..<3).map {
            try RunningAppliance(
                .unix(path: "/tmp/holdfast-allocation-\(getpid())-\(depth)-\(ordering)-\($0)"))
        }
        try await allocateNothing(appliances, depth, ordering, count: 20_000)
    }

    @Test(arguments: [1, 32, 128], Ordering.allCases)
    func `requests to members far away allocate nothing`(
        depth: Int, ordering: Ordering
    ) async throws {
        let appliances = try (0..<3).map { _ in
            try RunningAppliance(.tcp(host: "127.0.0.1", port: 0))
        }
        try await allocateNothing(appliances, depth, ordering, count: 5000)
    }

    // (Near ones: far members that are late are read around, which takes a buffer.)
    @Test(arguments: [1, 32])
    func `requests to an erasure set allocate nothing`(depth: Int) async throws {
        let appliances = try (0..<3).map {
            try RunningAppliance(
                .unix(path: "/tmp/holdfast-allocation-\(getpid())-striped-\(depth)-\($0)"))
        }
        let geometry = try StripeGeometry(dataShards: 2, parityShards: 1, size: Self.size)
        try await allocateNothing(appliances, depth, .parallel, stripes: geometry, count: 5000)
    }

    /// Of the snapshot as well; the limit is reached all the time, so that most requests wait in line.
    @Test(arguments: [1, 32])
    func `requests that wait for a limit allocate nothing`(depth: Int) async throws {
        let appliances = try (0..<2).map {
            try RunningAppliance(
                .unix(path: "/tmp/holdfast-allocation-\(getpid())-limited-\(depth)-\($0)"))
        }
        let limits = VolumeLimits(iops: 10_000)
        let owner = OwnerID(.random())
        let thread = try DataThread(name: "data", log: Logger(label: "test"))
        thread.start()
        defer { thread.loop.stop() }
        let volume = VolumeID(.random())
        var setup = VolumeSetup(
            id: volume, name: "vol0", size: Self.size, ordering: .parallel, epoch: Epoch(1),
            patience: 1_000_000_000,
            active: [MemberIndex(0): try appliances[0].region(of: Self.size, owner: owner)],
            decisions: { _, _ in })
        setup.limits = limits
        _ = await thread.add(setup)
        let key = SnapshotKey(volume: volume, name: "monday")
        await thread.add(
            try appliances[1].region(of: Self.size, owner: owner), as: key, export: "vol0@monday",
            size: Self.size, cutAt: Epoch(1), patience: 1_000_000_000, limits: limits)
        await Probe(thread.loop).watch()
        for export in ["vol0", "vol0@monday"] {
            var ends: [Int32] = [0, 0]
            let kind = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue)
            #expect(socketpair(AF_UNIX, kind, 0, &ends) == 0)
            await thread.adopt(ends[1], export: export, received: [])
            let client = PipelinedClient(descriptor: ends[0], depth: depth)
            let blocks = Self.size.bytes / UInt64(PipelinedClient.block)
            // (More than may begin at once, so that it waits from here on.)
            _ = client.run(CommandType.read, count: 1000, depth: depth, blocks: blocks)
            allocation_counter_start()
            let answered = client.run(CommandType.read, count: 3000, depth: depth, blocks: blocks)
            let allocations = allocation_counter_stop()
            #expect(answered >= 3000)
            if allocations > Self.most { allocation_counter_print() }
            #expect(allocations <= Self.most, "\(allocations) for \(answered) reads of \(export)")
        }
        await thread.remove(key)
        await thread.remove(volume)
        withExtendedLifetime(appliances) {}
    }

    private func allocateNothing(
        _ appliances: [RunningAppliance], _ depth: Int, _ ordering: Ordering,
        stripes: StripeGeometry? = nil, count most: Int
    ) async throws {
        let owner = OwnerID(.random())
        var active: [MemberIndex: MemberMemory] = [:]
        for (number, appliance) in appliances.enumerated() {
            active[MemberIndex(number)] = try appliance.region(
                of: stripes?.regionDataSize ?? Self.size, owner: owner)
        }
        let thread = try DataThread(name: "data", log: Logger(label: "test"))
        thread.start()
        defer { thread.loop.stop() }
        let volume = VolumeID(.random())
        var setup = VolumeSetup(
            id: volume, name: "vol0", size: Self.size, ordering: ordering, epoch: Epoch(1),
            patience: 1_000_000_000, active: active, decisions: { _, _ in })
        setup.stripes = stripes
        // (Nobody is given up for being slow on a busy machine.)
        setup.evictAfter = 20_000_000_000
        // What is changed is marked, as it is where there are snapshots.
        setup.cuts = [Epoch(1)]
        setup.changes = [
            SnapshotChanges(
                cut: Epoch(1), extentSize: .kibibytes(64), words: Array(repeating: 0, count: 16))
        ]
        _ = await thread.add(setup)
        var ends: [Int32] = [0, 0]
        #expect(
            socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0, &ends) == 0
        )
        await thread.adopt(ends[1], export: "vol0", received: [])
        await Probe(thread.loop).watch()

        let client = PipelinedClient(descriptor: ends[0], depth: depth)
        let count = depth == 1 ? 2000 : most
        let blocks = Self.size.bytes / UInt64(PipelinedClient.block)
        for type in [CommandType.write, CommandType.read] {
            let warm = client.run(type, count: 4 * depth, depth: depth, blocks: blocks)
            #expect(warm == 4 * depth)
            allocation_counter_start()
            let answered = client.run(type, count: count, depth: depth, blocks: blocks)
            let allocations = allocation_counter_stop()
            #expect(answered >= count)
            if allocations > Self.most { allocation_counter_print() }
            #expect(
                allocations <= Self.most,
                "\(allocations) for \(answered) requests of type \(type), \(depth) at once")
        }
        let marked = try #require(await thread.savedChanges(of: volume)?.first?.words)
        #expect(marked.contains { $0 != 0 })
        await thread.remove(volume)
        withExtendedLifetime(appliances) {}
    }

    @Test func `the counter sees an allocation`() {
        allocation_counter_watch_this_thread()
        allocation_counter_start()
        allocation_counter_allocate_once()
        #expect(allocation_counter_stop() == 1)
    }
}
