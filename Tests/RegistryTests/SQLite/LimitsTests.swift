// What clients get at most is kept beside the volumes, and goes with them.

import Foundation
import GRDB
import Registry
import RemoteMemory
import Testing

@Suite struct LimitsTests {
    let scratch: Scratch

    init() throws { scratch = try Scratch() }

    private static let both = VolumeLimits(iops: 1000, bandwidth: .mebibytes(1))

    @Test(arguments: [both, VolumeLimits(iops: 1), VolumeLimits(bandwidth: ByteCount(1 << 40))])
    func `limits are kept, and cost no epoch`(limits: VolumeLimits) throws {
        do {
            let registry = try scratch.openWithAppliances()
            try registry.createVolume(volume([.active]))
            #expect(try registry.limits().isEmpty)
            try registry.setLimits(limits, of: volumeID(0))
        }
        let again = try scratch.open()
        #expect(try again.limits() == [volumeID(0): limits])
        #expect(try again.volume(named: "vol0").epoch == Epoch(5))
    }

    @Test func `the last ones count, and none are none`() throws {
        let registry = try scratch.openWithAppliances()
        try registry.createVolume(volume([.active]))
        try registry.setLimits(Self.both, of: volumeID(0))
        try registry.setLimits(VolumeLimits(iops: 7), of: volumeID(0))
        #expect(try registry.limits() == [volumeID(0): VolumeLimits(iops: 7)])
        try registry.setLimits(.none, of: volumeID(0))
        #expect(try registry.limits().isEmpty)
    }

    @Test func `they go with their volume, and are of a volume that exists`() throws {
        let registry = try scratch.openWithAppliances()
        #expect(throws: RegistryError.notFound(.volume, name: volumeID(0).description)) {
            try registry.setLimits(Self.both, of: volumeID(0))
        }
        try registry.createVolume(volume([.active]))
        try registry.setLimits(Self.both, of: volumeID(0))
        try registry.deleteVolume(named: "vol0")
        #expect(try registry.limits().isEmpty)
    }

    @Test func `changes of members leave them`() throws {
        let registry = try scratch.openWithAppliances()
        try registry.createVolume(volume([.active]))
        try registry.setLimits(Self.both, of: volumeID(0))
        _ = try registry.takeOver(volumeID(0), by: owner(2), expecting: Epoch(5))
        #expect(try registry.limits() == [volumeID(0): Self.both])
    }

    @Test(arguments: ["iops = 0", "bandwidth = -1", "iops = NULL, bandwidth = NULL"])
    func `a row that limits nothing is refused`(assignment: String) throws {
        do {
            let registry = try scratch.openWithAppliances()
            try registry.createVolume(volume([.active]))
            try registry.setLimits(Self.both, of: volumeID(0))
        }
        let queue = try DatabaseQueue(path: scratch.path)
        #expect(throws: DatabaseError.self) {
            try queue.write { try $0.execute(sql: "UPDATE volume_limit SET \(assignment)") }
        }
        try queue.close()
    }
}
