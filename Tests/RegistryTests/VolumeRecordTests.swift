import Registry
import RemoteMemory
import Testing

@Suite struct VolumeRecordTests {
    // MARK: The record

    @Test func `members are kept in order of index`() throws {
        let record = try volume(members: [member(7), member(0), member(3)])
        #expect(record.members.map(\.index.number) == [0, 3, 7])
        #expect(record.member(index(3)) == member(3))
        #expect(record.member(index(1)) == nil)
    }

    @Test func `two members with one index are refused`() {
        #expect(throws: RegistryError.illegalChange(.indexTaken(index(1)))) {
            try volume(members: [member(1), member(1, region: 9)])
        }
    }

    @Test func `two members with one region are refused`() {
        #expect(throws: RegistryError.illegalChange(.regionTaken(region(0)))) {
            try volume(members: [member(0), member(1, region: 0)])
        }
    }

    @Test func `a removed member has no record`() {
        #expect(throws: RegistryError.illegalChange(.removedMember(index(1)))) {
            try volume([.active, .removed])
        }
    }

    @Test func `a volume with a bad name is refused`() {
        #expect(throws: RegistryError.invalidName(.volume, name: "v@s")) {
            try VolumeRecord(
                name: "v@s", id: volumeID(0), size: .gibibytes(1), layout: .mirror(copies: 1),
                ordering: .parallel, members: [member(0)])
        }
    }

    @Test(arguments: [0, UInt64(1) << 63, .max])
    func `a volume of an impossible size is refused`(size: UInt64) {
        #expect(throws: RegistryError.illegalChange(.sizeOutOfRange(ByteCount(size)))) {
            try VolumeRecord(
                name: "v", id: volumeID(0), size: ByteCount(size), layout: .mirror(copies: 1),
                ordering: .parallel, members: [member(0)])
        }
    }

    @Test(arguments: [UInt64(1) << 63, .max])
    func `a volume of an impossible epoch is refused`(epoch: UInt64) {
        #expect(throws: RegistryError.illegalChange(.epochOutOfRange(Epoch(epoch)))) {
            try volume(members: [member(0)], epoch: epoch)
        }
    }

    @Test(
        arguments: [
            ([], true), ([.active], false), ([.suspect], false), ([.failed], true),
            ([.rebuilding], true), ([.failed, .rebuilding], true), ([.failed, .active], false),
            ([.rebuilding, .suspect], false),
        ] as [([MemberState], Bool)])
    func `a volume is lost when no member holds the data`(
        states: [MemberState], lost: Bool
    ) throws {
        #expect(try volume(states).isLost == lost)
    }

    @Test func `the free index is the lowest that no member has`() throws {
        #expect(try volume(members: []).freeIndex == index(0))
        #expect(try volume(members: [member(0), member(2)]).freeIndex == index(1))
        #expect(try volume(members: (0..<16).map { member($0) }).freeIndex == nil)
    }

    // MARK: Taking over

    @Test func `a takeover changes the owner and the epoch, nothing else`() throws {
        let before = try volume([.active, .failed])
        let after = try before.takenOver(by: owner(2), expecting: Epoch(5))
        #expect(after.owner == owner(2))
        #expect(after.epoch == Epoch(6))
        #expect(after.members == before.members)
        #expect(before.epoch == Epoch(5))
    }

    @Test func `a volume nobody owns, a lost one and one's own can be taken over`() throws {
        let free = try volume(members: [member(0)], owner: nil)
        #expect(try free.takenOver(by: owner(1), expecting: Epoch(5)).owner == owner(1))
        #expect(try volume([.failed]).takenOver(by: owner(1), expecting: Epoch(5)).isLost)
        let own = try volume([.active]).takenOver(by: owner(1), expecting: Epoch(5))
        #expect(own.epoch == Epoch(6))
    }

    @Test(arguments: [0, 4, 6, UInt64.max])
    func `a takeover at another epoch is refused`(expecting: UInt64) throws {
        let record = try volume([.active])
        #expect(throws: RegistryError.staleEpoch(expected: Epoch(expecting), found: Epoch(5))) {
            try record.takenOver(by: owner(1), expecting: Epoch(expecting))
        }
    }

    @Test func `of two takeovers from one epoch the second is refused`() throws {
        let first = try volume([.active]).takenOver(by: owner(2), expecting: Epoch(5))
        #expect(throws: RegistryError.staleEpoch(expected: Epoch(5), found: Epoch(6))) {
            try first.takenOver(by: owner(3), expecting: Epoch(5))
        }
    }

    @Test func `the last epoch has no next`() throws {
        let last = VolumeRecord.lastEpoch
        let record = try volume(members: [member(0)], epoch: last.number)
        #expect(throws: RegistryError.illegalChange(.epochOutOfRange(last))) {
            try record.takenOver(by: owner(1), expecting: last)
        }
    }

    // MARK: Reset

    private func reset(
        _ states: [MemberState], to members: [MemberRecord], by device: OwnerID = owner(1),
        expecting: UInt64 = 5
    ) throws(RegistryError) -> VolumeRecord {
        try volume(states).reset(to: members, owner: device, expecting: Epoch(expecting))
    }

    @Test func `a lost volume starts anew on other regions`() throws {
        let fresh = [member(1, region: 21), member(0, region: 20)]
        let after = try reset([.failed, .rebuilding], to: fresh)
        #expect(after.members == [fresh[1], fresh[0]])
        #expect(after.epoch == Epoch(6))
        #expect(after.id == volumeID(0))
        #expect(!after.isLost)
    }

    @Test(arguments: [[.active], [.suspect], [.failed, .active]] as [[MemberState]])
    func `a volume that is not lost cannot be reset`(states: [MemberState]) {
        #expect(throws: RegistryError.illegalChange(.volumeIsNotLost)) {
            try reset(states, to: [member(0, region: 20)])
        }
    }

    @Test(
        arguments: [
            ([], .noMembers),
            ([member(0, .rebuilding, region: 20)], .freshMemberNotActive(index(0), .rebuilding)),
            ([member(0, .suspect, region: 20)], .freshMemberNotActive(index(0), .suspect)),
            (
                [member(0, region: 20), member(1, .failed, region: 21)],
                .freshMemberNotActive(index(1), .failed)
            ),
            ([member(0, .removed, region: 20)], .freshMemberNotActive(index(0), .removed)),
            ([member(0, region: 20), member(0, region: 21)], .indexTaken(index(0))),
            ([member(0, region: 20), member(1, region: 20)], .regionTaken(region(20))),
            ([member(3, region: 0)], .regionTaken(region(0))),
        ] as [([MemberRecord], IllegalChange)])
    func `a reset to unfit members is refused`(members: [MemberRecord], reason: IllegalChange) {
        #expect(throws: RegistryError.illegalChange(reason)) {
            try reset([.failed], to: members)
        }
    }

    @Test func `only the owner at the current epoch resets`() {
        let fresh = [member(0, region: 20)]
        #expect(throws: RegistryError.notOwner(expected: owner(2), found: owner(1))) {
            try reset([.failed], to: fresh, by: owner(2))
        }
        #expect(throws: RegistryError.staleEpoch(expected: Epoch(4), found: Epoch(5))) {
            try reset([.failed], to: fresh, expecting: 4)
        }
    }
}
