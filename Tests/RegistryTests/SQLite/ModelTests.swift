// Thousands of changes, drawn from a seed, on a registry and on plain records side by side. Whatever
// the pure transitions say must be what SQLite holds, and both must keep the invariants.

import Registry
import RemoteMemory
import Testing

/// SplitMix64: a seed in a failure report is enough to draw the same changes again.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var word = state
        word = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        word = (word ^ (word >> 27)) &* 0x94D0_49BB_1331_11EB
        return word ^ (word >> 31)
    }
}

@Suite struct ModelTests {
    static func change(
        of record: VolumeRecord, regions: inout UInt64, using generator: inout SeededGenerator
    ) -> MembershipChange {
        let number = Int.random(in: 0..<6, using: &generator)
        regions += 1
        let fresh = member(
            Int.random(in: 0..<6, using: &generator),
            Bool.random(using: &generator) ? .rebuilding : .active, region: regions)
        // Half the time somebody who is there, so that enough changes are legal.
        let chosen = record.members.randomElement(using: &generator)?.index
        let target = Bool.random(using: &generator) ? chosen ?? index(number) : index(number)
        switch Int.random(in: 0..<11, using: &generator) {
        case 0, 1: return .fail([target])
        case 2, 3: return .add(fresh)
        case 4: return .promote(target)
        case 5: return .remove([target])
        case 6: return .cut(member: target, snapshot: "s\(regions)", at: 0, replacement: nil)
        case 7:
            return .setLayout(.mirror(copies: Int.random(in: 1...9, using: &generator)))
        case 8: return .setLeaving(target, Bool.random(using: &generator))
        case 9:
            return .grow(to: .mebibytes(UInt64.random(in: 1000...100_000, using: &generator)))
        default:
            return .cut(member: target, snapshot: "s\(regions)", at: 0, replacement: fresh)
        }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func `the registry holds what the records say`(seed: UInt64) throws {
        var generator = SeededGenerator(state: seed)
        let scratch = try Scratch()
        let registry = try scratch.openWithAppliances()
        var model = try volume([.active, .active, .active])
        var snapshots: [SnapshotRecord] = []
        try registry.createVolume(model)
        var regions: UInt64 = 1000
        var (done, refused, lost) = (0, 0, 0)
        for _ in 0..<400 {
            let changes = (0..<Int.random(in: 1...2, using: &generator)).map { _ in
                Self.change(of: model, regions: &regions, using: &generator)
            }
            let stored = Result { () throws(RegistryError) in
                try registry.change(model.id, changes, owner: owner(1), expecting: model.epoch)
            }
            do {
                let (next, snapshot) = try model.applying(changes)
                #expect(try stored.get() == next)
                #expect(next.epoch == model.epoch.next)
                #expect(Set(next.members.map(\.region)).count == next.members.count)
                if model.isLost { #expect(next.isLost, "data came from nowhere") }
                model = next
                if let snapshot { snapshots.append(snapshot) }
                done += 1
            } catch {
                #expect(throws: error) { try stored.get() }
                refused += 1
            }
            if model.isLost {
                lost += 1
                regions += 1
                let fresh = [member(0, region: regions), member(1, region: regions + 1_000_000)]
                let next = try model.reset(to: fresh, owner: owner(1), expecting: model.epoch)
                let stored = try registry.resetMembers(
                    of: model.id, to: fresh, owner: owner(1), expecting: model.epoch)
                #expect(stored == next)
                model = next
            }
            #expect(try registry.volume(named: "vol0") == model)
        }
        #expect(try registry.snapshots(of: model.id) == snapshots)
        #expect(
            done > 50 && refused > 50 && lost > 0 && !snapshots.isEmpty,
            "\(done) \(refused) \(lost)")
    }
}
