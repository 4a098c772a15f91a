// A registry that an earlier version wrote is read by this one, and what it could not know is so.

import Foundation
import GRDB
import Registry
import RemoteMemory
import Testing

@Suite struct SchemaTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    /// Takes the closed registry back to what its first version made.
    private func goBack() throws {
        let queue = try DatabaseQueue(path: scratch.path)
        try queue.write { database in
            try database.execute(
                sql: """
                    ALTER TABLE appliance DROP COLUMN draining;
                    ALTER TABLE member DROP COLUMN leaving;
                    DELETE FROM grdb_migrations WHERE identifier = 'registry-2';
                    """)
        }
        try queue.close()
    }

    @Test func `a registry of the first version is brought up to date with all it holds`() throws {
        var before: Contents?
        do {
            let registry = try scratch.openWithAppliances()
            try registry.createVolume(volume([.active, .active, .active]))
            let cut = MembershipChange.cut(
                member: index(2), snapshot: "s", at: 7,
                replacement: member(2, .rebuilding, region: 9))
            _ = try registry.change(volumeID(0), [cut], owner: owner(1), expecting: Epoch(5))
            before = try Contents(of: registry)
        }
        try goBack()
        do {
            let registry = try scratch.open()
            #expect(try Contents(of: registry) == before)
            try registry.setDraining(true, of: "a0")
            let marked = try registry.change(
                volumeID(0), [.setLeaving(index(0), true)], owner: owner(1), expecting: Epoch(6))
            #expect(marked.member(index(0))?.isLeaving == true)
        }
        // Once is enough.
        let again = try scratch.open()
        #expect(try again.appliances().filter(\.isDraining).map(\.name) == ["a0"])
    }

    @Test(arguments: ["appliance SET draining = 2", "member SET leaving = -1"])
    func `a mark is set or it is not`(assignment: String) throws {
        do {
            let registry = try scratch.openWithAppliances()
            try registry.createVolume(volume([.active]))
        }
        let queue = try DatabaseQueue(path: scratch.path)
        #expect(throws: DatabaseError.self) {
            try queue.write { try $0.execute(sql: "UPDATE \(assignment)") }
        }
        try queue.close()
    }
}
