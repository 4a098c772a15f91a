// Headers and segments read back as they were written, byte by byte as the grammar says.

import TCPTransport
import Testing

@Suite struct MessageTests {
    private func bytes(_ words: (UInt64, UInt64)) -> [UInt8] {
        [words.0, words.1].flatMap { word in
            withUnsafeBytes(of: word) { Array($0) }
        }
    }

    @Test func `a request's header stands as the grammar says`() {
        let header = AccessRequestHeader(
            bodySize: 0x0403_0201, operation: .read, segmentCount: 0x0605,
            tag: 0x1817_1615_1413_1211)
        let wire = bytes(header.words)
        #expect(
            wire == [
                1, 2, 3, 4, 3, 0, 5, 6, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
            ])
        let read = AccessRequestHeader(wire.span.bytes)
        #expect(read.bodySize == header.bodySize)
        #expect(read.operation == header.operation)
        #expect(read.segmentCount == header.segmentCount)
        #expect(read.tag == header.tag)
    }

    @Test func `a segment stands as the grammar says`() {
        let segment = AccessSegment(place: 0x0807_0605_0403_0201, count: 0x0c0b_0a09, kind: .hole)
        let wire = bytes(segment.words)
        #expect(wire == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 2, 0, 0, 0])
        #expect(AccessSegment(wire.span.bytes) == segment)
    }

    @Test func `a reply's header stands as the grammar says`() {
        let header = AccessReplyHeader(
            bodySize: 0x0403_0201, status: .refused, content: .blocks, tag: 9)
        let wire = bytes(header.words)
        #expect(wire == [1, 2, 3, 4, 3, 3, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0])
        let read = AccessReplyHeader(wire.span.bytes)
        #expect(read.bodySize == header.bodySize)
        #expect(read.status == .refused)
        #expect(read.content == .blocks)
        #expect(read.tag == 9)
    }
}
