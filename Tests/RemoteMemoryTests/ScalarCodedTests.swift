// Quantities and names in JSON: one number or string each, and nothing out of range comes in.

import Foundation
import RemoteMemory
import Testing

@Suite struct ScalarCodedTests {
    static func write(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }

    static func read<Value: Decodable>(_ type: Value.Type, _ text: String) throws -> Value {
        try JSONDecoder().decode(type, from: Data(text.utf8))
    }

    /// Checks both directions.
    static func check<Value: Codable & Equatable>(_ value: Value, _ text: String) throws {
        #expect(try write(value) == text)
        #expect(try read(Value.self, text) == value)
        #expect(try read([Value].self, "[\(text)]") == [value])
    }

    @Test(arguments: [0, 1, 4096, 0x20_0000_0000_0001, 1 << 63, .max] as [UInt64])
    func `quantities are numbers, exact to the last`(number: UInt64) throws {
        try Self.check(ByteCount(number), "\(number)")
        try Self.check(ByteOffset(number), "\(number)")
        try Self.check(Epoch(number), "\(number)")
    }

    @Test(arguments: [
        "-1", "18446744073709551616", "1.5", "\"1\"", "\"1K\"", "null", "true", "[1]", "[]", "{}",
        "{\"bytes\":1}", "",
    ])
    func `quantities that are no 64-bit numbers are refused`(text: String) {
        #expect(throws: DecodingError.self) { try Self.read(ByteCount.self, text) }
        #expect(throws: DecodingError.self) { try Self.read(ByteOffset.self, text) }
        #expect(throws: DecodingError.self) { try Self.read(Epoch.self, text) }
    }

    @Test(arguments: 0..<16)
    func `member indices are small numbers`(number: Int) throws {
        try Self.check(MemberIndex(number), "\(number)")
    }

    @Test(arguments: [
        "-1", "16", "256", "65536", "9223372036854775807", "9223372036854775808", "1.5", "\"1\"",
        "null", "{}",
    ])
    func `member indices out of range are refused`(text: String) {
        #expect(throws: DecodingError.self) { try Self.read(MemberIndex.self, text) }
    }

    @Test func `names are strings of 32 digits`() throws {
        let identifier = Identifier(high: 0x0123_4567_89ab_cdef, low: 1)
        let text = "\"0123456789abcdef0000000000000001\""
        try Self.check(identifier, text)
        try Self.check(RegionID(identifier), text)
        try Self.check(VolumeID(identifier), text)
        try Self.check(Incarnation(identifier), text)
        try Self.check(OwnerID(identifier), text)
    }

    @Test(arguments: [
        "\"\"", "\"0123456789abcdef000000000000001\"", "\"0123456789abcdef00000000000000001\"",
        "\"0123456789abcdefg000000000000001\"", "1", "null", "{}",
        "{\"value\":\"0123456789abcdef0000000000000001\"}", "[0,1]",
    ])
    func `names that are none are refused`(text: String) {
        #expect(throws: DecodingError.self) { try Self.read(Identifier.self, text) }
        #expect(throws: DecodingError.self) { try Self.read(RegionID.self, text) }
        #expect(throws: DecodingError.self) { try Self.read(VolumeID.self, text) }
        #expect(throws: DecodingError.self) { try Self.read(Incarnation.self, text) }
        #expect(throws: DecodingError.self) { try Self.read(OwnerID.self, text) }
    }

    @Test(arguments: 1...8)
    func `layouts are their names`(copies: Int) throws {
        try Self.check(Layout.mirror(copies: copies), "\"mirror:\(copies)\"")
    }

    @Test(arguments: [
        "\"mirror:0\"", "\"mirror:9\"", "\"mirror\"", "\"\"", "2", "null", "{\"mirror\":2}",
    ])
    func `layouts that cannot be served are refused`(text: String) {
        #expect(throws: DecodingError.self) { try Self.read(Layout.self, text) }
    }

    @Test func `a refusal tells what to write`() {
        func refusal<Value: Decodable>(_ type: Value.Type, _ text: String) -> String {
            do throws(any Error) {
                return "accepted: \(try Self.read(type, text))"
            } catch {
                return "\(error)"
            }
        }
        #expect(refusal(MemberIndex.self, "16").contains("a number in range"))
        #expect(refusal(VolumeID.self, "\"x\"").contains("32 hexadecimal digits"))
        #expect(refusal(Layout.self, "\"mirror:0\"").contains("mirror:N"))
    }

    @Test func `orderings and states are their names`() throws {
        try Self.check(Ordering.sequential, "\"sequential\"")
        try Self.check(MemberState.rebuilding, "\"rebuilding\"")
        #expect(throws: DecodingError.self) { try Self.read(MemberState.self, "\"gone\"") }
        #expect(throws: DecodingError.self) { try Self.read(Ordering.self, "\"random\"") }
    }
}
