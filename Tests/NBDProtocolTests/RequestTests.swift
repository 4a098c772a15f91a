// Requests and replies, byte by byte as the specification writes them.

import NBDProtocol
import Testing

@Suite struct RequestHeaderTests {
    /// READ with FUA, cookie 01…08, offset 0x1112131415161718, length 0x21222324.
    static let golden: [UInt8] = [
        0x25, 0x60, 0x95, 0x13, 0x00, 0x01, 0x00, 0x00,
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0x21, 0x22, 0x23, 0x24,
    ]

    @Test func `every field is where the specification has it`() {
        let header = RequestHeader(Self.golden.span.bytes)
        #expect(header.magic == Wire.requestMagic)
        #expect(header.flags == .fua)
        #expect(header.type == CommandType.read)
        #expect(header.offset == 0x1112_1314_1516_1718)
        #expect(header.length == 0x2122_2324)
        #expect(withUnsafeBytes(of: header.cookie) { Array($0) } == [1, 2, 3, 4, 5, 6, 7, 8])
    }

    @Test(arguments: 0..<28)
    func `every byte belongs to one field`(position: Int) {
        var bytes = Self.golden
        bytes[position] ^= 0xff
        let right = RequestHeader(Self.golden.span.bytes)
        let header = RequestHeader(bytes.span.bytes)
        let changed = [
            header.magic != right.magic, header.flags != right.flags, header.type != right.type,
            header.cookie != right.cookie, header.offset != right.offset,
            header.length != right.length,
        ]
        let ends = [4, 6, 8, 16, 24, 28]
        let field = ends.firstIndex { position < $0 }
        #expect(changed.indices.filter { changed[$0] } == [field])
    }

    @Test func `it may stand anywhere, and what follows is not looked at`() {
        let bytes: [UInt8] = [0xee] + Self.golden + [0xee, 0xee]
        let header = RequestHeader(bytes.span.bytes.extracting(1..<31))
        #expect(header.magic == Wire.requestMagic)
        #expect(header.length == 0x2122_2324)
    }

    @Test func `less than a header is fatal`() async {
        await #expect(processExitsWith: .failure) {
            print(RequestHeader(Array(repeating: UInt8(0), count: 27).span.bytes))
        }
    }

    @Test(arguments: 0...255 as ClosedRange<UInt8>)
    func `only a write has a payload`(type: UInt8) {
        var bytes = Self.golden
        bytes[7] = type
        let header = RequestHeader(bytes.span.bytes)
        #expect(header.payloadSize == (type == 1 ? 0x2122_2324 : 0))
        bytes[6] = 1
        #expect(RequestHeader(bytes.span.bytes).payloadSize == 0)
    }
}

@Suite struct SimpleReplyTests {
    static func bytes(_ reply: SimpleReply) -> [UInt8] {
        withUnsafeBytes(of: reply) { Array($0) }
    }

    @Test(
        arguments: [
            (.none, 0), (.notPermitted, 1), (.inputOutput, 5), (.outOfMemory, 12), (.invalid, 22),
            (.noSpace, 28), (.overflow, 75), (.notSupported, 95), (.shutdown, 108),
        ] as [(ErrorNumber, UInt8)])
    func `it stands in memory as on the wire`(error: ErrorNumber, number: UInt8) {
        let header = RequestHeader(RequestHeaderTests.golden.span.bytes)
        let reply = SimpleReply(error, cookie: header.cookie)
        #expect(
            Self.bytes(reply)
                == [0x67, 0x44, 0x66, 0x98, 0, 0, 0, number, 1, 2, 3, 4, 5, 6, 7, 8])
        #expect(MemoryLayout<SimpleReply>.size == Wire.simpleReplySize)
    }
}
