// Exports as clients see them, and which one is meant when none is named.

import BlockServer
import NBDProtocol
import Testing

@Suite struct ExportTests {
    static func volume(_ name: String) -> Export {
        Export(name: name, description: "", size: 4096, isReadOnly: false)
    }

    static func snapshot(_ name: String) -> Export {
        Export(name: name, description: "", size: 4096, isReadOnly: true)
    }

    @Test func `what an export can do is told`() {
        #expect(Exports.volume.flags(.simple).rawValue == Exports.volumeFlags)
        #expect(Exports.snapshot.flags(.simple).rawValue == Exports.snapshotFlags)
        for form in [MessageForm.structured, .extended] {
            #expect(Exports.volume.flags(form).rawValue == Exports.volumeFlags | Exports.df)
            #expect(Exports.snapshot.flags(form).rawValue == Exports.snapshotFlags | Exports.df)
        }
    }

    @Test func `the only writable export is the default`() {
        let catalog = ExportCatalog([
            Self.snapshot("a@1"), Self.volume("b"), Self.snapshot("b@1"),
        ])
        #expect(catalog.find("")?.name == "b")
    }

    @Test func `there is no default among several, or among snapshots`() {
        #expect(ExportCatalog().find("") == nil)
        #expect(ExportCatalog([Self.snapshot("a@1")]).find("") == nil)
        #expect(ExportCatalog([Self.volume("a"), Self.volume("b")]).find("") == nil)
        let three = [Self.volume("a"), Self.snapshot("a@1"), Self.volume("b")]
        #expect(ExportCatalog(three).find("") == nil)
    }

    @Test func `exports are found by their whole name`() {
        let catalog = ExportCatalog([Self.volume("a"), Self.volume("ab"), Self.snapshot("a@1")])
        for name in ["a", "ab", "a@1"] { #expect(catalog.find(name)?.name == name) }
        for name in ["b", "A", "a@", "a@10", "a ", " ", "abc"] {
            #expect(catalog.find(name) == nil, "\(name)")
        }
    }

    @Test func `exports are listed by name`() {
        let names = ["b", "a@1", "c", "a", "B"]
        #expect(ExportCatalog(names.map(Self.volume)).exports.map(\.name) == names.sorted())
    }
}
