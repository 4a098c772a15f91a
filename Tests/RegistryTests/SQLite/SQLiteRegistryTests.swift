import Foundation
import Registry
import RemoteMemory
import Testing

@Suite struct SQLiteRegistryTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private func mode(_ path: String) throws -> Int {
        let attributes = try FileManager.default.attributesOfItem(atPath: path)
        return try #require(attributes[.posixPermissions] as? Int)
    }

    /// A registry with one of everything, closed.
    private func fill() throws -> Contents {
        let registry = try scratch.openWithAppliances()
        try registry.addAppliance(
            ApplianceRecord(name: "racked", address: "tcp:h:1", failureDomain: "rack-1"))
        try registry.createVolume(volume([.active, .active, .active]))
        try registry.createVolume(volume(members: [member(5)], number: 1, owner: nil))
        let cut = MembershipChange.cut(
            member: index(2), snapshot: "s", at: 7, replacement: member(2, .rebuilding, region: 9))
        _ = try registry.change(
            volumeID(0), [.fail([index(1)]), cut], owner: owner(1), expecting: Epoch(5))
        return try Contents(of: registry)
    }

    // MARK: What survives

    @Test func `everything is there again after closing and opening`() throws {
        let before = try fill()
        #expect(before.snapshots.count == 1 && before.volumes.count == 2)
        #expect(try Contents(of: scratch.open()) == before)
        #expect(try Contents(of: scratch.open()) == before)
    }

    @Test func `a new registry is empty`() throws {
        let contents = try Contents(of: scratch.open())
        #expect(contents.appliances.isEmpty && contents.volumes.isEmpty)
    }

    @Test func `an empty file, left by a process killed while creating it, is a new registry`()
        throws
    {
        try Data().write(to: URL(filePath: scratch.path))
        #expect(try scratch.open().volumes().isEmpty)
    }

    @Test func `closing leaves one file`() throws {
        _ = try fill()
        let names = try FileManager.default.contentsOfDirectory(atPath: scratch.directory.path)
        #expect(names == ["registry.db"])
    }

    // MARK: Who may read it

    @Test func `the file, its log and the index of that are for the owner alone`() throws {
        let registry = try scratch.openWithAppliances()
        for path in [scratch.path, scratch.logPath, scratch.path + "-shm"] {
            #expect(try mode(path) == 0o600, "\(path)")
        }
        withExtendedLifetime(registry) {}
    }

    @Test func `a file others could read is closed to them`() throws {
        _ = try fill()
        try FileManager.default.setAttributes(
            [.posixPermissions: 0o644], ofItemAtPath: scratch.path)
        let registry = try scratch.open()
        #expect(try mode(scratch.path) == 0o600)
        withExtendedLifetime(registry) {}
    }

    // MARK: What is refused

    @Test func `a missing directory cannot be opened, and is named`() throws {
        let path = scratch.directory.path + "/missing/registry.db"
        let error = #expect(throws: RegistryError.self) { try SQLiteRegistry(path: path) }
        guard case .storage(.cannotOpen, let message) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(message.contains(path))
    }

    @Test func `a directory is no registry, and keeps its mode`() throws {
        let path = scratch.directory.path
        let before = try mode(path)
        let fault = try storageFault {
            _ = try SQLiteRegistry(path: path)
        }
        #expect(fault == .cannotOpen)
        #expect(try mode(path) == before)
    }

    @Test func `a registry of a newer version is refused and left alone`() throws {
        _ = try fill()
        try scratch.forge("registry-7", into: "registry-9")
        let before = try Data(contentsOf: URL(filePath: scratch.path))
        #expect(
            try storageFault { _ = try scratch.open() } == .newerVersion)
        #expect(try Data(contentsOf: URL(filePath: scratch.path)) == before)
    }

    @Test func `a file that is no database is corrupt`() throws {
        try Data(repeating: 0x42, count: 8192).write(to: URL(filePath: scratch.path))
        #expect(try storageFault { _ = try scratch.open() } == .corrupt)
    }

    @Test func `a truncated file is corrupt`() throws {
        _ = try fill()
        let bytes = try Data(contentsOf: URL(filePath: scratch.path))
        try bytes.prefix(bytes.count - 4096).write(to: URL(filePath: scratch.path))
        #expect(try storageFault { _ = try scratch.open() } == .corrupt)
    }

    /// Rows the tables' constraints refuse are met when opening.
    @Test(arguments: [("rebuilding", "demolished"), ("parallel", "parallax")])
    func `a row that breaks a constraint is corrupt`(old: String, new: String) throws {
        _ = try fill()
        // The schema's own text holds the words too, in quotes; only rows are to be forged.
        try forgeRows(old, into: new)
        #expect(try storageFault { _ = try scratch.open() } == .corrupt)
    }

    private func forgeRows(_ old: String, into new: String) throws {
        try scratch.forge("'\(old)'", into: "'\u{1}\(old.dropFirst())'")
        try scratch.forge(old, into: new)
        try scratch.forge("'\u{1}\(old.dropFirst())'", into: "'\(old)'")
    }

    /// Rows the constraints cannot judge are met when reading; nothing traps.
    @Test(arguments: [
        ("mirror:3", "mirror:x"), ("mirror:3", "mirror:9"), ("vol0", "v@l0"),
        (owner(1).description, String(repeating: "g", count: 32)),
        (region(9).description, "+" + region(9).description.dropFirst() + ""),
    ])
    func `a row that makes no record is corrupt`(old: String, new: String) throws {
        _ = try fill()
        try scratch.forge(old, into: new)
        let fault = try storageFault {
            _ = try scratch.open().volumes()
        }
        #expect(fault == .corrupt)
    }

    /// SQLite opens a file read-only when its header asks for a later write format (byte 18 above
    /// 2); unlike file modes, that binds root too.
    @Test func `a registry that cannot be written is read, and refuses every change`() throws {
        let before = try fill()
        try scratch.poke(3, at: 18)
        let registry = try scratch.open()
        let changes: [() throws -> Void] = [
            { try registry.addAppliance(ApplianceRecord(name: "new", address: "x")) },
            { try registry.removeAppliance("a7") },
            { try registry.createVolume(volume(members: [member(6)], number: 2)) },
            { try registry.deleteVolume(named: "vol1") },
            { _ = try registry.takeOver(volumeID(0), by: owner(2), expecting: Epoch(6)) },
            {
                _ = try registry.change(
                    volumeID(0), [.fail([index(0)])], owner: owner(1), expecting: Epoch(6))
            },
            { try registry.deleteSnapshot(of: volumeID(0), named: "s") },
        ]
        for change in changes { #expect(try storageFault(change) == .readOnly) }
        #expect(try Contents(of: registry) == before)
    }

    // MARK: A full disk

    /// Steps that fill a registry; some need an earlier one.
    private func fillStep(_ number: Int, _ registry: SQLiteRegistry) throws(RegistryError) {
        switch number {
        case 0..<8:
            let far = "tcp:" + String(repeating: "h", count: 1500)
            try registry.addAppliance(appliance(number, address: far))
        case 8:
            try registry.createVolume(volume([.active, .active, .active]))
        default:
            let cut = MembershipChange.cut(
                member: index(0), snapshot: "s", at: 0,
                replacement: member(0, .rebuilding, region: 9))
            _ = try registry.change(volumeID(0), [cut], owner: owner(1), expecting: Epoch(5))
        }
    }

    /// What the registry holds when every step was tried on a disk of so many pages, and which steps
    /// found it full; nil when not even the tables fit.
    private func fillDisk(
        of pages: UInt64, at path: String
    ) throws -> (contents: Contents, refused: [Int])? {
        let size = ByteCount(pages * 4096)
        var registry: SQLiteRegistry?
        if try storageFault({ registry = try SQLiteRegistry(path: path, sizeLimit: size) })
            == .diskFull
        {
            return nil
        }
        let open = try #require(registry)
        var contents = try Contents(of: open)
        var refused: [Int] = []
        for number in 0...9 {
            do {
                try fillStep(number, open)
                #expect(try Contents(of: open) != contents, "step \(number) did nothing")
                contents = try Contents(of: open)
            } catch RegistryError.storage(.diskFull, _) {
                refused.append(number)
            } catch RegistryError.notFound {
                #expect(!refused.isEmpty, "step \(number) lacks what no step was refused")
            }
            #expect(try Contents(of: open) == contents)
        }
        return (contents, refused)
    }

    @Test func `a disk full from any page on refuses steps whole and keeps those done`() throws {
        var refused = Set<Int>()
        var tooSmall = 0
        for pages in 1...24 as ClosedRange<UInt64> {
            let scratch = try Scratch()
            guard let filled = try fillDisk(of: pages, at: scratch.path) else {
                tooSmall += 1
                #expect(try scratch.open().volumes().isEmpty)
                continue
            }
            refused.formUnion(filled.refused)
            #expect(try Contents(of: scratch.open()) == filled.contents)
        }
        #expect(tooSmall > 0 && tooSmall < 24 && refused.count > 3, "the sweep missed its aim")
    }
}
