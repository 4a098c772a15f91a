// Keys and records as the example of RFC 8448 section 3 has them, and what becomes of records that are changed.

import Reactor
import Testing

@Suite struct RecordCipherTests {
    /// Bytes as they are written in the specification.
    static func bytes(_ digits: String) -> [UInt8] {
        var rest = digits.filter { !$0.isWhitespace }[...]
        var bytes: [UInt8] = []
        while let byte = UInt8(rest.prefix(2), radix: 16) {
            bytes.append(byte)
            rest = rest.dropFirst(2)
        }
        return bytes
    }

    /// A secret of a suite, made up.
    static func secret(_ suite: CipherSuite, _ seed: UInt8 = 1) throws -> TrafficSecret {
        try #require(
            TrafficSecret(suite, (0..<UInt8(suite.secretSize)).map { $0 &* 7 &+ seed }))
    }

    /// The record that seals this content, as one to be sent.
    static func seal(
        _ content: [UInt8], _ type: UInt8 = ContentType.data, by cipher: inout RecordCipher
    ) -> [UInt8] {
        var record = [UInt8](repeating: 0, count: content.count + RecordCipher.overhead)
        record.replaceSubrange(
            RecordCipher.headerSize..<RecordCipher.headerSize + content.count, with: content)
        let count = record.withUnsafeMutableBufferPointer { record in
            record.baseAddress.map { cipher.seal(type, $0, count: content.count) } ?? 0
        }
        #expect(count == record.count)
        return record
    }

    /// What is in a record: content, type, padding; nil when it is not genuine.
    static func open(_ record: [UInt8], by cipher: inout RecordCipher) -> [UInt8]? {
        var record = record
        let body = record.count - RecordCipher.headerSize
        var content = [UInt8](repeating: 0, count: body)
        let count = record.withUnsafeMutableBufferPointer { record in
            content.withUnsafeMutableBufferPointer { content in
                record.baseAddress.flatMap { record in
                    content.baseAddress.flatMap { cipher.open(record, body: body, into: $0) }
                }
            }
        }
        return count.map { Array(content[..<$0]) }
    }

    private static let server = bytes(
        "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643")
    private static let client = bytes(
        "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5")
    private static let record = bytes(
        """
        1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b\
        62974e1f5a6292a2977014bd1e3deae63aeebb21694915e4
        """)

    @Test func `keys are derived as in the example`() throws {
        let server = try #require(TrafficSecret(.aes128GCM, Self.server))
        #expect(server.key == Self.bytes("9f02283b6c9c07efc26bb9f2ac92e356"))
        #expect(server.initialVector == Self.bytes("cf782b88dd83549aadf1e984"))
        let client = try #require(TrafficSecret(.aes128GCM, Self.client))
        #expect(client.key == Self.bytes("17422dda596ed5d9acd890e3c63f5051"))
        #expect(client.initialVector == Self.bytes("5b78923dee08579033e523d9"))
    }

    @Test func `the client's first record is that of the example`() throws {
        let secret = try #require(TrafficSecret(.aes128GCM, Self.client))
        var sealing = RecordCipher(secret, seals: true)
        #expect(Self.seal(Array(0..<50), by: &sealing) == Self.record)
        var opening = RecordCipher(secret, seals: false)
        #expect(Self.open(Self.record, by: &opening) == Array(0..<50) + [ContentType.data])
    }

    @Test func `a secret has the size of its suite`() {
        for suite in CipherSuite.allCases {
            for count in [0, suite.secretSize - 1, suite.secretSize + 1] {
                #expect(TrafficSecret(suite, [UInt8](repeating: 1, count: count)) == nil)
            }
        }
    }

    @Test(arguments: CipherSuite.allCases)
    func `records are opened in the order in which they were sealed, and in no other`(
        suite: CipherSuite
    ) throws {
        var sealing = RecordCipher(try Self.secret(suite), seals: true)
        let first = Self.seal([1], by: &sealing)
        let second = Self.seal([], by: &sealing)
        let whole = [UInt8](repeating: 9, count: RecordCipher.largestContent)
        let third = Self.seal(whole, by: &sealing)
        var opening = RecordCipher(try Self.secret(suite), seals: false)
        #expect(Self.open(second, by: &opening) == nil)
        #expect(Self.open(first, by: &opening) == [1, ContentType.data])
        #expect(Self.open(first, by: &opening) == nil, "nothing is taken twice")
        #expect(Self.open(second, by: &opening) == [ContentType.data])
        #expect(Self.open(third, by: &opening) == whole + [ContentType.data])
        #expect(sealing.sequence == 3 && opening.sequence == 3)
    }

    @Test(arguments: CipherSuite.allCases)
    func `a record with any bit changed is refused`(suite: CipherSuite) throws {
        var sealing = RecordCipher(try Self.secret(suite), seals: true)
        let record = Self.seal([1, 2, 3, 4, 5], by: &sealing)
        var opening = RecordCipher(try Self.secret(suite), seals: false)
        for bit in 0..<record.count * 8 {
            var changed = record
            changed[bit / 8] ^= 1 << UInt8(bit % 8)
            // (The length is only compared here: it is what says how much there is.)
            #expect(Self.open(changed, by: &opening) == nil, "bit \(bit)")
        }
        #expect(Self.open(record, by: &opening) == [1, 2, 3, 4, 5, ContentType.data])
    }

    @Test(arguments: CipherSuite.allCases)
    func `another key begins with number 0, and opens nothing of the one before`(
        suite: CipherSuite
    ) throws {
        let secret = try Self.secret(suite)
        var sealing = RecordCipher(secret, seals: true)
        var opening = RecordCipher(secret, seals: false)
        let old = Self.seal([1], by: &sealing)
        sealing.update()
        #expect(sealing.sequence == 0 && sealing.secret == secret.next && secret != secret.next)
        let new = Self.seal([1], by: &sealing)
        #expect(old != new)
        #expect(Self.open(new, by: &opening) == nil)
        opening.update()
        #expect(Self.open(old, by: &opening) == nil)
        #expect(Self.open(new, by: &opening) == [1, ContentType.data])
    }

    @Test func `a cipher goes on where another was`() throws {
        let secret = try Self.secret(.aes256GCM)
        var sealing = RecordCipher(secret, seals: true)
        _ = Self.seal([1], by: &sealing)
        let second = Self.seal([2], by: &sealing)
        var opening = RecordCipher(secret, sequence: 1, seals: false)
        #expect(Self.open(second, by: &opening) == [2, ContentType.data])
    }

    @Test func `no dump shows a secret`() throws {
        let secret = try Self.secret(.aes128GCM)
        var text = ""
        dump(secret, to: &text)
        #expect(!text.contains("8, 15") && !"\(secret)".contains("8, 15"))
    }
}
