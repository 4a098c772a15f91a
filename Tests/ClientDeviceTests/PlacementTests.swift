// Members of a set stand on the emptiest appliances, within what these lend and what their hosts can give
// once everything that was promised there has been written.

import ClientDevice
import RemoteMemory
import Testing

@Suite struct PlacementTests {
    /// An appliance with room of `free` MiB, by default on a host of its own with plenty.
    static func candidate(
        _ name: String, free: UInt64, host: String? = nil, available: UInt64 = 1 << 20,
        promised: UInt64 = 0
    ) -> PlacementCandidate {
        PlacementCandidate(
            name: name, free: .mebibytes(free), host: host ?? "host of \(name)",
            hostAvailable: .mebibytes(available), promised: .mebibytes(promised))
    }

    static func choose(
        _ count: Int, of size: UInt64, among candidates: [PlacementCandidate]
    ) throws(PlacementError) -> [String] {
        try Placement.choose(count, regionsOf: .mebibytes(size), among: candidates)
    }

    @Test func theEmptiestComeFirst() throws {
        let candidates = [
            Self.candidate("a", free: 10), Self.candidate("b", free: 30),
            Self.candidate("c", free: 20), Self.candidate("d", free: 5),
        ]
        for order in [candidates, candidates.reversed()] {
            #expect(try Self.choose(1, of: 4, among: order) == ["b"])
            #expect(try Self.choose(3, of: 4, among: order) == ["b", "c", "a"])
            #expect(try Self.choose(4, of: 4, among: order) == ["b", "c", "a", "d"])
        }
    }

    @Test func namesDecideAmongEquals() throws {
        let candidates = ["c", "a", "d", "b"].map { Self.candidate($0, free: 10) }
        #expect(try Self.choose(3, of: 10, among: candidates) == ["a", "b", "c"])
    }

    @Test func nothingIsPlacedNowhere() throws {
        #expect(try Self.choose(0, of: 10, among: []).isEmpty)
    }

    @Test(arguments: [0, 1, 2])
    func copiesNeedAppliances(found: Int) {
        let candidates = ["a", "b", "c"].prefix(found).map { Self.candidate($0, free: 100) }
        let expected = PlacementError.tooFewAppliances(needed: 3, found: found)
        #expect(throws: expected) { try Self.choose(3, of: 1, among: candidates) }
        #expect(expected.description.hasPrefix("needs 3 appliances that hold no other copy"))
        #expect(expected.description.contains(found == 1 ? "1 is up" : "\(found) are up"))
    }

    @Test func theLastMebibyteIsLentAndNoMore() throws {
        let candidates = [Self.candidate("a", free: 8), Self.candidate("b", free: 9)]
        #expect(try Self.choose(2, of: 8, among: candidates) == ["b", "a"])
        #expect(try Self.choose(1, of: 9, among: candidates) == ["b"])
        #expect(
            throws: PlacementError.insufficientMemory(
                needed: .mebibytes(18), regions: 2, free: .mebibytes(18))
        ) { try Self.choose(2, of: 9, among: candidates) }
        let alone = PlacementError.insufficientMemory(
            needed: .mebibytes(10), regions: 1, free: .mebibytes(9))
        #expect(throws: alone) { try Self.choose(1, of: 10, among: candidates) }
        #expect(alone.description.hasPrefix("needs 10.0 MiB on 1 appliance; 9.0 MiB free: "))
    }

    // MARK: Hosts

    @Test func hostsMustHaveTheMemoryToo() throws {
        let exact = [Self.candidate("a", free: 100, available: 16)]
        #expect(try Self.choose(1, of: 16, among: exact) == ["a"])
        #expect(
            throws: PlacementError.insufficientMemory(
                needed: .mebibytes(17), regions: 1, free: .mebibytes(16))
        ) { try Self.choose(1, of: 17, among: exact) }
    }

    /// Three copies on one host take three times the memory of one.
    @Test func copiesOnOneHostAddUp() throws {
        func three(available: UInt64) -> [PlacementCandidate] {
            ["a", "b", "c"].map {
                Self.candidate($0, free: 100, host: "h", available: available)
            }
        }
        #expect(try Self.choose(3, of: 10, among: three(available: 30)) == ["a", "b", "c"])
        #expect(
            throws: PlacementError.insufficientMemory(
                needed: .mebibytes(30), regions: 3, free: .mebibytes(29))
        ) { try Self.choose(3, of: 10, among: three(available: 29)) }
    }

    /// Also what was promised on the host's other appliances, which are not chosen.
    @Test func promisesCountAsTaken() throws {
        func two(promised: UInt64) -> [PlacementCandidate] {
            [
                Self.candidate("a", free: 100, host: "h", available: 50, promised: 10),
                Self.candidate("b", free: 1, host: "h", available: 50, promised: promised),
            ]
        }
        #expect(try Self.choose(1, of: 20, among: two(promised: 20)) == ["a"])
        #expect(
            throws: PlacementError.insufficientMemory(
                needed: .mebibytes(20), regions: 1, free: .mebibytes(19))
        ) { try Self.choose(1, of: 20, among: two(promised: 21)) }
        #expect(
            throws: PlacementError.insufficientMemory(
                needed: .mebibytes(20), regions: 1, free: .zero)
        ) { try Self.choose(1, of: 20, among: two(promised: 400)) }
    }

    /// Readings of one host that were taken at different times: the least counts.
    @Test func theLeastReadingOfAHostCounts() {
        let candidates = [
            Self.candidate("a", free: 100, host: "h", available: 90),
            Self.candidate("b", free: 1, host: "h", available: 9),
        ]
        #expect(
            throws: PlacementError.insufficientMemory(
                needed: .mebibytes(10), regions: 1, free: .mebibytes(9))
        ) { try Self.choose(1, of: 10, among: candidates) }
    }

    @Test func otherHostsDoNotMatter() throws {
        let candidates = [
            Self.candidate("a", free: 100), Self.candidate("b", free: 50, available: 0),
        ]
        #expect(try Self.choose(1, of: 10, among: candidates) == ["a"])
    }
}
