// Erasure sets whose members are replaced in one step, and snapshots of several regions.

import Foundation
import GRDB
import Registry
import RemoteMemory
import Testing

@Suite struct GenerationsTests {
    let scratch: Scratch
    let registry: SQLiteRegistry
    let striped: VolumeRecord

    init() throws {
        scratch = try Scratch()
        registry = try scratch.openWithAppliances()
        striped = try Self.striped([.active, .active, .active])
        try registry.createVolume(striped)
    }

    private static func striped(_ states: [MemberState]) throws -> VolumeRecord {
        try VolumeRecord(
            name: "striped", id: volumeID(3), size: .gibibytes(1),
            layout: .erasure(data: 2, parity: 1), ordering: .parallel, chunk: .kibibytes(4),
            epoch: Epoch(5), owner: owner(1),
            members: states.enumerated().map { member($0.offset, $0.element) })
    }

    private static func generation(_ regions: ClosedRange<UInt64>) -> [SnapshotMember] {
        regions.enumerated().map { number, name in
            SnapshotMember(
                index: index(number), region: region(name), appliance: "a\(number + 1)",
                incarnation: incarnation(name))
        }
    }

    private static func cut(
        _ regions: [SnapshotMember], _ name: String = "s"
    ) -> MembershipChange {
        .cutGeneration(regions, snapshot: name, at: 77)
    }

    @discardableResult
    private func change(
        _ changes: [MembershipChange], expecting: UInt64 = 5
    ) throws(RegistryError) -> VolumeRecord {
        try registry.change(striped.id, changes, owner: owner(1), expecting: Epoch(expecting))
    }

    @Test(arguments: [MemberState.active, .failed, .rebuilding])
    func `whatever became of a member, a whole region takes its place`(state: MemberState) throws {
        let before = try Self.striped([.active, state, .active])
        let successor = member(1, .active, region: 9, appliance: "a5")
        let (after, snapshot) = try before.applying([.replace(successor)])
        #expect(after.member(index(1)) == successor)
        #expect(after.picture == "0 active, 1 active, 2 active")
        #expect(after.epoch == Epoch(6) && snapshot == nil)
    }

    @Test func `a replacement is kept, and the former region is free`() throws {
        try change([.setLeaving(index(1), true)])
        try change([.replace(member(1, .active, region: 9, appliance: "a5"))], expecting: 6)
        let record = try registry.volume(named: "striped")
        #expect(record.member(index(1))?.appliance == "a5")
        #expect(record.member(index(1))?.isLeaving == false)
        try registry.createVolume(volume(members: [member(1)], number: 1))
    }

    @Test func `what may not take a place is refused, and changes nothing`() throws {
        let before = try Contents(of: registry)
        let cases: [(MemberRecord, IllegalChange)] = [
            (member(1, .rebuilding, region: 9), .successorNotActive(index(1), .rebuilding)),
            (member(3, .active, region: 9), .noTwins(striped.layout)),
            (member(1), .regionTaken(region(1))),
            (member(1, .active, region: 2), .regionTaken(region(2))),
        ]
        for (successor, reason) in cases {
            #expect(throws: RegistryError.illegalChange(reason)) {
                try change([.replace(successor)])
            }
        }
        #expect(try Contents(of: registry) == before)
        let mirror = try volume([.active, .active])
        #expect(throws: RegistryError.illegalChange(.noTwins(mirror.layout))) {
            try mirror.applying([.replace(member(1, .active, region: 9))])
        }
        let lost = try Self.striped([.active, .failed, .failed])
        #expect(throws: RegistryError.illegalChange(.volumeIsLost)) {
            try lost.applying([.replace(member(1, .active, region: 9))])
        }
    }

    @Test func `a generation is kept whole, and the members are what they were`() throws {
        let regions = Self.generation(10...12)
        let record = try change([Self.cut(regions)])
        #expect(record.members == striped.members && record.epoch == Epoch(6))
        let expected = try SnapshotRecord(
            volume: striped.id, name: "s", size: striped.size, stripes: striped.stripes,
            members: regions, cutAtEpoch: Epoch(6), createdAt: 77)
        #expect(try registry.snapshots(of: striped.id) == [expected])
        #expect(expected.membersNeeded == 2)
        #expect(expected.regionDataSize == striped.regionDataSize)
        #expect(try registry.deleteSnapshot(of: striped.id, named: "s") == expected)
        #expect(try registry.snapshots(of: striped.id).isEmpty)
        // All of its regions are free now.
        try change([Self.cut(regions, "again")], expecting: 6)
    }

    @Test func `a registry that is opened anew has the same snapshots`() throws {
        try change([Self.cut(Self.generation(10...12), "first")])
        try change([Self.cut(Self.generation(20...22), "second")], expecting: 6)
        let before = try Contents(of: registry)
        let again = try scratch.open()
        #expect(try Contents(of: again) == before)
    }

    @Test func `a snapshot lacks no region, and takes none that is in use`() throws {
        try change([Self.cut(Self.generation(10...12), "first")])
        let before = try Contents(of: registry)
        let needed = IllegalChange.incompleteGeneration(needed: 3)
        for (regions, reason) in [
            (Self.generation(20...21), needed), (Self.generation(20...23), needed),
            (Self.generation(20...22).reversed(), needed),
            (Self.generation(0...2), .regionTaken(region(0))),
            (Self.generation(12...14), .regionTaken(region(12))),
            (Self.generation(8...10), .regionTaken(region(10))),
        ] {
            #expect(throws: RegistryError.illegalChange(reason)) {
                try change([Self.cut(Array(regions), "second")], expecting: 6)
            }
        }
        #expect(throws: RegistryError.alreadyExists(.snapshot, name: "striped@first")) {
            try change([Self.cut(Self.generation(20...22), "first")], expecting: 6)
        }
        #expect(try Contents(of: registry) == before)
        let mirror = try volume([.active, .active, .active])
        #expect(throws: RegistryError.illegalChange(.noTwins(mirror.layout))) {
            try mirror.applying([Self.cut(Self.generation(20...22))])
        }
    }

    @Test(arguments: 10...12 as ClosedRange<UInt64>)
    func `no region of a snapshot becomes a member`(number: UInt64) throws {
        try change([Self.cut(Self.generation(10...12))])
        #expect(throws: RegistryError.illegalChange(.regionTaken(region(number)))) {
            try change([.replace(member(1, .active, region: number))], expecting: 6)
        }
        #expect(throws: RegistryError.illegalChange(.regionTaken(region(number)))) {
            try registry.createVolume(volume(members: [member(0, region: number)], number: 1))
        }
    }

    @Test(arguments: ["a1", "a2", "a3"])
    func `an appliance with any region of a snapshot is not forgotten`(name: String) throws {
        let registry = try Scratch().openWithAppliances()
        let record = try VolumeRecord(
            name: "striped", id: volumeID(3), size: .gibibytes(1),
            layout: .erasure(data: 2, parity: 1), ordering: .parallel, epoch: Epoch(5),
            owner: owner(1),
            members: (4...6).enumerated().map {
                member($0.offset, .active, appliance: "a\($0.element)")
            })
        try registry.createVolume(record)
        _ = try registry.change(
            record.id, [Self.cut(Self.generation(10...12))], owner: owner(1), expecting: Epoch(5))
        let use = RegistryUse.applianceHoldsSnapshot(
            appliance: name, volume: "striped", snapshot: "s")
        #expect(throws: RegistryError.inUse(use)) { try registry.removeAppliance(name) }
        try registry.deleteSnapshot(of: record.id, named: "s")
        try registry.removeAppliance(name)
    }

    @Test(arguments: [
        "UPDATE snapshot SET layout = 'erasure:0+0'", "UPDATE snapshot SET chunk = 3000",
        "DELETE FROM snapshot_member WHERE position = 1",
        "UPDATE snapshot SET layout = NULL",
    ])
    func `a snapshot that was edited into nonsense is damage`(statement: String) throws {
        try change([Self.cut(Self.generation(10...12))])
        let queue = try DatabaseQueue(path: scratch.path)
        try queue.write { try $0.execute(sql: statement) }
        try queue.close()
        let fault = try storageFault { _ = try scratch.open().snapshots(of: striped.id) }
        #expect(fault == .corrupt)
    }
}
