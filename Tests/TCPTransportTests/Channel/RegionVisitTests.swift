// A region's header is read before its thread has it, and what was put aside is finished.

import CLinux
import Glibc
import Reactor
import RemoteMemory
import TCPTransport
import Testing

@Suite struct RegionVisitTests {
    /// Answers a visit from an image of a region's header and takes what it stores.
    private final class Region: @unchecked Sendable {
        var header = [UInt8](repeating: 0, count: Int(RegionLayout.dataStart.bytes))
        var stored: [UInt64: [UInt8]] = [:]

        func store(_ words: [UInt64], at place: UInt64) {
            for (index, word) in words.enumerated() {
                withUnsafeBytes(of: word.littleEndian) { bytes in
                    for (position, byte) in bytes.enumerated() {
                        header[Int(place) + index * 8 + position] = byte
                    }
                }
            }
        }

        /// Serves one connection until it ends.
        func serve(_ end: FarEnd) {
            var entry = pollfd(fd: end.descriptor, events: Int16(POLLIN), revents: 0)
            while poll(&entry, 1, 2000) > 0 {
                let requests = end.requests()
                if requests.isEmpty, entry.revents & Int16(POLLHUP) != 0 { return }
                for request in requests { answer(request, end) }
            }
        }

        private func answer(_ request: SeenRequest, _ end: FarEnd) {
            if request.operation == .read, let segment = request.segments.first {
                let bytes = header[Int(segment.place)..<Int(segment.place) + Int(segment.count)]
                let isZero = bytes.allSatisfy { $0 == 0 }
                var rest = FarEnd.reply(
                    request.tag, .done, isZero ? .zeroes : .bytes, isZero ? [] : Array(bytes))[...]
                while !rest.isEmpty {
                    let piece = Array(rest.prefix(1 << 16))
                    let sent = send(end.descriptor, piece, piece.count, Int32(MSG_NOSIGNAL))
                    if sent > 0 { rest = rest.dropFirst(sent) } else { usleep(1000) }
                }
                return
            }
            var bytes = request.bytes[...]
            for segment in request.segments {
                stored[segment.place] = Array(bytes.prefix(Int(segment.count)))
                bytes = bytes.dropFirst(Int(segment.count))
            }
            end.reply(request.tag)
        }
    }

    private func visit(_ region: Region, _ body: (RegionVisit) throws -> Void) throws {
        let end = try FarEnd()
        let descriptor = dup(end.descriptor)
        defer { close(descriptor) }
        nonisolated(unsafe) let far = end
        let thread = UnsafeHolder(region, far)
        Thread.detach(name: "far-end") { thread.region.serve(thread.end) }
        try body(try RegionVisit(end.channel, within: 2000))
        end.channel.fail(.dropped)
    }

    private struct UnsafeHolder: @unchecked Sendable {
        let region: Region
        let end: FarEnd
        init(_ region: Region, _ end: FarEnd) {
            self.region = region
            self.end = end
        }
    }

    @Test func `labels, intents and maps are read as they stand`() throws {
        let region = Region()
        let label = RegionLabel(
            volume: VolumeID(Identifier(high: 1, low: 2)),
            region: RegionID(Identifier(high: 3, low: 4)), size: .mebibytes(64), epoch: Epoch(9))
        region.store((0..<RegionLabel.wordCount).map { label.words[$0] }, at: 0)
        let intent = Intent(
            epoch: Epoch(9), sequence: 5,
            range: ByteRange(start: ByteOffset(0), count: .kibibytes(4)), kind: .write)
        region.store(
            (0..<7).map { intent.words[$0] } + [5], at: RegionLayout.observerArea.start.bytes)
        try visit(region) { visit in
            let settled = try visit.finishRedo(within: 2000)
            #expect(settled == .zero)
            #expect(visit.readLabel() == label)
            #expect(
                visit.intentSlot(0) == IntentSlot(intent: intent, landed: true, completed: false))
            #expect(visit.intentSlot(1) == nil)
            #expect(visit.loadMap(of: MemberIndex(0), region: label.region) == nil)
        }
    }

    @Test func `a piece that was put aside is stored in place and its record cleared`() throws {
        let region = Region()
        let piece = ByteRange(start: ByteOffset(4096), count: .kibibytes(8))
        let record = RedoRecord(piece)
        region.store((0..<3).map { record.words[$0] }, at: RegionLayout.redoRecord.start.bytes)
        let aside = Int(RegionLayout.redoData.start.bytes)
        for index in 0..<8192 { region.header[aside + index] = UInt8(truncatingIfNeeded: index) }
        try visit(region) { visit in
            let settled = try visit.finishRedo(within: 2000)
            #expect(settled == .kibibytes(8))
            let again = try visit.finishRedo(within: 2000)
            #expect(again == .zero)
        }
        #expect(
            region.stored[RegionLayout.dataStart.bytes + 4096]
                == (0..<8192).map { UInt8(truncatingIfNeeded: $0) })
        #expect(region.stored[RegionLayout.redoRecord.start.bytes] != nil)
    }

    @Test func `an appliance that says nothing is given up`() throws {
        let end = try FarEnd()
        #expect(throws: ChannelFault.silent) { _ = try RegionVisit(end.channel, within: 20) }
        #expect(end.channel.fault == .silent)
    }
}
