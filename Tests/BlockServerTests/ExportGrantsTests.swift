// Rules about who may use what, as operators write them.

import BlockServer
import Testing

@Suite struct ExportGrantsTests {
    @Test func `without rules everybody may use everything`() {
        #expect(ExportGrants.none.access(of: []) == .everything)
        #expect(ExportGrants.none.access(of: ["alice"]) == .everything)
    }

    @Test(arguments: [
        (["alice=vol0"], ["alice"], ExportAccess.volumes(["vol0"])),
        (["alice=vol0"], ["bob"], .volumes([])),
        (["alice=vol0"], [], .volumes([])),
        (["alice=vol0,vol1"], ["alice"], .volumes(["vol0", "vol1"])),
        (["alice=vol0", "alice=vol1"], ["alice"], .volumes(["vol0", "vol1"])),
        (["alice=vol0", "alice=*"], ["alice"], .everything),
        (["*=public"], [], .volumes(["public"])),
        (["*=public", "alice=vol0"], ["alice"], .volumes(["public", "vol0"])),
        (["*=*"], [], .everything),
        (["a=x", "b=y"], ["a", "b"], .volumes(["x", "y"])),
        (["uri://x/?a=b=vol0"], ["uri://x/?a=b"], .volumes(["vol0"])),
        (["db server=vol0"], ["db server"], .volumes(["vol0"])),
    ])
    func `rules add up`(rules: [String], names: [String], access: ExportAccess) throws {
        #expect(try ExportGrants(rules).access(of: names) == access)
    }

    @Test(arguments: [
        "", "alice", "=vol0", "alice=", "alice=vol0,", "alice=,vol0", "a=vol0@monday",
    ])
    func `what grants nothing is refused`(rule: String) {
        #expect(throws: GrantError(text: rule)) { try ExportGrants([rule]) }
    }

    @Test func `a file has a rule on a line, and remarks`() throws {
        let grants = try ExportGrants(
            text: "# who may what\n\n  alice=vol0  # the database\r\nbob server=*\n")
        #expect(grants.access(of: ["alice"]) == .volumes(["vol0"]))
        #expect(grants.access(of: ["bob server"]) == .everything)
        #expect(grants.access(of: ["carol"]) == .volumes([]))
        #expect(throws: GrantError(text: "nonsense")) { try ExportGrants(text: "a=b\nnonsense") }
    }

    @Test func `a file without rules grants nothing`() throws {
        #expect(try ExportGrants(text: "# nobody\n").access(of: ["alice"]) == .volumes([]))
    }

    @Test func `options and a file add up`() throws {
        let both = try ExportGrants(["alice=vol0"]).adding(ExportGrants(text: "alice=vol1\nbob=*"))
        #expect(both.access(of: ["alice"]) == .volumes(["vol0", "vol1"]))
        #expect(both.access(of: ["bob"]) == .everything)
        let only = try ExportGrants.none.adding(ExportGrants(text: "bob=vol1"))
        #expect(only.access(of: ["alice"]) == .volumes([]))
    }

    @Test func `a snapshot is its volume's`() {
        let access = ExportAccess.volumes(["vol0"])
        #expect(access.covers("vol0") && access.covers("vol0@monday"))
        #expect(!access.covers("vol00") && !access.covers("vol") && !access.covers("@vol0"))
        #expect(!access.covers("") && ExportAccess.everything.covers(""))
    }
}
