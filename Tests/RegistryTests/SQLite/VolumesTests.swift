import Registry
import RemoteMemory
import Testing

@Suite struct VolumesTests {
    let scratch: Scratch
    let registry: SQLiteRegistry

    init() throws {
        scratch = try Scratch()
        registry = try scratch.openWithAppliances()
    }

    // MARK: Creating and deleting

    @Test func `a volume comes back as it was created`() throws {
        let sequential = try VolumeRecord(
            name: "z", id: volumeID(7), size: VolumeRecord.sizes.upperBound,
            layout: .mirror(copies: 2), ordering: .sequential,
            members: [member(15), member(2)]
                .map { member in
                    MemberRecord(
                        index: member.index, state: .active, region: member.region, appliance: "a0",
                        incarnation: Incarnation(Identifier(high: .max, low: .max)))
                })
        let other = try volume([.active], number: 1)
        try registry.createVolume(sequential)
        try registry.createVolume(other)
        #expect(try registry.volume(named: "z") == sequential)
        #expect(try registry.volumes() == [other, sequential])
    }

    @Test func `a name and an identifier are taken once`() throws {
        try registry.createVolume(volume([.active]))
        let sameName = try VolumeRecord(
            name: "vol0", id: volumeID(9), size: .gibibytes(1), layout: .mirror(copies: 1),
            ordering: .parallel, members: [member(1)])
        let sameID = try VolumeRecord(
            name: "other", id: volumeID(0), size: .gibibytes(1), layout: .mirror(copies: 1),
            ordering: .parallel, members: [member(1)])
        for record in [sameName, sameID] {
            #expect(throws: RegistryError.alreadyExists(.volume, name: record.name)) {
                try registry.createVolume(record)
            }
        }
        #expect(try registry.volumes().count == 1)
    }

    @Test(
        arguments: [
            ([], .noMembers),
            ([member(0, .rebuilding)], .freshMemberNotActive(index(0), .rebuilding)),
            ([member(0), member(1, .failed)], .freshMemberNotActive(index(1), .failed)),
            ([member(0), member(1, .suspect)], .freshMemberNotActive(index(1), .suspect)),
        ] as [([MemberRecord], IllegalChange)])
    func `a new volume has active members only`(
        members: [MemberRecord], reason: IllegalChange
    ) throws {
        let record = try volume(members: members)
        #expect(throws: RegistryError.illegalChange(reason)) { try registry.createVolume(record) }
        #expect(try registry.volumes().isEmpty)
    }

    @Test func `a volume on an unknown appliance is refused`() throws {
        let record = try volume(members: [member(0), member(1, appliance: "nowhere")])
        #expect(throws: RegistryError.notFound(.appliance, name: "nowhere")) {
            try registry.createVolume(record)
        }
        #expect(try registry.volumes().isEmpty)
    }

    @Test func `a region serves one volume`() throws {
        try registry.createVolume(volume([.active]))
        let second = try volume(members: [member(3, region: 0)], number: 1)
        #expect(throws: RegistryError.illegalChange(.regionTaken(region(0)))) {
            try registry.createVolume(second)
        }
        #expect(try registry.volumes().map(\.name) == ["vol0"])
    }

    @Test(arguments: ["vol1", "", "VOL0", "vol0'--"])
    func `a volume that is not there is not found`(name: String) throws {
        try registry.createVolume(volume([.active]))
        let expected = RegistryError.notFound(.volume, name: name)
        #expect(throws: expected) { try registry.volume(named: name) }
        #expect(throws: expected) { try registry.deleteVolume(named: name) }
    }

    @Test func `a deleted volume is gone, with its members`() throws {
        try registry.createVolume(volume([.active, .active]))
        let last = try registry.takeOver(volumeID(0), by: owner(2), expecting: Epoch(5))
        #expect(try registry.deleteVolume(named: "vol0") == last)
        #expect(try registry.volumes().isEmpty)
        #expect(throws: RegistryError.notFound(.volume, name: volumeID(0).description)) {
            try registry.takeOver(volumeID(0), by: owner(1), expecting: Epoch(6))
        }
        // Nothing of it is left to be in the way.
        try registry.createVolume(volume([.active, .active]))
    }

    @Test func `a volume with snapshots stays until they are deleted`() throws {
        try registry.createVolume(volume([.active, .active, .active]))
        for (number, epoch) in [(1, 5), (2, 6)] as [(Int, UInt64)] {
            _ = try registry.change(
                volumeID(0),
                [.cut(member: index(number), snapshot: "s\(number)", at: 0, replacement: nil)],
                owner: owner(1), expecting: Epoch(epoch))
        }
        #expect(throws: RegistryError.inUse(.volumeHasSnapshots(volume: "vol0", count: 2))) {
            try registry.deleteVolume(named: "vol0")
        }
        try registry.deleteSnapshot(of: volumeID(0), named: "s1")
        #expect(throws: RegistryError.inUse(.volumeHasSnapshots(volume: "vol0", count: 1))) {
            try registry.deleteVolume(named: "vol0")
        }
        try registry.deleteSnapshot(of: volumeID(0), named: "s2")
        try registry.deleteVolume(named: "vol0")
    }

    // MARK: Changes

    @Test(arguments: MembershipChangeTests.legal.filter { $0.from.allSatisfy { $0 == .active } })
    func `a change is stored as the transition made it`(
        row: MembershipChangeTests.Legal
    ) throws {
        guard !row.from.isEmpty else { return }
        let before = try volume(row.from)
        try registry.addAppliance(appliance(15))
        try registry.createVolume(before)
        let after = try registry.change(
            volumeID(0), row.changes, owner: owner(1), expecting: Epoch(5))
        #expect(after.picture == row.to)
        #expect(try registry.volume(named: "vol0") == after)
    }

    @Test func `a refused change leaves everything as it was`() throws {
        try registry.createVolume(volume([.active, .active], number: 0))
        try registry.createVolume(volume(members: [member(7)], number: 1))
        _ = try registry.change(
            volumeID(0), [.cut(member: index(1), snapshot: "s", at: 0, replacement: nil)],
            owner: owner(1), expecting: Epoch(5))
        let before = try Contents(of: registry)
        let add = { (record: MemberRecord) in [MembershipChange.fail([index(0)]), .add(record)] }
        let refused: [([MembershipChange], RegistryError)] = [
            (
                add(member(2, .rebuilding, appliance: "nowhere")),
                .notFound(.appliance, name: "nowhere")
            ),
            (add(member(2, .rebuilding, region: 7)), .illegalChange(.regionTaken(region(7)))),
            (add(member(2, .rebuilding, region: 1)), .illegalChange(.regionTaken(region(1)))),
            (add(member(2, .active)), .illegalChange(.additionNotRebuilding(index(2), .active))),
            ([], .illegalChange(.nothingToDo)),
        ]
        for (changes, error) in refused {
            #expect(throws: error) {
                try registry.change(volumeID(0), changes, owner: owner(1), expecting: Epoch(6))
            }
            #expect(try Contents(of: registry) == before)
        }
    }

    @Test func `a volume nobody knows cannot be changed`() throws {
        let expected = RegistryError.notFound(.volume, name: volumeID(3).description)
        #expect(throws: expected) {
            try registry.change(
                volumeID(3), [.fail([index(0)])], owner: owner(1), expecting: Epoch(1))
        }
        #expect(throws: expected) {
            try registry.resetMembers(
                of: volumeID(3), to: [member(0)], owner: owner(1), expecting: Epoch(1))
        }
    }

    @Test func `only a lost volume is reset, and keeps its snapshots`() throws {
        try registry.createVolume(volume([.active, .active]))
        let fresh = [member(0, region: 40), member(1, region: 41)]
        #expect(throws: RegistryError.illegalChange(.volumeIsNotLost)) {
            try registry.resetMembers(
                of: volumeID(0), to: fresh, owner: owner(1), expecting: Epoch(5))
        }
        let cut = MembershipChange.cut(member: index(1), snapshot: "s", at: 0, replacement: nil)
        let lost = try registry.change(
            volumeID(0), [cut, .fail([index(0)])], owner: owner(1), expecting: Epoch(5))
        #expect(lost.isLost)
        // A snapshot's region is no fresh one.
        #expect(throws: RegistryError.illegalChange(.regionTaken(region(1)))) {
            try registry.resetMembers(
                of: volumeID(0), to: [member(1)], owner: owner(1), expecting: Epoch(6))
        }
        let after = try registry.resetMembers(
            of: volumeID(0), to: fresh, owner: owner(1), expecting: Epoch(6))
        #expect(after.members == fresh)
        #expect(after.epoch == Epoch(7))
        #expect(try registry.volume(named: "vol0") == after)
        #expect(try registry.snapshots(of: volumeID(0)).map(\.name) == ["s"])
    }

    // MARK: Races

    /// The volume if it was won; a device that lost must have been told the epoch it lost to.
    private static func takeOver(
        in registry: SQLiteRegistry, by device: OwnerID, expecting: Epoch
    ) -> VolumeRecord? {
        do {
            return try registry.takeOver(volumeID(0), by: device, expecting: expecting)
        } catch {
            #expect(error == .staleEpoch(expected: expecting, found: expecting.next))
            return nil
        }
    }

    @Test func `of many devices that take over at once one gets the volume`() async throws {
        try registry.createVolume(volume([.active]))
        for epoch in 5..<15 as Range<UInt64> {
            let winners = await withTaskGroup(of: VolumeRecord?.self) { group in
                for device in 10..<18 as Range<UInt64> {
                    group.addTask { [registry] in
                        Self.takeOver(in: registry, by: owner(device), expecting: Epoch(epoch))
                    }
                }
                return await group.reduce(into: []) { $0 += $1.map { [$0] } ?? [] }
            }
            #expect(winners.count == 1)
            #expect(try registry.volume(named: "vol0") == winners.first)
        }
    }

    @Test func `a change and a takeover from one epoch do not both land`() async throws {
        try registry.createVolume(volume([.active, .active]))
        async let change = Result {
            try registry.change(
                volumeID(0), [.fail([index(1)])], owner: owner(1), expecting: Epoch(5))
        }
        async let takeover = Result {
            try registry.takeOver(volumeID(0), by: owner(2), expecting: Epoch(5))
        }
        let outcomes = await [change, takeover].map { try? $0.get() }
        #expect(outcomes.count { $0 != nil } == 1)
        #expect(try registry.volume(named: "vol0") == outcomes[0] ?? outcomes[1])
    }
}
