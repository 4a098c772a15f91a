// What was changed since snapshots outlives an orderly stop, is taken once, and counts for nobody else.

import Foundation
import GRDB
import Registry
import RemoteMemory
import Testing

@Suite struct ChangesTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private static let changes = [
        SnapshotChanges(cut: Epoch(2), extentSize: .kibibytes(64), words: nil),
        SnapshotChanges(
            cut: Epoch(3), extentSize: .kibibytes(64), words: [0x0102_0304_0506_0708, .max, 0, 1]),
        SnapshotChanges(cut: Epoch(5), extentSize: .kibibytes(128), words: []),
    ]

    private func makeVolume() throws -> SQLiteRegistry {
        let registry = try scratch.openWithAppliances()
        try registry.createVolume(volume([.active, .active, .active]))
        return registry
    }

    @Test func `what was saved is taken, once`() throws {
        do {
            let registry = try makeVolume()
            try registry.saveChanges(Self.changes.reversed(), of: volumeID(0), at: Epoch(5))
        }
        let next = try scratch.open()
        let record = try next.takeOver(volumeID(0), by: owner(2), expecting: Epoch(5))
        #expect(record.epoch == Epoch(6))
        #expect(try next.takeChanges(of: volumeID(0), savedAt: Epoch(5)) == Self.changes)
        #expect(try next.takeChanges(of: volumeID(0), savedAt: Epoch(5)) == [])
    }

    @Test func `it is not believed when somebody had the volume meanwhile`() throws {
        let registry = try makeVolume()
        try registry.saveChanges(Self.changes, of: volumeID(0), at: Epoch(5))
        _ = try registry.takeOver(volumeID(0), by: owner(2), expecting: Epoch(5))
        // That one crashed before it took anything, or wrote, and saved nothing.
        _ = try registry.takeOver(volumeID(0), by: owner(3), expecting: Epoch(6))
        #expect(try registry.takeChanges(of: volumeID(0), savedAt: Epoch(6)) == [])
        #expect(try registry.takeChanges(of: volumeID(0), savedAt: Epoch(5)) == [], "it is gone")
    }

    @Test func `a change of members after it makes it worthless`() throws {
        let registry = try makeVolume()
        try registry.saveChanges(Self.changes, of: volumeID(0), at: Epoch(5))
        let fail = MembershipChange.fail([index(0)])
        _ = try registry.change(volumeID(0), [fail], owner: owner(1), expecting: Epoch(5))
        _ = try registry.takeOver(volumeID(0), by: owner(2), expecting: Epoch(6))
        #expect(try registry.takeChanges(of: volumeID(0), savedAt: Epoch(6)) == [])
    }

    @Test func `what is saved later counts, and nothing of what was saved before`() throws {
        let registry = try makeVolume()
        try registry.saveChanges(Self.changes, of: volumeID(0), at: Epoch(5))
        try registry.saveChanges([Self.changes[1]], of: volumeID(0), at: Epoch(5))
        #expect(
            try registry.takeChanges(of: volumeID(0), savedAt: Epoch(5)) == [Self.changes[1]])
    }

    @Test func `it is saved by the owner of the moment alone`() throws {
        let registry = try makeVolume()
        try registry.claim(by: owner(1))
        let stale = RegistryError.staleEpoch(expected: Epoch(4), found: Epoch(5))
        #expect(throws: stale) {
            try registry.saveChanges(Self.changes, of: volumeID(0), at: Epoch(4))
        }
        #expect(throws: RegistryError.notFound(.volume, name: volumeID(1).description)) {
            try registry.saveChanges(Self.changes, of: volumeID(1), at: Epoch(5))
        }
        let successor = try scratch.open()
        try successor.claim(by: owner(2))
        #expect(throws: RegistryError.superseded(by: owner(2))) {
            try registry.saveChanges(Self.changes, of: volumeID(0), at: Epoch(5))
        }
        #expect(try successor.takeChanges(of: volumeID(0), savedAt: Epoch(5)) == [])
    }

    @Test func `it goes with its volume, and is no other's`() throws {
        let registry = try makeVolume()
        let other = try volume(
            members: [member(3), member(4)], number: 1, layout: .mirror(copies: 2))
        try registry.createVolume(other)
        try registry.saveChanges(Self.changes, of: volumeID(0), at: Epoch(5))
        #expect(try registry.takeChanges(of: volumeID(1), savedAt: Epoch(5)) == [])
        try registry.deleteVolume(named: "vol0")
        #expect(try registry.takeChanges(of: volumeID(0), savedAt: Epoch(5)) == [])
    }

    @Test func `bytes that are no map are damage`() throws {
        do {
            let registry = try makeVolume()
            try registry.saveChanges([Self.changes[1]], of: volumeID(0), at: Epoch(5))
        }
        let queue = try DatabaseQueue(path: scratch.path)
        try queue.write {
            try $0.execute(sql: "UPDATE snapshot_changes SET extents = x'010203'")
        }
        try queue.close()
        let registry = try scratch.open()
        let fault = try storageFault {
            _ = try registry.takeChanges(of: volumeID(0), savedAt: Epoch(5))
        }
        guard case .corrupt = fault else {
            Issue.record("\(String(describing: fault))")
            return
        }
    }

    @Test(arguments: ["cut = 6", "extent_size = 0", "extents = 'text'"])
    func `a row that makes no sense is refused`(assignment: String) throws {
        do {
            let registry = try makeVolume()
            try registry.saveChanges(Self.changes, of: volumeID(0), at: Epoch(5))
        }
        let queue = try DatabaseQueue(path: scratch.path)
        #expect(throws: DatabaseError.self) {
            try queue.write { try $0.execute(sql: "UPDATE snapshot_changes SET \(assignment)") }
        }
        try queue.close()
    }
}
