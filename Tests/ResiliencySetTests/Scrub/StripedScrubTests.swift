// A scrub of an erasure set finds what does not belong together, and mends it where it is clear who is wrong.

import RemoteMemory
import ResiliencySet
import Testing

/// What a scrub found.
private struct Findings: Hashable {
    var different: Int
    var mended: Int
}

extension StripedModel {
    fileprivate func scrub() -> Findings {
        engine.beginScrub()
        while engine.advanceBackground() { drain() }
        drain()
        let standing = engine.scrubStanding
        return Findings(different: standing.differentExtents, mended: standing.mendedExtents)
    }

    /// Changes a byte behind the engine's back: in a member's row, so far behind its start.
    fileprivate func spoil(_ member: Int, row: UInt64, at column: UInt64) {
        let place = stripes.row(row).start + ByteCount(column)
        regions[MemberIndex(member)]?.bytes[Int(place.bytes)] ^= 0x51
    }

    fileprivate static func filled(_ code: Code, seed: UInt64) throws -> StripedModel {
        let set = try StripedModel(code.data, code.parity, chunk: code.chunk)
        var generator = SplitMix64(seed: seed)
        set.exercise(&generator, writes: 8)
        return set
    }
}

@Suite struct StripedScrubTests {
    private static let code = Code(data: 4, parity: 2, chunk: 1024)

    @Test(arguments: Code.all)
    func `members that belong together are told so`(code: Code) throws {
        let set = try StripedModel.filled(code, seed: 1)
        #expect(set.scrub() == Findings(different: 0, mended: 0))
        #expect(set.engine.scrubStanding.compared == set.stripes.volumeSize)
    }

    @Test(arguments: Code.all)
    func `the one member that is wrong is mended, if two parities say so`(code: Code) throws {
        for member in 0..<code.data + code.parity {
            let set = try StripedModel.filled(code, seed: UInt64(member))
            let regions = set.regions.mapValues(\.bytes)
            set.spoil(member, row: 0, at: 17)
            set.spoil(member, row: 0, at: 500)
            set.spoil(member, row: 3, at: 1)
            let canTell = code.parity > 1
            #expect(set.scrub() == Findings(different: 2, mended: canTell ? 2 : 0))
            #expect((set.regions.mapValues(\.bytes) == regions) == canTell)
            #expect(set.active == set.stripes.members && set.isSettled && set.leak == nil)
            if canTell { #expect(set.scrub() == Findings(different: 0, mended: 0)) }
        }
    }

    @Test func `a twin that was filled with what is wrong is mended with its member`() throws {
        let set = try StripedModel.filled(Self.code, seed: 5)
        let place = MemberIndex(3)
        for row in 0..<set.stripes.stripeCount { set.spoil(place.number, row: row, at: 9) }
        #expect(set.addTwins(MemberSet(place)))
        set.work()
        #expect(set.wholeTwins == MemberSet(place.twin))
        let rows = Int(set.stripes.stripeCount)
        #expect(set.scrub() == Findings(different: rows, mended: rows))
        #expect(set.replace(place))
        #expect(set.scrub() == Findings(different: 0, mended: 0))
        #expect(set.isWhole && set.isConsistent)
    }

    @Test func `with K+1 members nobody can say who is wrong`() throws {
        let set = try StripedModel.filled(Self.code, seed: 2)
        set.lose(MemberSet(MemberIndex(0)))
        set.spoil(3, row: 1, at: 17)
        #expect(set.scrub() == Findings(different: 1, mended: 0))
        #expect(set.isSettled && set.leak == nil)
    }

    @Test func `where two members are wrong nothing is touched`() throws {
        let set = try StripedModel.filled(Self.code, seed: 3)
        set.spoil(1, row: 2, at: 5)
        set.spoil(4, row: 2, at: 900)
        let regions = set.regions.mapValues(\.bytes)
        #expect(set.scrub() == Findings(different: 1, mended: 0))
        #expect(set.regions.mapValues(\.bytes) == regions)
    }

    @Test(arguments: 0..<6)
    func `a member may fail at any step of mending`(victim: Int) throws {
        for step in 0..<30 {
            let set = try StripedModel.filled(Self.code, seed: 4)
            set.spoil(2, row: 1, at: 5)
            set.doomed = (MemberIndex(victim), set.count + step)
            let findings = set.scrub()
            #expect(findings.different <= 1 && findings.mended <= findings.different)
            #expect(set.isSettled && set.leak == nil)
            // Its rows are right, or it is not a member any more.
            let isGone = !set.active.contains(MemberIndex(2))
            if findings.mended == 1 || isGone { #expect(set.isWhole) }
            set.doomed = nil
            set.replaceMissing()
            #expect(set.active == set.stripes.members)
            // (A member that is made anew meanwhile may be made of what is wrong.)
            if findings.mended == 1 || isGone {
                #expect(set.scrub() == Findings(different: 0, mended: 0))
            }
        }
    }
}
