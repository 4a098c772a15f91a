// What clients write to members far away arrives there, and what they read is what they wrote.

import ClientDevice
import Glibc
import NBDProtocol
import Reactor
import RemoteMemory
import TCPTransport
import TestSupport
import Testing

@Suite(.serialized) struct FarMemberTests {
    private static let size = ByteCount.mebibytes(64)
    private static let largest = 32 << 20

    private static func pattern(_ seed: Int, _ count: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: $0 / 4096 &* 7 &+ $0 &* 31 &+ seed) }
    }

    /// More than any socket takes at once; for one member the data is sent twice, by way of the redo area.
    @Test(arguments: [3, 1])
    func `the largest write arrives on every member`(members: Int) async throws {
        let appliances = try (0..<members).map { _ in try LoopbackAppliance() }
        let volume = try await FarVolume(on: appliances, size: Self.size)
        let data = Self.pattern(members, Self.largest)
        #expect(volume.ask(CommandType.write, cookie: 1, at: 8192, data.count, data))
        #expect(try volume.reply() == 1)
        #expect(volume.ask(CommandType.read, cookie: 2, at: 8192, data.count))
        #expect(try volume.reply() == 2)
        #expect(try HeldReplyTests.receive(data.count, from: volume.client) == data)
        await volume.end()
    }

    /// Under TLS more may have come than one receive takes, which is taken in the same turn.
    @Test func `each of many reads under TLS has its own data`() async throws {
        let authority = try TestAuthority()
        let leaf = try authority.issue("leaf")
        let security = try PeerSecurity(
            key: nil,
            certificates: TLSCertificates(
                certificate: leaf.certificate, privateKey: leaf.privateKey,
                authority: authority.certificate))
        let appliance = try LoopbackAppliance(security: security)
        let volume = try await FarVolume(on: [appliance], size: Self.size)
        let piece = 12_288
        let count = 128
        for index in 0..<count {
            let data = [UInt8](repeating: UInt8(index + 1), count: piece)
            #expect(
                volume.ask(
                    CommandType.write, cookie: 0, at: index * piece, piece, data))
            #expect(try volume.reply() == 0)
        }
        for _ in 0..<20 {
            for index in 0..<count {
                #expect(
                    volume.ask(
                        CommandType.read, cookie: UInt64(index), at: index * piece, piece))
            }
            for _ in 0..<count {
                let index = Int(try volume.reply())
                let data = try HeldReplyTests.receive(piece, from: volume.client)
                try #require(data.allSatisfy { $0 == UInt8(index + 1) })
            }
        }
        await volume.end()
    }

    /// Its requests are answered, so the payloads that still wait to be sent are overwritten soon.
    @Test func `a set that another owner has sends nothing more`() async throws {
        let stuck = try StuckMember(Self.size)
        let volume = try await FarVolume([stuck.visit], size: Self.size)
        let data = Self.pattern(0, 4 << 20)
        #expect(volume.ask(CommandType.write, cookie: 1, data.count, data))
        while await volume.thread.report(volume.id)?.connections == 1,
            !(await hasStarted(volume))
        {
            await Task.yield()
        }
        await volume.thread.fence(volume.id)
        #expect(stuck.isCut(within: 3000))
        await volume.end()
    }

    /// The write was received whole: its reply is all that is missing.
    private func hasStarted(_ volume: FarVolume) async -> Bool {
        var left: Int32 = 0
        return ioctl(volume.client, UInt(TIOCOUTQ), &left) == 0 && left == 0
    }
}
