// Requests leave as the grammar says, in order, and whatever comes back does no harm.

import Glibc
import RemoteMemory
import TCPTransport
import Testing

@Suite struct RegionChannelTests {
    private static let start = RegionLayout.dataStart.bytes
    private static let slots = RegionLayout.observerArea.start.bytes

    private func intent(_ offset: UInt64, _ count: UInt64, sequence: UInt64 = 7) -> Intent {
        Intent(
            epoch: Epoch(3), sequence: sequence,
            range: ByteRange(start: ByteOffset(offset), count: ByteCount(count)), kind: .write)
    }

    private func range(_ start: UInt64, _ count: UInt64) -> ByteRange {
        ByteRange(start: ByteOffset(start), count: ByteCount(count))
    }

    // MARK: Out

    @Test func `a write is its intent, its data and its mark, in this order`() throws {
        let end = try FarEnd()
        let payload = (0..<4096).map { UInt8(truncatingIfNeeded: $0 * 7) }
        try payload.withUnsafeBytes { bytes in
            let data = RemotePayload(try #require(bytes.baseAddress))
            end.channel.recorder.write(slot: 2, intent(8192, 4096), from: data)
            end.channel.commitWrite(PendingAccess(1))
            end.channel.flush()
        }
        let slot = Self.slots + 128
        let seen = try #require(end.requests().first)
        #expect(seen.operation == .write)
        #expect(
            seen.segments == [
                AccessSegment(place: slot, count: 40, kind: .bytes),
                AccessSegment(place: slot + 48, count: 8, kind: .bytes),
                AccessSegment(place: Self.start + 8192, count: 4096, kind: .bytes),
                AccessSegment(place: slot + 56, count: 8, kind: .bytes),
            ])
        let words = intent(8192, 4096).words
        let record = [words[0], words[1], words[2], words[3], words[4], words[6]]
        #expect(
            seen.bytes == record.flatMap { Self.bytes($0) } + payload + Self.bytes(7))
    }

    private static func bytes(_ word: UInt64) -> [UInt8] {
        withUnsafeBytes(of: word.littleEndian) { Array($0) }
    }

    @Test func `many writes leave with their data, also through a socket that takes little`() throws
    {
        let end = try FarEnd(buffer: 4096)
        let payload = (0..<40_000).map { UInt8(truncatingIfNeeded: $0 * 31 + $0 / 256) }
        try payload.withUnsafeBytes { bytes in
            let base = try #require(bytes.baseAddress)
            for number in 0..<50 {
                end.channel.recorder.write(
                    slot: UInt8(number), intent(UInt64(number) << 16, 40_000 - UInt64(number)),
                    from: RemotePayload(base + number))
                end.channel.commitWrite(PendingAccess(UInt64(number)))
            }
            var seen: [SeenRequest] = []
            for _ in 0..<100_000 where seen.count < 50 {
                end.channel.flush()
                seen += end.requests()
            }
            #expect(seen.map(\.tag) == Array(0..<50))
            for (number, request) in seen.enumerated() {
                #expect(request.bytes[48..<(48 + 40_000 - number)] == payload[number...])
            }
        }
        #expect(end.rest == 0)
        #expect(!end.channel.hasUnsent)
    }

    @Test func `a write of more segments than a request has goes as several`() throws {
        let end = try FarEnd()
        for number in 0..<UInt64(600) {
            end.channel.recordZeroes(range(number * 8192, 4096), keepAllocated: false)
        }
        end.channel.commitWrite(PendingAccess(9))
        end.channel.flush()
        let seen = end.requests()
        #expect(seen.map { $0.segments.count } == [256, 256, 88])
        for request in seen { end.reply(request.tag) }
        // Only the last is anybody's business.
        #expect(end.completions().map(\.cookie) == [9])
    }

    @Test func `a part that is refused breaks the channel`() throws {
        let end = try FarEnd()
        for number in 0..<UInt64(300) {
            end.channel.recordZeroes(range(number * 8192, 4096), keepAllocated: true)
        }
        end.channel.commitWrite(PendingAccess(9))
        end.channel.flush()
        #expect(end.requests().first?.segments.first?.kind == .zeroes)
        end.reply(0, .failed)
        end.reply(1)
        #expect(end.completions().map(\.status) == [nil])
        #expect(end.channel.fault == .refused(.failed))
    }

    @Test func `what is larger than the arena has memory of its own`() throws {
        let end = try FarEnd()
        let words = [UInt64](repeating: 0x5a5a, count: RegionLayout.mapWordLimit)
        let region = RegionID(Identifier(high: 1, low: 2))
        for member in 0..<8 {
            end.channel.recorder.storeMap(
                of: MemberIndex(member), region: region,
                DirtyMapContent(extentSize: .kibibytes(256), words: words))
            end.channel.commitWrite(PendingAccess(UInt64(member)))
        }
        var seen: [SeenRequest] = []
        for _ in 0..<1000 where seen.count < 8 {
            end.channel.flush()
            seen += end.requests()
        }
        #expect(seen.count == 8)
        for request in seen {
            let count = request.bytes.count(where: { $0 == 0x5a })
            #expect(count == words.count * 2)
        }
    }

    // MARK: In

    @Test func `replies come one byte at a time, or many at once`() throws {
        let end = try FarEnd()
        for number in 0..<UInt64(20) { end.channel.read(range(0, 100), PendingAccess(number)) }
        end.channel.flush()
        #expect(end.requests().count == 20)
        let data = (0..<100).map { UInt8($0) }
        var all: [UInt8] = []
        for tag in 0..<UInt64(10) { all += FarEnd.reply(tag, .done, .bytes, data) }
        var taken: [UInt64] = []
        for byte in all {
            end.send([byte])
            for completion in end.completions() {
                #expect(completion.bytes == data)
                taken.append(completion.cookie)
            }
        }
        all = []
        for tag in 10..<UInt64(20) { all += FarEnd.reply(tag, .done, .zeroes) }
        end.send(all)
        taken += end.completions().map(\.cookie)
        #expect(taken == Array(0..<20))
        #expect(!end.channel.hasPending)
    }

    @Test func `everything that waits fails with the channel, once and in order`() throws {
        let end = try FarEnd()
        for number in 0..<UInt64(5) { end.channel.probe(PendingAccess(number)) }
        end.channel.flush()
        end.reply(0)
        #expect(end.completions().map(\.status) == [.done])
        shutdown(end.descriptor, Int32(SHUT_RDWR))
        let rest = end.completions()
        #expect(rest.map(\.cookie) == [1, 2, 3, 4])
        #expect(rest.allSatisfy { $0.status == nil })
        #expect(end.channel.fault == .closed)
        #expect(end.channel.nextCompletion() == nil)
    }

    @Test(arguments: [
        FarEnd.reply(1),  // not the oldest
        FarEnd.reply(0, .done, .bytes, [1, 2, 3]),  // fewer bytes than were asked for
        FarEnd.reply(0, .done, .nothing),  // no content of a read
        FarEnd.reply(0, .done, .zeroes, [0]),  // zeroes with bytes
        [0xff, 0xff, 0xff, 0xff] + [UInt8](repeating: 0, count: 12),  // larger than any
        [0, 0, 0, 0, 99, 0, 0, 0] + [UInt8](repeating: 0, count: 8),  // no such status
        [0, 0, 0, 0, 0, 99, 0, 0] + [UInt8](repeating: 0, count: 8),  // no such content
    ])
    func `a reply that makes no sense breaks the channel`(_ bytes: [UInt8]) throws {
        let end = try FarEnd()
        end.channel.read(range(0, 4096), PendingAccess(5))
        end.channel.flush()
        end.send(bytes)
        let taken = end.completions()
        #expect(taken.map(\.cookie) == [5])
        #expect(taken.first?.status == nil)
        #expect(end.channel.fault == .malformed)
    }

    @Test func `a reply that nobody asked for breaks the channel`() throws {
        let end = try FarEnd()
        end.reply(0)
        #expect(end.completions().isEmpty)
        #expect(end.channel.fault == .malformed)
    }

    @Test func `a refusal is told as it is`() throws {
        let end = try FarEnd()
        end.channel.read(range(0, 4096), PendingAccess(5))
        end.channel.flush()
        end.reply(0, .fenced)
        #expect(end.completions().map(\.status) == [.fenced])
    }

    @Test func `an access beside the region is a mistake of ours`() async {
        await #expect(processExitsWith: .failure) {
            let end = try FarEnd(dataSize: .mebibytes(2))
            end.channel.recordZeroes(
                ByteRange(start: ByteOffset(2 << 20), count: ByteCount(1)), keepAllocated: true)
        }
    }
}
