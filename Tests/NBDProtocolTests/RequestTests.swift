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
        #expect(header.payloadSize(.simple) == (type == 1 ? 0x2122_2324 : 0))
        bytes[6] = 1
        #expect(RequestHeader(bytes.span.bytes).payloadSize(.simple) == 0)
    }
}

@Suite struct ExtendedRequestHeaderTests {
    /// TRIM with FUA and PAYLOAD_LEN, cookie 01…08, offset 0x11…18, length 0x21…28.
    static let golden: [UInt8] = [
        0x21, 0xe4, 0x1c, 0x71, 0x00, 0x21, 0x00, 0x04,
        0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08,
        0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18,
        0x21, 0x22, 0x23, 0x24, 0x25, 0x26, 0x27, 0x28,
    ]

    @Test func `every field is where the specification has it`() {
        let header = RequestHeader(Self.golden.span.bytes, .extended)
        #expect(header.magic == Wire.extendedRequestMagic)
        #expect(header.flags == [.fua, .payloadLength])
        #expect(header.type == CommandType.trim)
        #expect(header.offset == 0x1112_1314_1516_1718)
        #expect(header.length == 0x2122_2324_2526_2728)
    }

    @Test(arguments: 0...9 as ClosedRange<UInt8>)
    func `the flag says whether there is a payload, and a write always has one`(type: UInt8) {
        var bytes = Self.golden
        bytes[7] = type
        #expect(
            RequestHeader(bytes.span.bytes, .extended).payloadSize(.extended)
                == 0x2122_2324_2526_2728)
        bytes[5] = 0x01
        #expect(
            RequestHeader(bytes.span.bytes, .extended).payloadSize(.extended)
                == (type == 1 ? 0x2122_2324_2526_2728 : 0))
    }

    @Test func `less than a header is fatal`() async {
        await #expect(processExitsWith: .failure) {
            print(RequestHeader(Array(repeating: UInt8(0), count: 31).span.bytes, .extended))
        }
    }
}
