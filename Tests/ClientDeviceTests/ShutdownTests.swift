// The end is announced: what was asked for before is answered as ever, what comes after is refused with ESHUTDOWN
// in the form that was agreed on, and those that another process goes on with are told nothing.

import BlockServer
import CLinux
import ClientDevice
import Glibc
import Logging
import NBDProtocol
import Reactor
import RemoteMemory
import ResiliencySet
import Testing

@Suite struct ShutdownTests {
    private typealias Bytes = HeldReplyTests

    private static let shutdown: UInt64 = 108

    /// A volume of two members, of which one is lost when a write is to wait.
    private struct Served {
        let thread: DataThread
        let volume = VolumeID(.random())
        let decisions: AsyncStream<MembershipDecision>

        init(_ limits: VolumeLimits = .none) async throws {
            let (decisions, sink) = AsyncStream<MembershipDecision>.makeStream()
            self.decisions = decisions
            thread = try DataThread(name: "data", log: Logger(label: "test"))
            thread.start()
            var setup = VolumeSetup(
                id: volume, name: "vol0", size: Bytes.size, ordering: .parallel, epoch: Epoch(1),
                patience: 60_000_000_000,
                active: [
                    MemberIndex(0): .mapped(try Bytes.region()),
                    MemberIndex(1): .mapped(try Bytes.region()),
                ], decisions: { sink.yield($1) })
            setup.limits = limits
            _ = await thread.add(setup)
        }

        func connect(_ form: MessageForm = .simple) async throws -> ShutdownClient {
            let client = try ShutdownClient(form)
            await thread.adopt(
                client.server, export: "vol0", terms: TransmissionTerms(form: form), received: [])
            return client
        }

        func end() async {
            await thread.remove(volume)
            thread.loop.stop()
        }
    }

    @Test(arguments: [MessageForm.simple, .structured, .extended])
    func `what is in flight is answered, and what comes after is refused`(
        form: MessageForm
    ) async throws {
        let served = try await Served()
        let client = try await served.connect(form)
        #expect(await !served.thread.lose(MemberIndex(1), of: served.volume))
        var iterator = served.decisions.makeAsyncIterator()
        let decision = try #require(await iterator.next())
        try client.send(CommandType.write, cookie: 1, bytes: Bytes.block)
        try await client.waitUntilReceived()

        #expect(await !served.thread.drain(announcing: true))
        try client.send(CommandType.read, cookie: 2, bytes: Bytes.block)
        // (What its payload says is no request either.)
        try client.send(CommandType.write, cookie: 3, bytes: Bytes.block)
        try client.send(CommandType.flush, cookie: 4, bytes: 0)
        try client.send(CommandType.blockStatus, cookie: 5, bytes: Bytes.block)
        for cookie in 2...5 as ClosedRange<UInt64> {
            #expect(try client.reply() == (Self.shutdown, cookie))
        }
        await served.thread.recorded(decision, of: served.volume, epoch: Epoch(2))
        #expect(try client.reply() == (0, 1))
        let counters = try #require(await served.thread.report(served.volume)?.counters)
        #expect(counters.writes == 1 && counters.reads == 0, "what is refused is not done")

        // It is closed when its client leaves.
        #expect(await !served.thread.drain(announcing: true))
        try client.send(CommandType.disconnect, cookie: 6, bytes: 0)
        #expect(client.isClosed())
        #expect(await served.thread.drain(announcing: true))
        await served.end()
    }

    @Test func `who stays is closed when the time for it is over`() async throws {
        let served = try await Served()
        let (idle, busy) = (try await served.connect(), try await served.connect())
        #expect(await !served.thread.drain(announcing: true))
        try busy.send(CommandType.read, cookie: 1, bytes: 1)
        #expect(try busy.reply() == (Self.shutdown, 1))
        #expect(await served.thread.drain())
        #expect(idle.isClosed() && busy.isClosed())
        // Who comes now comes too late.
        #expect(try await served.connect().isClosed())
        await served.end()
    }

    @Test func `without it nobody is told anything`() async throws {
        let served = try await Served(VolumeLimits(iops: 1))
        let client = try await served.connect()
        // (The second waits for the limit when the end comes.)
        for cookie in 1...2 as ClosedRange<UInt64> {
            try client.send(CommandType.flush, cookie: cookie, bytes: 0)
            try client.send(CommandType.trim, cookie: 10 + cookie, bytes: 1)
        }
        for cookie in [1, 11] as [UInt64] { #expect(try client.reply() == (0, cookie)) }
        #expect(await served.thread.drain())
        #expect(client.isClosed())
        await served.end()
    }

    @Test func `what waits for a limit is refused at once`() async throws {
        let served = try await Served(VolumeLimits(iops: 1))
        let client = try await served.connect()
        for cookie in 1...20 as ClosedRange<UInt64> {
            try client.send(CommandType.trim, cookie: cookie, bytes: 1)
        }
        #expect(try client.reply() == (0, 1))
        #expect(await !served.thread.drain(announcing: true))
        for cookie in 2...20 as ClosedRange<UInt64> {
            #expect(try client.reply() == (Self.shutdown, cookie))
        }
        await served.end()
    }

    @Test func `who has just chosen an export hears of it there`() async throws {
        let served = try await Served()
        let first = try await served.connect()
        #expect(await !served.thread.drain(announcing: true))
        let late = try await served.connect()
        #expect(await !served.thread.drain(announcing: true))
        try late.send(CommandType.read, cookie: 1, bytes: 1)
        #expect(try late.reply() == (Self.shutdown, 1))
        withExtendedLifetime(first) {}
        await served.end()
    }

    @Test func `those that stand are told nothing`() async throws {
        let served = try await Served()
        let client = try await served.connect()
        #expect(await served.thread.drain(handingOver: true, announcing: true))
        #expect(await served.thread.drain(handingOver: true))
        let standing = await served.thread.takeStanding()
        #expect(standing.count == 1)
        try client.send(CommandType.read, cookie: 1, bytes: 1)
        #expect(client.isSilent())
        for connection in standing { close(connection.descriptor) }
        await served.end()
    }
}

/// A client in one of the forms, and the server's end of its connection.
private final class ShutdownClient {
    let server: Int32
    private let descriptor: Int32
    private let form: MessageForm

    init(_ form: MessageForm) throws {
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        try #require(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        var time = timeval(tv_sec: 20, tv_usec: 0)
        setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
        (descriptor, server) = (ends[0], ends[1])
        self.form = form
    }

    deinit {
        close(descriptor)
    }

    /// Sends a request at offset 0; the payload of a write is made of disconnects.
    func send(_ type: UInt16, cookie: UInt64, bytes: Int) throws {
        var request = header(type, cookie, bytes)
        if type == CommandType.write {
            let trap = header(CommandType.disconnect, 99, 0)
            while request.count < form.requestHeaderSize + bytes { request += trap }
            request.removeLast(request.count - form.requestHeaderSize - bytes)
        }
        try #require(Glibc.send(descriptor, request, request.count, 0) == request.count)
    }

    private func header(_ type: UInt16, _ cookie: UInt64, _ bytes: Int) -> [UInt8] {
        guard form == .extended else {
            return HeldReplyTests.request(type, cookie: cookie, bytes: bytes)
        }
        // PAYLOAD_LEN, which says that the length is that of a payload.
        let flags: UInt16 = type == CommandType.write ? 1 << 5 : 0
        return HeldReplyTests.bigEndian(Wire.extendedRequestMagic)
            + HeldReplyTests.bigEndian(flags) + HeldReplyTests.bigEndian(type)
            + HeldReplyTests.bigEndian(cookie) + HeldReplyTests.bigEndian(UInt64(0))
            + HeldReplyTests.bigEndian(UInt64(bytes))
    }

    /// The error and the cookie of the next reply, which has no data.
    func reply() throws -> (error: UInt64, cookie: UInt64) {
        func integer(_ count: Int) throws -> UInt64 {
            HeldReplyTests.integer(try HeldReplyTests.receive(count, from: descriptor)[...])
        }
        let magic = try integer(4)
        guard form != .simple else {
            try #require(magic == UInt64(Wire.simpleReplyMagic))
            return (try integer(4), try integer(8))
        }
        let isExtended = form == .extended
        try #require(
            magic == UInt64(isExtended ? Wire.extendedReplyMagic : Wire.structuredReplyMagic))
        try #require(try integer(2) == 1, "it is one chunk")
        let type = try integer(2)
        let cookie = try integer(8)
        if isExtended { #expect(try integer(8) == 0, "the request's offset") }
        let length = Int(try integer(isExtended ? 8 : 4))
        let payload = try HeldReplyTests.receive(length, from: descriptor)
        guard type == UInt64(ChunkType.error.rawValue) else {
            try #require(type == UInt64(ChunkType.none.rawValue))
            return (0, cookie)
        }
        #expect(String(decoding: payload[6...], as: UTF8.self) == "the server is shutting down")
        return (HeldReplyTests.integer(payload[0..<4]), cookie)
    }

    /// Waits until the server's end has taken everything.
    func waitUntilReceived() async throws {
        var left: Int32 = 1
        while left > 0 {
            try #require(ioctl(server, UInt(FIONREAD), &left) == 0)
            await Task.yield()
        }
    }

    /// Whether it is closed, and nothing came before that.
    func isClosed() -> Bool {
        var byte: UInt8 = 0
        let count = recv(descriptor, &byte, 1, 0)
        // (A reset when something was sent that nobody took any more.)
        return count == 0 || (count < 0 && errno == ECONNRESET)
    }

    /// Whether nothing comes for a while.
    func isSilent() -> Bool {
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, 200) == 0
    }
}
