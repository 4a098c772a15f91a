// The fixed parts of replies, byte by byte as the specification writes them.

import NBDProtocol
import Testing

@Suite struct ReplyTests {
    private static let cookie = RequestHeader(RequestHeaderTests.golden.span.bytes).cookie
    private static let cookieBytes: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]

    private static func bytes(_ header: ReplyHeader) -> [UInt8] {
        withUnsafeBytes(of: header) { Array($0.prefix(header.count)) }
    }

    private static func place(isLast: Bool = true) -> ChunkPlace {
        ChunkPlace(cookie: cookie, requestOffset: 0x3132_3334_3536_3738, isLast: isLast)
    }

    /// A structured chunk's header, by hand.
    private static func structured(_ flags: UInt8, _ type: UInt16, _ length: UInt32) -> [UInt8] {
        [0x66, 0x8e, 0x33, 0xef, 0, flags, UInt8(type >> 8), UInt8(type & 255)] + cookieBytes
            + (0..<4).map { UInt8(truncatingIfNeeded: length >> (24 - 8 * $0)) }
    }

    /// An extended chunk's header, by hand.
    private static func extended(_ flags: UInt8, _ type: UInt16, _ length: UInt64) -> [UInt8] {
        [0x6e, 0x8a, 0x27, 0x8c, 0, flags, UInt8(type >> 8), UInt8(type & 255)] + cookieBytes
            + [0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x37, 0x38]
            + (0..<8).map { UInt8(truncatingIfNeeded: length >> (56 - 8 * $0)) }
    }

    @Test(
        arguments: [
            (.none, 0), (.notPermitted, 1), (.inputOutput, 5), (.outOfMemory, 12), (.invalid, 22),
            (.noSpace, 28), (.overflow, 75), (.notSupported, 95), (.shutdown, 108),
        ] as [(ErrorNumber, UInt8)])
    func `a simple reply`(error: ErrorNumber, number: UInt8) {
        #expect(
            Self.bytes(ReplyHeader(error, cookie: Self.cookie))
                == [0x67, 0x44, 0x66, 0x98, 0, 0, 0, number] + Self.cookieBytes)
        guard error != .none else { return }
        let content: [UInt8] = [0, 0, 0, number, 0, 9]
        #expect(
            Self.bytes(ReplyHeader(error, textCount: 9, Self.place(), .structured))
                == Self.structured(1, 0x8001, 15) + content)
        #expect(
            Self.bytes(ReplyHeader(error, textCount: 9, Self.place(), .extended))
                == Self.extended(1, 0x8001, 15) + content)
    }

    @Test func `the end of a reply without content`() {
        #expect(
            Self.bytes(ReplyHeader(done: Self.place(), .structured)) == Self.structured(1, 0, 0))
        #expect(Self.bytes(ReplyHeader(done: Self.place(), .extended)) == Self.extended(1, 0, 0))
    }

    @Test(arguments: [true, false])
    func `data and holes`(isLast: Bool) {
        let flags: UInt8 = isLast ? 1 : 0
        let offset: [UInt8] = [0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48]
        let start: UInt64 = 0x4142_4344_4546_4748
        let place = Self.place(isLast: isLast)
        #expect(
            Self.bytes(ReplyHeader(data: start, count: 4096, place, .structured))
                == Self.structured(flags, 1, 4104) + offset)
        #expect(
            Self.bytes(ReplyHeader(data: start, count: 4096, place, .extended))
                == Self.extended(flags, 1, 4104) + offset)
        #expect(
            Self.bytes(ReplyHeader(hole: start, count: 0x5152_5354, place, .structured))
                == Self.structured(flags, 2, 12) + offset + [0x51, 0x52, 0x53, 0x54])
        #expect(
            Self.bytes(ReplyHeader(hole: start, count: 0x5152_5354, place, .extended))
                == Self.extended(flags, 2, 12) + offset + [0x51, 0x52, 0x53, 0x54])
    }

    @Test func `the status of extents`() {
        #expect(
            Self.bytes(ReplyHeader(statusIn: 7, extents: 3, Self.place(), .structured))
                == Self.structured(1, 5, 28) + [0, 0, 0, 7])
        #expect(
            Self.bytes(ReplyHeader(statusIn: 7, extents: 3, Self.place(), .extended))
                == Self.extended(1, 6, 56) + [0, 0, 0, 7, 0, 0, 0, 3])
    }

    @Test func `a chunk belongs to no simple reply`() async {
        await #expect(processExitsWith: .failure) {
            let place = ChunkPlace(cookie: 0, requestOffset: 0, isLast: true)
            print(ReplyHeader(done: place, .simple))
        }
    }
}
