// A client that shut its connection down may have sent its requests again elsewhere, and newer ones after
// them. What it left behind is not carried out: it would undo those.

import CLinux
import ClientDevice
import Glibc
import Logging
import NBDProtocol
import Reactor
import RemoteMemory
import ResiliencySet
import Testing

@Suite struct GoneClientTests {
    private typealias Client = HeldReplyTests

    /// More reads than a volume takes at a time.
    private static let crowd = 300
    /// Where the late write goes: allocated, so that what was there before can be told from it.
    private static let offset = UInt64(8 * Client.block)

    private func serve() async throws -> (DataThread, VolumeID, AsyncStream<MembershipDecision>) {
        let (decisions, sink) = AsyncStream<MembershipDecision>.makeStream()
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
                decisions: { sink.yield($1) }))
        return (thread, volume, decisions)
    }

    private func pair() throws -> (client: Int32, server: Int32) {
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        try #require(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        return (ends[0], ends[1])
    }

    private func send(_ bytes: [UInt8], to descriptor: Int32) throws {
        try #require(Glibc.send(descriptor, bytes, bytes.count, 0) == bytes.count)
    }

    private static func request(
        _ type: UInt16, cookie: UInt64, at offset: UInt64 = offset
    ) -> [UInt8] {
        var request = Client.request(type, cookie: cookie, bytes: Client.block)
        request.replaceSubrange(16..<24, with: Client.bigEndian(offset))
        return request
    }

    private static let lateWrite =
        request(CommandType.write, cookie: 9) + [UInt8](repeating: 0xEE, count: Client.block)

    /// The block that the late write was for.
    private func block(by client: Int32) throws -> [UInt8] {
        try send(Self.request(CommandType.read, cookie: 77), to: client)
        let reply = try Client.receive(Wire.simpleReplySize + Client.block, from: client)
        #expect(Client.integer(reply[8..<16]) == 77)
        return Array(reply[Wire.simpleReplySize...])
    }

    @Test func `what is unread when the client goes is not carried out`() async throws {
        let (thread, volume, _) = try await serve()
        defer { thread.loop.stop() }
        let (gone, old) = try pair()
        try send(Self.lateWrite, to: gone)
        #expect(shutdown(gone, Int32(SHUT_RDWR)) == 0)
        await thread.adopt(old, export: "vol0", received: [])
        var byte: UInt8 = 0
        while recv(gone, &byte, 1, 0) > 0 {}
        for _ in 0..<20 { await thread.ping() }

        let (client, server) = try pair()
        defer { close(client) }
        await thread.adopt(server, export: "vol0", received: [])
        #expect(try block(by: client) == [UInt8](repeating: 9, count: Client.block))
        close(gone)
        await thread.remove(volume)
    }

    @Test func `what waits for room when the client goes is not carried out`() async throws {
        let (thread, volume, decisions) = try await serve()
        defer { thread.loop.stop() }
        let (gone, old) = try pair()
        let (client, server) = try pair()
        defer { close(client) }
        await thread.adopt(server, export: "vol0", received: [])
        await thread.adopt(old, export: "vol0", received: [])

        // A write waits until the loss of a member is recorded, and reads of its range wait for the write.
        #expect(await !thread.lose(MemberIndex(1), of: volume))
        var iterator = decisions.makeAsyncIterator()
        let decision = try #require(await iterator.next())
        var crowd = Self.request(CommandType.write, cookie: 1, at: 0)
        crowd += [UInt8](repeating: 1, count: Client.block)
        for cookie in 2...UInt64(Self.crowd) {
            crowd += Self.request(CommandType.read, cookie: cookie, at: 0)
        }
        try send(crowd, to: client)
        try await allTaken(from: server)
        try send(Self.lateWrite, to: gone)
        try await allTaken(from: old)
        #expect(shutdown(gone, Int32(SHUT_RDWR)) == 0)

        await thread.recorded(decision, of: volume, epoch: Epoch(2))
        _ = try Client.receive(
            Wire.simpleReplySize + (Self.crowd - 1) * (Wire.simpleReplySize + Client.block),
            from: client)
        #expect(try block(by: client) == [UInt8](repeating: 9, count: Client.block))
        close(gone)
        await thread.remove(volume)
    }

    /// Waits until all that was sent has been received.
    private func allTaken(from server: Int32) async throws {
        var left: Int32 = 1
        while left > 0 {
            try #require(ioctl(server, UInt(FIONREAD), &left) == 0)
            await Task.yield()
        }
    }
}
