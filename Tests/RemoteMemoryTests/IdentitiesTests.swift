// Names: what is printed can be read back, and nothing else can.

import RemoteMemory
import Testing

@Suite struct IdentifierTests {
    @Test(
        arguments: [
            (0, 0, "00000000000000000000000000000000"),
            (0, 1, "00000000000000000000000000000001"),
            (1, 0, "00000000000000010000000000000000"),
            (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, "0123456789abcdeffedcba9876543210"),
            (.max, .max, "ffffffffffffffffffffffffffffffff"),
        ] as [(UInt64, UInt64, String)])
    func `it is written as 32 digits`(high: UInt64, low: UInt64, text: String) {
        let identifier = Identifier(high: high, low: low)
        #expect(identifier.description == text)
        #expect(Identifier(text) == identifier)
        #expect(Identifier(text.uppercased()) == identifier)
        #expect(Identifier(Substring(text)) == identifier)
    }

    @Test func `what is printed is read back`() {
        var generator = SeededGenerator(seed: 1)
        for shift in 0..<64 as Range<UInt64> {
            // Small numbers too: they need their leading zeroes.
            let identifier = Identifier(
                high: generator.next() >> shift, low: generator.next() >> (63 - shift))
            #expect(Identifier(identifier.description) == identifier)
            #expect(identifier.description.utf8.count == 32)
        }
    }

    @Test func `random ones come from the generator and differ`() {
        var first = SeededGenerator(seed: 2)
        var second = SeededGenerator(seed: 2)
        let identifier = Identifier.random(using: &first)
        #expect(identifier == Identifier(high: second.next(), low: second.next()))
        #expect(identifier != Identifier.random(using: &first))
        #expect(Identifier.random() != Identifier.random())
    }

    @Test(arguments: [
        "", "0", "0123456789abcdeffedcba987654321", "0123456789abcdeffedcba98765432100",
        " 0123456789abcdeffedcba9876543210", "0123456789abcdeffedcba9876543210 ",
        " 0123456789abcdeffedcba987654321", "0123456789abcdeffedcba987654321\n",
        "0123456789abcdeffedcba987654321g", "0123456789abcdeffedcba987654321\u{0}",
        "0x23456789abcdeffedcba9876543210", "+123456789abcdeffedcba9876543210",
        "0123456789abcdef+edcba9876543210", "+123456789abcdef+edcba9876543210",
        "01234567-89ab-cdef-fedc-ba987654", "0123456789abcdeffedcba98765432é",
        "0123456789abcdeffedcba9876543１", "0123456789abcdeffedcba98765432\r\n",
        "éééééééééééééééé", "éééééééééééééééééééééééééééééééé",
        "0123456789abcdeffedcba9876543 0\u{301}", "0123456789abcdeffedcba98765430\u{301}",
    ])
    func `anything but 32 hexadecimal digits is refused`(text: String) {
        #expect(Identifier(text) == nil)
    }

    @Test(arguments: [
        "-123456789abcdef0123456789abcdef", "0123456789abcdef-000000000000001",
        "-0000000000000000000000000000000", "0000000000000000-000000000000000",
    ])
    func `a sign is no digit`(text: String) {
        #expect(Identifier(text) == nil)
    }
}

@Suite struct IdentityTests {
    @Test func `names are those of their identifiers`() {
        let identifier = Identifier(high: 7, low: 8)
        #expect(RegionID(identifier).description == identifier.description)
        #expect(VolumeID(identifier).description == identifier.description)
        #expect(Incarnation(identifier).description == identifier.description)
        #expect(OwnerID(identifier).description == identifier.description)
    }

    @Test func `epochs grow by one`() async {
        #expect(Epoch(7).next == Epoch(8))
        #expect(Epoch(7) < Epoch(7).next)
        #expect(!(Epoch(7) < Epoch(7)))
        #expect(Epoch(7).description == "7")
        await #expect(processExitsWith: .failure) { print(Epoch(.max).next) }
    }

    @Test func `member indices stay within their limit`() async {
        for number in 0..<MemberIndex.limit {
            #expect(MemberIndex(number).number == number)
            #expect(MemberIndex(number).description == String(number))
        }
        #expect(MemberIndex(3) < MemberIndex(4) && !(MemberIndex(4) < MemberIndex(4)))
        await #expect(processExitsWith: .failure) { print(MemberIndex(-1)) }
        await #expect(processExitsWith: .failure) { print(MemberIndex(MemberIndex.count)) }
    }

    @Test func `each member has a twin, with the same place`() {
        for number in 0..<MemberIndex.limit {
            let member = MemberIndex(number)
            #expect(!member.isTwin && member.place == member)
            #expect(member.twin.isTwin && member.twin.place == member)
            #expect(member.twin.twin == member.twin)
            #expect(member.twin.description == "\(number)'")
        }
    }
}
