// What an erasure set asks of an appliance beside reads and writes: copies within a region, and folds.

import Appliance
import RemoteMemory
import TCPTransport
import Testing

@Suite struct FoldTests {
    private static func place(_ offset: UInt64) -> [UInt8] {
        withUnsafeBytes(of: (RegionLayout.dataStart.bytes + offset).littleEndian) { Array($0) }
    }

    private static func parameters(_ chunk: UInt32, _ roles: UInt16, _ first: UInt16) -> [UInt8] {
        withUnsafeBytes(of: chunk.littleEndian) { Array($0) }
            + withUnsafeBytes(of: roles.littleEndian) { Array($0) }
            + withUnsafeBytes(of: first.littleEndian) { Array($0) }
    }

    // MARK: Copies

    @Test func `a copy takes what the segments before it stored`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let bytes = pattern(3, 10_000)
        let status = client.ask(
            .write,
            [.data(0, 10_000), .data(100_000, 9_000, .copy), .data(0, 4)],
            bytes + Self.place(500) + [1, 2, 3, 4])?.status
        #expect(status == .done)
        #expect(client.read(100_000, 9_000) == Array(bytes[500..<9_500]))
        #expect(client.read(0, 5) == [1, 2, 3, 4, bytes[4]])
    }

    @Test(arguments: [UInt64(0), 1, 511, 8191])
    func `a copy onto itself is refused, and nothing is touched`(distance: UInt64) throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let bytes = pattern(4, 20_000)
        #expect(client.write(bytes, at: 0) == .done)
        let status = client.ask(
            .write, [.data(0, 2), .data(8192 + distance, 8192, .copy)],
            [9, 9] + Self.place(8192))?.status
        #expect(status == .refused)
        #expect(client.read(0, 20_000) == bytes)
    }

    @Test func `a copy from or to a place outside of the data is refused`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let size = UInt64(1 << 20)
        let outside: [(target: AccessSegment, source: [UInt8])] = [
            (.data(0, 4096, .copy), Self.place(size - 100)),
            (.data(0, 4096, .copy), Self.place(.max - RegionLayout.dataStart.bytes - 10)),
            (.data(0, 4096, .copy), [0, 0, 0, 0, 0, 0, 0, 0]),
            (AccessSegment(place: 4096, count: 64, kind: .copy), Self.place(0)),
            (.data(size * 1000, 4096, .copy), Self.place(0)),
        ]
        for (target, source) in outside {
            #expect(client.ask(.write, [target], source)?.status == .refused)
        }
        #expect(client.read(0, 1) == [0])
    }

    @Test func `a copy without its place makes no sense`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        #expect(client.ask(.write, [.data(0, 4096, .copy)], [1, 2, 3])?.status == .malformed)
        #expect(client.isClosed)
    }

    // MARK: Folds

    /// The folds by the definition, a byte at a time.
    private static func folds(_ bytes: [UInt8], chunk: Int, roles: Int, first: Int) -> [UInt8] {
        var sums = [UInt8](repeating: 0, count: roles * Fold.size)
        for (index, byte) in bytes.enumerated() {
            let role = (first + index / chunk) % roles
            let place = role * Fold.size + index % Fold.block
            sums[place] ^= byte
            let weighted = UInt16(sums[place + Fold.block]) << 1
            sums[place + Fold.block] =
                UInt8(truncatingIfNeeded: weighted ^ (weighted > 0xff ? 0x11d : 0)) ^ byte
        }
        return sums
    }

    @Test(arguments: [(512, 3, 2), (4096, 6, 0), (16384, 14, 13), (131_072, 1, 0)])
    func `folds are the sums of chunks with the same role`(
        chunk: Int, roles: Int, first: Int
    ) throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached(.mebibytes(8))
        let bytes = pattern(5, chunk * 9)
        let place = UInt64(chunk * 2)
        #expect(client.write(bytes, at: place) == .done)
        // With what was never written around it.
        let all = [UInt8](repeating: 0, count: chunk) + bytes + [UInt8](repeating: 0, count: chunk)
        let reply = try #require(
            client.ask(
                .fold, [.data(place - UInt64(chunk), all.count)],
                Self.parameters(UInt32(chunk), UInt16(roles), UInt16(first))))
        #expect(reply.status == .done)
        let isRight =
            reply.body == Self.folds(all, chunk: chunk, roles: roles, first: first)
        #expect(isRight)
    }

    @Test func `nothing written folds to zeroes, and stays unwritten`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached(.mebibytes(4))
        let reply = try #require(
            client.ask(.fold, [.data(0, 4 << 20)], Self.parameters(16384, 6, 1)))
        #expect(reply.body == [UInt8](repeating: 0, count: 6 * Fold.size))
        #expect(client.ask(.read, [.data(0, 4 << 20)])?.content == .zeroes)
    }

    @Test(arguments: [
        (UInt32(0), UInt16(6), UInt16(0)), (100, 6, 0), (512, 0, 0), (512, 17, 0), (512, 6, 6),
        (3 << 19, 6, 0),
    ])
    func `folds that make no sense end the connection`(
        chunk: UInt32, roles: UInt16, first: UInt16
    ) throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        let reply = client.ask(
            .fold, [.data(0, 1 << 20)], Self.parameters(chunk, roles, first))
        #expect(reply?.status == .malformed)
        #expect(client.isClosed)
    }

    /// Of memory that is allocated up to a page's end, which is then within a block.
    @Test(arguments: [1, 32, 511, 513, 4095] as [UInt64])
    func `a fold that starts within a block ends the connection`(place: UInt64) throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        #expect(client.write(pattern(5, 4096), at: 0) == .done)
        let reply = client.ask(.fold, [.data(place, 4096)], Self.parameters(4096, 6, 0))
        #expect(reply?.status == .malformed)
        #expect(client.isClosed)
    }

    @Test func `folds of places outside of the data are refused`() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.attached()
        for segment in [
            AccessSegment(place: 0, count: 4096, kind: .bytes), .data(1 << 40, 4096),
        ] {
            let reply = client.ask(.fold, [segment], Self.parameters(4096, 6, 0))
            #expect(reply?.status == .refused)
        }
    }
}
