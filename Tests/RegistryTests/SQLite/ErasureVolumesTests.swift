// Erasure sets in the registry: their chunks are kept, their members' places are, and their layout is.

import GRDB
import Registry
import RemoteMemory
import Testing

@Suite struct ErasureVolumesTests {
    let scratch: Scratch
    let registry: SQLiteRegistry

    init() throws {
        scratch = try Scratch()
        registry = try scratch.openWithAppliances()
    }

    private func striped(
        _ states: [MemberState], chunk: ByteCount = .kibibytes(4)
    ) throws(RegistryError) -> VolumeRecord {
        try VolumeRecord(
            name: "striped", id: volumeID(3), size: .gibibytes(1),
            layout: .erasure(data: 2, parity: 1), ordering: .parallel, chunk: chunk,
            epoch: Epoch(5), owner: owner(1),
            members: states.enumerated().map { member($0.offset, $0.element) })
    }

    @Test(arguments: [ByteCount(2048), .kibibytes(16), .kibibytes(128)])
    func `the size of chunks is kept`(chunk: ByteCount) throws {
        let record = try striped([.active, .active, .active], chunk: chunk)
        try registry.createVolume(record)
        #expect(try registry.volume(named: "striped") == record)
        #expect(try registry.volume(named: "striped").stripes?.chunk == chunk)
        let changed = try registry.change(
            record.id, [.fail([index(1)])], owner: owner(1), expecting: Epoch(5))
        #expect(changed.stripes == record.stripes)
        #expect(try registry.volume(named: "striped").stripes == record.stripes)
    }

    @Test(arguments: [ByteCount(0), ByteCount(3000), ByteCount(256), .kibibytes(256)])
    func `chunks that cannot be are refused in words`(chunk: ByteCount) throws {
        let error = #expect(throws: RegistryError.self) { try striped([], chunk: chunk) }
        #expect(error == .illegalChange(.chunkOutOfRange(.chunkOutOfRange(chunk))))
        #expect(error?.description.contains("power of two") == true)
    }

    @Test func `a member's successor takes its index, and there are never more`() throws {
        #expect(try striped([.active, .active]).freeIndex == index(2))
        #expect(try striped([.active, .active, .active]).freeIndex == nil)
        #expect(try striped([.active, .failed, .rebuilding]).freeIndex == index(1))
        #expect(try striped([.failed, .active, .failed]).freeIndex == index(0))
    }

    @Test func `a layout of other regions is refused`() throws {
        let erasure = try striped([.active, .active, .active])
        #expect(throws: RegistryError.illegalChange(.fixedLayout(erasure.layout))) {
            try erasure.applying([.setLayout(.mirror(copies: 3))])
        }
        let mirror = try volume([.active, .active])
        #expect(throws: RegistryError.illegalChange(.fixedLayout(erasure.layout))) {
            try mirror.applying([.setLayout(erasure.layout)])
        }
    }

    @Test func `what each region holds is a share, and room for redo slots`() throws {
        let record = try striped([])
        let share = ByteCount(record.size.bytes / 2)
        #expect(record.regionDataSize > share)
        #expect(record.regionDataSize.bytes <= share.bytes + (4 << 20))
        #expect(try volume([.active]).regionDataSize == .gibibytes(1))
    }
}
