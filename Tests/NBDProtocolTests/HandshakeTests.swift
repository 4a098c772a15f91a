// Handshake messages: each length is checked where it is used, and replies are what clients parse.

import NBDProtocol
import Testing

@Suite struct OptionHeaderTests {
    /// "IHAVEOPT", GO, 0x01020304 bytes.
    static let golden: [UInt8] = [
        0x49, 0x48, 0x41, 0x56, 0x45, 0x4f, 0x50, 0x54, 0, 0, 0, 7, 1, 2, 3, 4,
    ]

    @Test func `every field is where the specification has it`() throws {
        let read = OptionHeader(Self.golden.span)
        let header = try #require(read)
        #expect(header.magic == Wire.optionMagic)
        #expect(header.option == OptionType.go)
        #expect(header.length == 0x0102_0304)
    }

    @Test(arguments: 0..<16)
    func `less than a header is none`(count: Int) {
        #expect(OptionHeader(Array(Self.golden.prefix(count)).span) == nil)
    }

    @Test func `what follows is not looked at`() {
        #expect(OptionHeader((Self.golden + [9]).span)?.length == 0x0102_0304)
        #expect(Wire.optionHeaderSize == 16)
    }
}

@Suite struct InformationRequestTests {
    static func read(_ bytes: [UInt8]) -> InformationRequest? { InformationRequest(bytes.span) }

    /// Of "vol", asking for NAME and BLOCK_SIZE.
    static let golden: [UInt8] = [0, 0, 0, 3, 0x76, 0x6f, 0x6c, 0, 2, 0, 1, 0, 3]

    static func named(_ name: [UInt8]) -> [UInt8] {
        [0, 0, UInt8(name.count >> 8), UInt8(name.count & 0xff)] + name + [0, 0]
    }

    @Test func `a whole one is read`() throws {
        let request = try #require(Self.read(Self.golden))
        #expect(request.name == "vol")
        #expect(request.requests == [1, 3])
    }

    @Test func `nothing need be asked, and the name may be empty`() throws {
        let request = try #require(Self.read([0, 0, 0, 0, 0, 0]))
        #expect(request.name.isEmpty)
        #expect(request.requests.isEmpty)
    }

    @Test func `unknown and repeated requests are handed on`() throws {
        let request = try #require(Self.read([0, 0, 0, 0, 0, 3, 0xff, 0xff, 0, 3, 0, 3]))
        #expect(request.requests == [0xffff, 3, 3])
    }

    @Test func `as many requests as can be counted are read`() throws {
        let bytes = [0, 0, 0, 0, 0xff, 0xff] + Array(repeating: UInt8(0), count: 2 * 0xffff)
        #expect(Self.read(bytes)?.requests.count == 0xffff)
    }

    @Test(arguments: 0..<13)
    func `a shorter one is refused`(count: Int) {
        #expect(Self.read(Array(Self.golden.prefix(count))) == nil)
    }

    @Test(arguments: [[0], [0, 0], [0, 1, 0, 0]] as [[UInt8]])
    func `a longer one is refused`(tail: [UInt8]) {
        #expect(Self.read(Self.golden + tail) == nil)
    }

    @Test(arguments: [0, 1, 2, 4, 5, 6, 7, 8, 9, 10, 255] as [UInt8])
    func `a wrong length of the name is noticed`(length: UInt8) {
        var bytes = Self.golden
        bytes[3] = length
        #expect(Self.read(bytes) == nil)
    }

    @Test(arguments: 0..<3)
    func `a huge length of the name is noticed`(position: Int) {
        for value in [1, 0x7f, 0x80, 0xff] as [UInt8] {
            var bytes = Self.golden
            bytes[position] = value
            #expect(Self.read(bytes) == nil)
        }
    }

    @Test(arguments: [0, 1, 3, 4, 0xff, 0x100, 0x102, 0x7fff, 0x8000, 0xffff])
    func `a wrong count of requests is noticed`(count: Int) {
        var bytes = Self.golden
        bytes[7] = UInt8(count >> 8)
        bytes[8] = UInt8(count & 0xff)
        #expect(Self.read(bytes) == nil)
    }

    @Test func `a name has at most 4096 bytes`() {
        let longest = Array(repeating: UInt8(ascii: "x"), count: 4096)
        #expect(Self.read(Self.named(longest))?.name.utf8.count == 4096)
        #expect(Self.read(Self.named(longest + [0x78])) == nil)
    }

    @Test(
        arguments: [
            [0], [0x76, 0], [0, 0x76], [0x76, 0, 0x6c], [0x80], [0xff], [0xc3], [0xc3, 0x28],
            [0xc0, 0x80], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe2, 0x82],
        ] as [[UInt8]])
    func `a name without NUL and of valid UTF-8 is demanded`(name: [UInt8]) {
        #expect(Self.read(Self.named(name)) == nil)
    }

    @Test func `names may be of any language`() {
        #expect(Self.read(Self.named(Array("bände/名".utf8)))?.name == "bände/名")
    }
}

@Suite struct WireReaderTests {
    static let bytes: [UInt8] = Array(1...14)

    @Test func `integers are big-endian and follow each other`() {
        var reader = WireReader(Self.bytes.span)
        #expect(reader.uint16() == 0x0102)
        #expect(reader.uint32() == 0x0304_0506)
        #expect(reader.uint64() == 0x0708_090a_0b0c_0d0e)
        #expect(reader.isAtEnd == true)
    }

    @Test(arguments: 0...8)
    func `an integer that is not there as a whole is none`(count: Int) {
        let bytes = Array(Self.bytes.prefix(count))
        var two = WireReader(bytes.span)
        #expect((two.uint16() != nil) == (count >= 2))
        var four = WireReader(bytes.span)
        #expect((four.uint32() != nil) == (count >= 4))
        var eight = WireReader(bytes.span)
        #expect((eight.uint64() != nil) == (count >= 8))
    }

    @Test func `what was too short is still there`() {
        let bytes = Array(Self.bytes.prefix(3))
        var reader = WireReader(bytes.span)
        #expect(reader.uint32() == nil)
        #expect(reader.uint16() == 0x0102)
        #expect(reader.isAtEnd == false)
        #expect(reader.uint16() == nil)
        #expect(reader.isAtEnd == false)
    }

    @Test func `the end is the end`() {
        let bytes: [UInt8] = []
        var reader = WireReader(bytes.span)
        #expect(reader.isAtEnd == true)
        #expect(reader.uint16() == nil)
        #expect(reader.string(1) == nil)
        #expect(reader.string(0)?.isEmpty == true)
    }

    @Test func `strings are cut where told`() {
        let bytes = Array("volume".utf8)
        var reader = WireReader(bytes.span)
        #expect(reader.string(3) == "vol")
        #expect(reader.string(4) == nil)
        #expect(reader.string(3) == "ume")
        #expect(reader.isAtEnd == true)
    }

    @Test(arguments: [4097, 5000, Int(UInt32.max), .max])
    func `strings above the limit are refused, there or not`(count: Int) {
        let bytes = Array(repeating: UInt8(ascii: "x"), count: 5000)
        var reader = WireReader(bytes.span)
        #expect(reader.string(count) == nil)
        #expect(reader.string(4096)?.utf8.count == 4096)
    }
}

@Suite struct WireWriterTests {
    @Test func `integers are written big-endian`() {
        var bytes: [UInt8] = [9]
        bytes.append(wire: UInt8(0xfe))
        bytes.append(wire: UInt16(0x0102))
        bytes.append(wire: UInt32(0x0304_0506))
        bytes.append(wire: UInt64(0x0708_090a_0b0c_0d0e))
        #expect(bytes == [9, 0xfe] + WireReaderTests.bytes)
    }

    @Test(
        arguments: [
            (.ack, [0, 0, 0, 1]), (.server, [0, 0, 0, 2]), (.info, [0, 0, 0, 3]),
            (.errorUnsupported, [0x80, 0, 0, 1]), (.errorPolicy, [0x80, 0, 0, 2]),
            (.errorInvalid, [0x80, 0, 0, 3]), (.errorUnknown, [0x80, 0, 0, 6]),
            (.errorTooBig, [0x80, 0, 0, 9]),
        ] as [(OptionReplyType, [UInt8])])
    func `option replies are what clients parse`(type: OptionReplyType, number: [UInt8]) {
        let magic: [UInt8] = [0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9]
        var bytes: [UInt8] = []
        bytes.append(reply: type, to: 0x0a0b_0c0d, data: [7, 8, 9])
        #expect(bytes == magic + [0xa, 0xb, 0xc, 0xd] + number + [0, 0, 0, 3, 7, 8, 9])
        bytes = [5]
        bytes.append(reply: type, to: 0xffff_ffff)
        #expect(bytes == [5] + magic + [0xff, 0xff, 0xff, 0xff] + number + [0, 0, 0, 0])
    }
}
