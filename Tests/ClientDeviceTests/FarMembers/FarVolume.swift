// A volume on a data thread whose members are reached by messages: of appliances on threads of this
// process, or of an end that the test plays itself.

import Appliance
import CLinux
import ClientDevice
import Glibc
import Logging
import NBDProtocol
import Reactor
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport
import Testing

/// An appliance on loopback, until it is let go of.
final class LoopbackAppliance {
    private struct Box: @unchecked Sendable {
        let server: ApplianceServer
    }

    private let box: Box
    private let security: PeerSecurity

    init(security: PeerSecurity = .local) throws {
        let box = Box(
            server: try ApplianceServer(
                name: "far", capacity: .mebibytes(256),
                addresses: [.tcp(host: "127.0.0.1", port: 0)], security: security,
                memoryDirectory: nil))
        Reactor.Thread.detach(name: "appliance") { box.server.run() }
        self.box = box
        self.security = security
    }

    deinit { box.server.stop() }

    /// A fresh region, opened.
    func region(of size: ByteCount) throws -> RegionVisit {
        let connection = try ApplianceConnection(
            address: box.server.addresses[0], security: security)
        let region = RegionID(.random())
        try connection.allocate(region, dataSize: size, populate: false)
        let grant = try connection.open(region, owner: OwnerID(.random()), epoch: Epoch(1))
        guard case .key(let key, _) = grant else { throw ApplianceConnectionError.unreadable }
        let channel = RegionChannel(
            try connection.attach(region, key: key), dataSize: size)
        return try RegionVisit(channel, within: 5000)
    }
}

/// A member whose appliance takes nothing after its region was opened.
final class StuckMember {
    let visit: RegionVisit
    private let descriptor: Int32

    init(_ size: ByteCount) throws {
        var ends: [Int32] = [0, 0]
        try #require(
            socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0, &ends) == 0)
        descriptor = ends[1]
        try #require(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
        let far = ends[1]
        // The header is read in two parts: both are zeroes.
        Reactor.Thread.detach(name: "stuck") {
            for _ in 0..<2 {
                var request = [UInt8](repeating: 0, count: 32)
                guard recv(far, &request, request.count, Int32(MSG_WAITALL)) == 32 else {
                    return
                }
                let header = AccessRequestHeader(request.span.bytes)
                let reply = AccessReplyHeader(
                    bodySize: 0, status: .done, content: .zeroes, tag: header.tag
                ).words
                var words = [reply.0, reply.1]
                _ = send(far, &words, 16, Int32(MSG_NOSIGNAL))
            }
        }
        visit = try RegionVisit(
            RegionChannel(SocketStream(plain: ends[0]), dataSize: size), within: 5000)
    }

    deinit { close(descriptor) }

    /// Takes what was sent, until nothing comes for so many milliseconds; whether that was the end.
    func isCut(within milliseconds: Int32) -> Bool {
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, milliseconds) == 1 else { return false }
            if recv(descriptor, &piece, piece.count, 0) <= 0 { return true }
        }
    }
}

/// A volume with one client.
struct FarVolume {
    let thread: DataThread
    let id = VolumeID(.random())
    let client: Int32
    private let appliances: [LoopbackAppliance]

    /// A volume of fresh regions, one on each appliance.
    init(on appliances: [LoopbackAppliance], size: ByteCount) async throws {
        try await self.init(
            appliances.map { try $0.region(of: size) }, on: appliances, size: size)
    }

    init(
        _ members: [RegionVisit], on appliances: [LoopbackAppliance] = [], size: ByteCount,
        decisions: @escaping @Sendable (MembershipDecision) -> Void = { _ in }
    ) async throws {
        self.appliances = appliances
        thread = try DataThread(name: "data", log: Logger(label: "test"))
        thread.start()
        var active: [MemberIndex: MemberMemory] = [:]
        for (number, visit) in members.enumerated() {
            active[MemberIndex(number)] = .remote(visit)
        }
        var setup = VolumeSetup(
            id: id, name: "vol0", size: size, ordering: .parallel, epoch: Epoch(1),
            patience: 60_000_000_000, active: active, decisions: { decisions($1) })
        // (Far beyond what a busy machine takes: nobody is given up for being slow.)
        setup.evictAfter = 20_000_000_000
        _ = await thread.add(setup)
        var ends: [Int32] = [0, 0]
        try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
        try #require(fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0)
        client = ends[0]
        var time = timeval(tv_sec: 15, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            setsockopt(client, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
        }
        await thread.adopt(ends[1], export: "vol0", received: [])
    }

    /// Lets everything go.
    func end() async {
        close(client)
        await thread.remove(id)
        thread.loop.stop()
        withExtendedLifetime(appliances) {}
    }

    /// Sends a request; false when it is not taken in time.
    func ask(_ type: UInt16, cookie: UInt64, at offset: Int = 0, _ count: Int, _ data: [UInt8] = [])
        -> Bool
    {
        typealias Wire = HeldReplyTests
        let header =
            Wire.bigEndian(NBDProtocol.Wire.requestMagic) + Wire.bigEndian(UInt16(0))
            + Wire.bigEndian(type) + Wire.bigEndian(cookie) + Wire.bigEndian(UInt64(offset))
            + Wire.bigEndian(UInt32(count))
        let bytes = header + data
        var sent = 0
        while sent < bytes.count {
            let result = bytes.withUnsafeBytes {
                send(
                    client, $0.baseAddress?.advanced(by: sent), bytes.count - sent,
                    Int32(MSG_NOSIGNAL))
            }
            guard result > 0 else { return false }
            sent += result
        }
        return true
    }

    /// The cookie of the next reply, which must be no error.
    func reply() throws -> UInt64 {
        let header = try HeldReplyTests.receive(Wire.simpleReplySize, from: client)
        try #require(HeldReplyTests.integer(header[0..<4]) == UInt64(Wire.simpleReplyMagic))
        try #require(HeldReplyTests.integer(header[4..<8]) == 0)
        return HeldReplyTests.integer(header[8..<16])
    }
}
