// A volume grows: its record alone, then what is kept of it.

import Registry
import RemoteMemory
import Testing

@Suite struct GrowthTests {
    @Test func `the size is another, and nothing else but the epoch`() throws {
        let before = try volume([.active, .suspect, .rebuilding, .failed])
        let (after, snapshot) = try before.applying([.grow(to: .gibibytes(2))])
        #expect(after.size == .gibibytes(2))
        #expect(after.epoch == Epoch(6))
        #expect(after.members == before.members && after.layout == before.layout)
        #expect(snapshot == nil)
    }

    @Test func `rows keep their places when an erasure set grows`() throws {
        let layout = Layout.erasure(data: 2, parity: 1)
        let before = try volume([.active, .active, .active], layout: layout)
        let (after, _) = try before.applying([.grow(to: .gibibytes(5))])
        #expect(after.stripes?.volumeSize == .gibibytes(5))
        #expect(after.stripes?.row(7) == before.stripes?.row(7))
        #expect(after.regionDataSize > before.regionDataSize)
        #expect(after.regionDataSize.bytes >= 5 << 29)
    }

    @Test(arguments: [ByteCount.gibibytes(1), ByteCount((1 << 30) - 4096), .zero])
    func `a volume does not shrink, or stay what it is`(size: ByteCount) throws {
        let reason = IllegalChange.wouldNotGrow(from: .gibibytes(1), to: size)
        #expect(throws: RegistryError.illegalChange(reason)) {
            try volume([.active]).applying([.grow(to: size)])
        }
        #expect(reason.description.contains("would be lost"))
    }

    @Test(arguments: [
        ByteCount(4095), ByteCount((1 << 30) + 512), ByteCount((64 << 40) + 4096),
        ByteCount(.max),
    ])
    func `it grows to a size that a volume may have`(size: ByteCount) throws {
        #expect(throws: RegistryError.illegalChange(.growthOutOfRange(size))) {
            try volume([.active]).applying([.grow(to: size)])
        }
    }

    @Test func `another device is refused, and so is another epoch`() throws {
        let before = try volume([.active])
        #expect(throws: RegistryError.notOwner(expected: owner(2), found: owner(1))) {
            try before.applying([.grow(to: .gibibytes(2))], owner: owner(2), expecting: Epoch(5))
        }
        #expect(throws: RegistryError.staleEpoch(expected: Epoch(4), found: Epoch(5))) {
            try before.applying([.grow(to: .gibibytes(2))], owner: owner(1), expecting: Epoch(4))
        }
    }

    @Test(arguments: [Layout.mirror(copies: 2), .erasure(data: 2, parity: 1)])
    func `a size is kept, by the registry and by snapshots of before`(layout: Layout) throws {
        let scratch = try Scratch()
        let grown: VolumeRecord
        do {
            let registry = try scratch.openWithAppliances()
            try registry.createVolume(
                try volume([.active, .active, .active], layout: layout))
            let cut: MembershipChange =
                layout.isErasure
                ? .cutGeneration(
                    (0..<3).map {
                        SnapshotMember(
                            index: index($0), region: region(UInt64(20 + $0)), appliance: "a\($0)",
                            incarnation: incarnation(UInt64($0)))
                    }, snapshot: "before", at: 1)
                : .cut(member: index(1), snapshot: "before", at: 1, replacement: nil)
            let record = try registry.change(
                volumeID(0), [cut], owner: owner(1), expecting: Epoch(5))
            grown = try registry.change(
                volumeID(0), [.grow(to: .gibibytes(3))], owner: owner(1), expecting: record.epoch)
        }
        let again = try scratch.open()
        #expect(try again.volume(named: "vol0") == grown)
        #expect(grown.size == .gibibytes(3))
        let snapshot = try #require(try again.snapshots(of: volumeID(0)).first)
        #expect(snapshot.size == .gibibytes(1))
        #expect(snapshot.stripes?.volumeSize ?? .gibibytes(1) == .gibibytes(1))
    }
}
