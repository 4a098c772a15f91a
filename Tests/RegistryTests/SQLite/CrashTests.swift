// What a killed process or a power cut leaves behind opens again, as a state between two changes.

import Foundation
import Registry
import RemoteMemory
import Testing

@Suite struct CrashTests {
    let scratch: Scratch
    let registry: SQLiteRegistry

    init() throws {
        scratch = try Scratch()
        registry = try scratch.openWithAppliances()
        try registry.createVolume(volume([.active, .active, .active]))
    }

    private func cut() throws {
        let cut = MembershipChange.cut(
            member: index(2), snapshot: "s", at: 7, replacement: member(2, .rebuilding, region: 9))
        _ = try registry.change(
            volumeID(0), [.fail([index(1)]), cut], owner: owner(1), expecting: Epoch(5))
    }

    @Test func `what was committed is there after a crash, without closing`() throws {
        _ = try registry.takeOver(volumeID(0), by: owner(1), expecting: Epoch(5))
        var epoch = Epoch(6)
        for round in 0..<40 {
            let change: MembershipChange =
                round.isMultiple(of: 2)
                ? .add(member(4, .rebuilding, region: 100 + UInt64(round))) : .remove([index(4)])
            epoch = try registry.change(volumeID(0), [change], owner: owner(1), expecting: epoch)
                .epoch
            let recovered = try scratch.copyAfterCrash().open()
            #expect(try Contents(of: recovered) == Contents(of: registry))
        }
    }

    @Test func `a change torn at any sector of the log happened whole or not at all`() throws {
        let before = try Contents(of: registry)
        let start = try Data(contentsOf: URL(filePath: scratch.logPath)).count
        try cut()
        let after = try Contents(of: registry)
        let end = try Data(contentsOf: URL(filePath: scratch.logPath)).count
        #expect(start < end && before != after)
        var old = 0
        for length in stride(from: start, to: end, by: 512) {
            let recovered = try Contents(of: scratch.copyAfterCrash(logLength: length).open())
            #expect(recovered == before)
            old += 1
        }
        #expect(try Contents(of: scratch.copyAfterCrash(logLength: end).open()) == after)
        #expect(old > 10, "the change fits too few sectors to be torn")
    }

    @Test func `a torn registry takes the change again`() throws {
        let start = try Data(contentsOf: URL(filePath: scratch.logPath)).count
        try cut()
        let after = try Contents(of: registry)
        let recovered = try CrashTests(recovering: scratch.copyAfterCrash(logLength: start + 700))
        try recovered.cut()
        #expect(try Contents(of: recovered.registry) == after)
    }

    private init(recovering scratch: Scratch) throws {
        self.scratch = scratch
        registry = try scratch.open()
    }

    @Test func `creating a registry may be torn at any sector`() throws {
        let fresh = try Scratch()
        let first = try fresh.open()
        let log = try Data(contentsOf: URL(filePath: fresh.logPath)).count
        for length in stride(from: 0, through: log, by: 512) {
            let copy = try fresh.copyAfterCrash(logLength: length).openWithAppliances()
            #expect(try copy.appliances().count == 8)
        }
        withExtendedLifetime(first) {}
    }
}
