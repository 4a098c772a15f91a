import Registry
import Testing

@Suite struct NameRuleTests {
    @Test(arguments: [
        "a", "Z", "0", "vol0", "vol-0", "vol.0", "vol_0", "0-._", "db.example.org",
        String(repeating: "x", count: 64),
    ])
    func `a name of letters, digits, dots, dashes and underscores is allowed`(name: String) throws {
        #expect(NameRule.allows(name))
        try NameRule.check(name, of: .volume)
    }

    @Test(arguments: [
        "", " ", "a b", "a ", " a", ".", "..", ".hidden", "-x", "--json", "_x", "a/b", "../a", "/",
        "vol0@snap", "@", "a:b", "a\\b", "a\"b", "a'b", "a\nb", "a\tb", "a\u{0}b", "a*", "a?", "a%",
        "ä", "aä", "a\u{301}", "名", "a\u{200b}", "🦀", "\u{ff10}",
        String(repeating: "x", count: 65), String(repeating: "é", count: 33),
    ])
    func `any other name is refused`(name: String) {
        #expect(!NameRule.allows(name))
        #expect(throws: RegistryError.invalidName(.snapshot, name: name)) {
            try NameRule.check(name, of: .snapshot)
        }
    }

    @Test func `the refusal says what is allowed`() {
        let sentence = RegistryError.invalidName(.volume, name: "a b").description
        #expect(sentence.contains("\"a b\""))
        #expect(sentence.contains(NameRule.sentence))
        #expect(NameRule.sentence.contains("64"))
    }
}
