// A set that another owner has: its clients are disconnected rather than told of an error, which would be
// final for them.

import CLinux
import ClientDevice
import Glibc
import Logging
import NBDProtocol
import Reactor
import RemoteMemory
import ResiliencySet
import Testing

@Suite struct SupersededTests {
    private typealias Client = HeldReplyTests

    /// A served volume and a client's end of a connection to it.
    private func serve() async throws -> (DataThread, VolumeID, client: Int32) {
        let thread = try DataThread(name: "data", log: Logger(label: "test"))
        thread.start()
        let volume = VolumeID(.random())
        _ = await thread.add(
            VolumeSetup(
                id: volume, name: "vol0", size: Client.size, ordering: .parallel, epoch: Epoch(1),
                patience: 60_000_000_000,
                active: [
                    MemberIndex(0): .mapped(try Client.region()),
                    MemberIndex(1): .mapped(try Client.region()),
                ],
                decisions: { _, _ in }))
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        try #require(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        await thread.adopt(ends[1], export: "vol0", received: [])
        return (thread, volume, ends[0])
    }

    /// All that comes until the connection ends.
    private func rest(of descriptor: Int32) -> [UInt8] {
        var received: [UInt8] = []
        var bytes = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = recv(descriptor, &bytes, bytes.count, 0)
            guard count > 0 else { return received }
            received += bytes.prefix(count)
        }
    }

    @Test func `a request that waits when the set is fenced gets no answer`() async throws {
        let (thread, volume, client) = try await serve()
        defer {
            thread.loop.stop()
            close(client)
        }
        // A write waits until the loss of a member is recorded; here, for good.
        #expect(await !thread.lose(MemberIndex(1), of: volume))
        let request =
            Client.request(CommandType.write, cookie: 7, bytes: Client.block)
            + [UInt8](repeating: 1, count: Client.block)
        try #require(send(client, request, request.count, 0) == request.count)
        while await thread.report(volume)?.counters.writes == 0, await !isHeld(thread, volume) {
            await Task.yield()
        }
        await thread.fence(volume)
        #expect(rest(of: client).isEmpty)
    }

    /// Whether the thread has had a turn since what was sent arrived.
    private func isHeld(_ thread: DataThread, _ volume: VolumeID) async -> Bool {
        for _ in 0..<20 { await thread.ping() }
        return true
    }

    @Test func `a request that comes later gets none either`() async throws {
        let (thread, volume, client) = try await serve()
        defer {
            thread.loop.stop()
            close(client)
        }
        let early = Client.request(CommandType.read, cookie: 1, bytes: Client.block)
        try #require(send(client, early, early.count, 0) == early.count)
        let reply = try Client.receive(Wire.simpleReplySize + Client.block, from: client)
        #expect(Client.integer(reply[8..<16]) == 1)
        await thread.fence(volume)
        let late = Client.request(CommandType.read, cookie: 2, bytes: Client.block)
        // (It may be disconnected before.)
        _ = send(client, late, late.count, Int32(MSG_NOSIGNAL))
        #expect(rest(of: client).isEmpty)
    }
}
