import Registry
import RemoteMemory
import Testing

@Suite struct SnapshotsTests {
    let scratch: Scratch
    let registry: SQLiteRegistry

    init() throws {
        scratch = try Scratch()
        registry = try scratch.openWithAppliances()
        try registry.createVolume(volume([.active, .active, .active]))
    }

    private func cut(
        _ number: Int, _ name: String, at time: Int64 = 0, expecting: UInt64,
        replacement: MemberRecord? = nil
    ) throws(RegistryError) {
        _ = try registry.change(
            volumeID(0),
            [.cut(member: index(number), snapshot: name, at: time, replacement: replacement)],
            owner: owner(1), expecting: Epoch(expecting))
    }

    @Test func `snapshots are listed in the order they were cut, whatever the clock said`() throws {
        try cut(2, "z", at: 2_000, expecting: 5)
        try cut(1, "a", at: 1_000, expecting: 6)
        let snapshots = try registry.snapshots(of: volumeID(0))
        let expected = try [("z", 2, 6, 2_000), ("a", 1, 7, 1_000)].map {
            name, number, epoch, time in
            try SnapshotRecord(
                volume: volumeID(0), name: name, size: .gibibytes(1),
                region: region(UInt64(number)), appliance: "a\(number)",
                incarnation: incarnation(UInt64(number)), cutAtEpoch: Epoch(UInt64(epoch)),
                createdAt: Int64(time))
        }
        #expect(snapshots == expected)
    }

    @Test func `the cut, the replacement and the epoch are one step`() throws {
        try cut(2, "s", expecting: 5, replacement: member(2, .rebuilding, region: 9))
        let record = try registry.volume(named: "vol0")
        #expect(record.picture == "0 active, 1 active, 2 rebuilding")
        #expect(record.epoch == Epoch(6))
    }

    @Test func `a name is taken once in a volume, and the volume stays as it was`() throws {
        try cut(2, "s", expecting: 5)
        let before = try Contents(of: registry)
        #expect(throws: RegistryError.alreadyExists(.snapshot, name: "vol0@s")) {
            try cut(1, "s", expecting: 6)
        }
        #expect(try Contents(of: registry) == before)
    }

    @Test func `two volumes may have snapshots of one name`() throws {
        try registry.createVolume(volume(members: [member(5), member(6)], number: 1))
        try cut(2, "s", expecting: 5)
        _ = try registry.change(
            volumeID(1), [.cut(member: index(6), snapshot: "s", at: 0, replacement: nil)],
            owner: owner(1), expecting: Epoch(5))
        #expect(try registry.snapshots(of: volumeID(0)).map(\.region) == [region(2)])
        #expect(try registry.snapshots(of: volumeID(1)).map(\.region) == [region(6)])
    }

    @Test func `a snapshot's region never becomes a member again`() throws {
        try cut(2, "s", expecting: 5)
        #expect(throws: RegistryError.illegalChange(.regionTaken(region(2)))) {
            _ = try registry.change(
                volumeID(0), [.add(member(2, .rebuilding))], owner: owner(1), expecting: Epoch(6))
        }
        #expect(throws: RegistryError.illegalChange(.regionTaken(region(2)))) {
            try registry.createVolume(volume(members: [member(2)], number: 1))
        }
        // Once the snapshot is deleted, its region is free.
        try registry.deleteSnapshot(of: volumeID(0), named: "s")
        try registry.createVolume(volume(members: [member(2)], number: 1))
    }

    @Test func `a deleted snapshot is returned once`() throws {
        try cut(2, "s", expecting: 5)
        let record = try #require(try registry.snapshots(of: volumeID(0)).first)
        #expect(try registry.deleteSnapshot(of: volumeID(0), named: "s") == record)
        #expect(throws: RegistryError.notFound(.snapshot, name: "s")) {
            try registry.deleteSnapshot(of: volumeID(0), named: "s")
        }
        #expect(try registry.snapshots(of: volumeID(0)).isEmpty)
    }

    @Test func `a volume without snapshots has none, no volume is an error`() throws {
        #expect(try registry.snapshots(of: volumeID(0)).isEmpty)
        #expect(throws: RegistryError.notFound(.volume, name: volumeID(9).description)) {
            try registry.snapshots(of: volumeID(9))
        }
    }
}
