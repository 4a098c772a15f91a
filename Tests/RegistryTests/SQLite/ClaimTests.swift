// One client device at a time: who was succeeded commits nothing, whatever it asks for.

import Foundation
import GRDB
import Registry
import RemoteMemory
import Testing

@Suite struct ClaimTests {
    let scratch: Scratch
    /// The registry of owner 1, and the same one in the hands of owner 2, who came later.
    let first: SQLiteRegistry
    let second: SQLiteRegistry

    init() throws {
        scratch = try Scratch()
        first = try scratch.openWithAppliances()
        try first.claim(by: owner(1))
        let changes = MembershipChange.cut(
            member: index(2), snapshot: "s", at: 7, replacement: member(2, .rebuilding, region: 9))
        try first.createVolume(volume([.active, .active, .active]))
        _ = try first.change(volumeID(0), [changes], owner: owner(1), expecting: Epoch(5))
        second = try scratch.open()
    }

    /// Everything a registry can be asked to change, by a client device that holds all it needs.
    private func changes(_ registry: SQLiteRegistry) -> [() throws -> Void] {
        [
            { try registry.addAppliance(appliance(8)) },
            { try registry.removeAppliance("a7") },
            {
                try registry.createVolume(volume(members: [member(6)], number: 2))
            },
            { try registry.deleteVolume(named: "vol0") },
            {
                _ = try registry.takeOver(volumeID(0), by: owner(1), expecting: Epoch(6))
            },
            {
                _ = try registry.change(
                    volumeID(0), [.fail([index(0)])], owner: owner(1), expecting: Epoch(6))
            },
            {
                _ = try registry.resetMembers(
                    of: volumeID(0), to: [member(7)], owner: owner(1), expecting: Epoch(6))
            },
            {
                try registry.deleteSnapshot(of: volumeID(0), named: "s")
            },
        ]
    }

    @Test func `who was succeeded can change nothing, though it may look`() throws {
        try second.claim(by: owner(2))
        let before = try Contents(of: second)
        for change in changes(first) {
            #expect(throws: RegistryError.superseded(by: owner(2))) { try change() }
        }
        #expect(try Contents(of: second) == before)
        #expect(try Contents(of: first) == before)
        #expect(try first.holder() == owner(2))
    }

    @Test func `the successor changes what it wants, at once`() throws {
        try second.claim(by: owner(2))
        let taken = try second.takeOver(volumeID(0), by: owner(2), expecting: Epoch(6))
        #expect(taken.owner == owner(2))
        try second.addAppliance(appliance(8))
        #expect(try first.appliances().count == 9)
    }

    @Test func `a claim outlives its process, until the next`() throws {
        try second.claim(by: owner(2))
        #expect(try scratch.open().holder() == owner(2))
        let third = try scratch.open()
        try third.claim(by: owner(3))
        #expect(throws: RegistryError.superseded(by: owner(3))) {
            try second.addAppliance(appliance(8))
        }
    }

    @Test func `who was succeeded may claim again, and is then the successor`() throws {
        try second.claim(by: owner(2))
        try first.claim(by: owner(1))
        try first.addAppliance(appliance(8))
        #expect(throws: RegistryError.superseded(by: owner(1))) {
            try second.addAppliance(appliance(9))
        }
    }

    @Test func `nobody has claimed a new registry`() throws {
        #expect(try Scratch().open().holder() == nil)
    }

    /// A process that is stopped inside a change holds SQLite's lock: nobody else gets further.
    @Test func `a change that does not go on makes others busy, and none of them is half-done`()
        throws
    {
        let before = try Contents(of: first)
        let stopped = try DatabaseQueue(path: scratch.path)
        try stopped.write { database in
            try database.execute(sql: "DELETE FROM device")
            #expect(try storageFault { try second.claim(by: owner(2)) } == .busy)
            #expect(try second.holder() == owner(1))
            #expect(try Contents(of: second) == before, "reading goes on")
            try database.execute(
                sql: "INSERT INTO device VALUES (1, ?)", arguments: ["\(owner(1))"])
        }
        try second.claim(by: owner(2))
        #expect(throws: RegistryError.superseded(by: owner(2))) {
            try first.addAppliance(appliance(8))
        }
    }

    @Test func `a registry of before claims opens, with all it holds`() throws {
        let older = try Scratch()
        do {
            let registry = try older.openWithAppliances()
            withExtendedLifetime(registry) {}
        }
        let plain = try DatabaseQueue(path: older.path)
        try plain.write { database in
            try database.execute(sql: "DROP TABLE device")
            try database.execute(
                sql: "DELETE FROM grdb_migrations WHERE identifier = 'registry-3'")
        }
        try plain.close()
        let registry = try older.open()
        #expect(try registry.appliances().count == 8)
        try registry.claim(by: owner(1))
        #expect(try registry.holder() == owner(1))
    }
}
