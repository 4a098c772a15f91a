// Every rule of the transmission phase, as a table: the request, and the precise answer.

import BlockServer
import NBDProtocol
import Testing

/// One request to an export of `Rule.size` bytes, and its verdict.
struct Rule: Sendable, CustomTestStringConvertible {
    static let size: UInt64 = 64 << 20

    var testDescription: String
    var type: UInt16
    var offset: UInt64 = 0
    var length: UInt32 = 4096
    var flags: UInt16 = 0
    var isReadOnly = false
    var size = Rule.size
    var verdict: RequestVerdict

    init(
        _ name: String, _ type: UInt16, at offset: UInt64 = 0, _ length: UInt32 = 4096,
        flags: UInt16 = 0, isReadOnly: Bool = false, of size: UInt64 = Rule.size,
        is verdict: RequestVerdict
    ) {
        testDescription = name
        self.type = type
        self.offset = offset
        self.length = length
        self.flags = flags
        self.isReadOnly = isReadOnly
        self.size = size
        self.verdict = verdict
    }

    static func header(
        magic: UInt32 = 0x2560_9513, flags: UInt16 = 0, type: UInt16, offset: UInt64 = 0,
        length: UInt32
    ) -> RequestHeader {
        let bytes =
            bigEndian(magic) + bigEndian(flags) + bigEndian(type) + bigEndian(UInt64(7))
            + bigEndian(offset) + bigEndian(length)
        return RequestHeader(bytes.span.bytes)
    }

    var header: RequestHeader {
        Self.header(flags: flags, type: type, offset: offset, length: length)
    }
}

@Suite struct RequestRulesTests {
    static let invalid = RequestVerdict.refuse(.invalid)
    static let size = Rule.size

    /// The commands with a range: number, what becomes of them, which flags they know, the error past
    /// the end.
    static let ranged: [(UInt16, String, RequestVerdict, UInt16, ErrorNumber)] = [
        (0, "READ", .read, 1, .invalid), (1, "WRITE", .write, 1, .noSpace),
        (4, "TRIM", .zero(keepAllocated: false), 1, .invalid),
        (5, "CACHE", .acknowledge, 1, .invalid),
        (6, "WRITE_ZEROES", .zero(keepAllocated: false), 0x13, .noSpace),
    ]

    static let ranges: [Rule] = ranged.flatMap { (type, word, verdict, _, pastTheEnd) -> [Rule] in
        let past = RequestVerdict.refuse(pastTheEnd)
        return [
            Rule("\(word) at the start", type, is: verdict),
            Rule("\(word) of one byte", type, at: 12345, 1, is: verdict),
            Rule("\(word) up to the end", type, at: size - 4096, is: verdict),
            Rule("\(word) of the last byte", type, at: size - 1, 1, is: verdict),
            Rule("\(word) of 32 MiB", type, 32 << 20, is: verdict),
            Rule("\(word) of nothing", type, at: 4096, 0, is: .acknowledge),
            Rule("\(word) of nothing at the end", type, at: size, 0, is: .acknowledge),
            Rule("\(word) of nothing past the end", type, at: size + 1, 0, is: past),
            Rule("\(word) of nothing at 2^64", type, at: .max, 0, is: past),
            Rule("\(word) one byte past the end", type, at: size - 4095, is: past),
            Rule("\(word) at the end", type, at: size, 1, is: past),
            Rule("\(word) past the end", type, at: size + 4096, is: past),
            Rule("\(word) at 2^63", type, at: 1 << 63, is: past),
            Rule("\(word) that ends at 2^64", type, at: .max - 4095, is: past),
            Rule("\(word) that wraps to 0", type, at: .max - 4094, is: past),
            Rule("\(word) that wraps into the export", type, at: .max - 10, is: past),
            Rule("\(word) at 2^64 - 1", type, at: .max, 1, is: past),
            Rule("\(word) longer than the export", type, 4097, of: 4096, is: past),
            Rule("\(word) of a whole export", type, 4096, of: 4096, is: verdict),
            Rule("\(word) of an empty export", type, 1, of: 0, is: past),
            Rule("\(word) at the end of the largest", type, at: .max - 4096, of: .max, is: verdict),
            Rule("\(word) past the largest", type, at: .max - 4095, of: .max, is: past),
        ]
    }

    static let flags: [Rule] = ranged.flatMap { (type, word, verdict, known, _) -> [Rule] in
        let single = (0..<16).map { (bit: UInt16) -> Rule in
            let flag: UInt16 = 1 << bit
            let keeps = type == 6 && flag == 2
            let good = keeps ? .zero(keepAllocated: true) : verdict
            return Rule(
                "\(word), flag \(bit)", type, flags: flag, is: known & flag != 0 ? good : invalid)
        }
        return single + [
            Rule("\(word), all flags", type, flags: .max, is: invalid),
            Rule("\(word), FUA and an unknown flag", type, flags: 0x41, is: invalid),
            Rule("\(word) of nothing, unknown flag", type, 0, flags: 0x8000, is: invalid),
            Rule("\(word) past the end, unknown flag", type, at: size, flags: 0x8000, is: invalid),
        ]
    }

    static let readOnly: [Rule] = [1, 4, 6].flatMap { (type: UInt16) -> [Rule] in
        let refused = RequestVerdict.refuse(.notPermitted)
        return [
            Rule("change \(type)", type, isReadOnly: true, is: refused),
            Rule("change \(type), FUA", type, flags: 1, isReadOnly: true, is: refused),
            Rule("change \(type) of nothing", type, 0, isReadOnly: true, is: refused),
            // Permission comes before the range, and flags before permission.
            Rule("change \(type) past the end", type, at: size, isReadOnly: true, is: refused),
            Rule("change \(type), unknown flag", type, flags: 4, isReadOnly: true, is: invalid),
        ]
    }

    static let others: [Rule] = [
        Rule("READ of a snapshot", 0, isReadOnly: true, is: .read),
        Rule("CACHE of a snapshot", 5, isReadOnly: true, is: .acknowledge),
        Rule("FLUSH of a snapshot", 3, 0, isReadOnly: true, is: .acknowledge),
        Rule("READ of 32 MiB and a byte", 0, 32 << 20 + 1, is: invalid),
        Rule("READ of the whole export at once", 0, UInt32(size), is: invalid),
        Rule("READ of 4 GiB from a large one", 0, .max, of: 1 << 40, is: invalid),
        Rule("TRIM of 4 GiB", 4, .max, of: 1 << 40, is: .zero(keepAllocated: false)),
        Rule("WRITE_ZEROES of 4 GiB", 6, .max, of: 1 << 40, is: .zero(keepAllocated: false)),
        Rule("CACHE of 4 GiB", 5, .max, of: 1 << 40, is: .acknowledge),
        Rule("WRITE_ZEROES, FUA and NO_HOLE", 6, flags: 3, is: .zero(keepAllocated: true)),
        Rule("WRITE_ZEROES, FAST_ZERO", 6, flags: 0x10, is: .zero(keepAllocated: false)),
        Rule("WRITE_ZEROES, FAST_ZERO and NO_HOLE", 6, flags: 0x12, is: .refuse(.notSupported)),
        Rule("WRITE_ZEROES of nothing, FAST_ZERO and NO_HOLE", 6, 0, flags: 0x12, is: .acknowledge),
        Rule(
            "WRITE_ZEROES past the end, FAST_ZERO and NO_HOLE", 6, at: size, flags: 0x12,
            is: .refuse(.noSpace)),
        Rule("WRITE_ZEROES of nothing, NO_HOLE", 6, 0, flags: 2, is: .acknowledge),
        Rule("FLUSH", 3, 0, is: .acknowledge),
        Rule("FLUSH, FUA", 3, 0, flags: 1, is: .acknowledge),
        Rule("FLUSH with an offset", 3, at: 1, 0, is: invalid),
        Rule("FLUSH with a length", 3, 1, is: invalid),
        Rule("FLUSH with both", 3, at: 4096, 4096, is: invalid),
        Rule("FLUSH with an unknown flag", 3, 0, flags: 2, is: invalid),
        Rule("DISC", 2, 0, is: .disconnect),
        Rule("DISC with everything", 2, at: .max, .max, flags: .max, is: .disconnect),
        Rule("DISC of a snapshot", 2, 0, isReadOnly: true, is: .disconnect),
    ]

    static let unknown: [Rule] = [7, 8, 9, 255, 256, 257, 0x7fff, 0x8000, 0xffff].flatMap {
        (type: UInt16) -> [Rule] in
        [
            Rule("command \(type)", type, is: invalid),
            Rule("command \(type) of nothing", type, 0, is: invalid),
            Rule("command \(type) of a snapshot", type, isReadOnly: true, is: invalid),
        ]
    }

    @Test(arguments: [ranges, flags, readOnly, others, unknown].flatMap { $0 })
    func `a request has its verdict`(rule: Rule) {
        let verdict = RequestRules.verdict(
            rule.header, size: rule.size, isReadOnly: rule.isReadOnly)
        #expect(verdict == rule.verdict)
        // None of these is a reason to disconnect.
        #expect(RequestRules.frameFault(rule.header, .simple) == nil)
    }

    @Test(arguments: [
        0, 1, 0x1395_6025, 0x2560_9512, 0x2560_9514, 0x6744_6698, 0x21e4_1c71, UInt32.max,
    ])
    func `nothing can follow a wrong magic`(magic: UInt32) {
        for type in 0..<8 as Range<UInt16> {
            let header = Rule.header(magic: magic, type: type, length: 0)
            #expect(RequestRules.frameFault(header, .simple) == .badRequestMagic(magic))
        }
    }

    @Test func `a payload has at most 32 MiB`() {
        let limit = RequestRules.largestPayload
        #expect(limit == 32 << 20)
        #expect(RequestRules.frameFault(Rule.header(type: 1, length: 0), .simple) == nil)
        #expect(RequestRules.frameFault(Rule.header(type: 1, length: limit), .simple) == nil)
        for length in [limit + 1, 1 << 31, .max] {
            let write = Rule.header(type: 1, length: length)
            #expect(RequestRules.frameFault(write, .simple) == .payloadTooLarge(UInt64(length)))
            // The length of anything else is no payload.
            for type in [0, 2, 3, 4, 5, 6, 7, 0x101] as [UInt16] {
                #expect(
                    RequestRules.frameFault(Rule.header(type: type, length: length), .simple) == nil
                )
            }
        }
    }

    @Test func `the block sizes told are what is accepted`() {
        #expect(RequestRules.smallestBlock == 1)
        #expect(RequestRules.preferredBlock == 4096)
        #expect(RequestRules.preferredBlock.nonzeroBitCount == 1)
    }
}
