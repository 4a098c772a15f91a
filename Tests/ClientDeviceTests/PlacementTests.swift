// Members of a set stand in different failure domains, then on different hosts, then on the emptiest
// appliances, within what these lend and what their hosts can give once everything that was promised there
// has been written.

import ClientDevice
import RemoteMemory
import Testing

@Suite struct PlacementTests {
    /// An appliance with room of `free` MiB, by default on a host of its own with plenty.
    static func candidate(
        _ name: String, in domain: String? = nil, free: UInt64, of capacity: UInt64 = 1000,
        host: String? = nil, available: UInt64 = 1 << 20, promised: UInt64 = 0
    ) -> PlacementCandidate {
        PlacementCandidate(
            name: name, failureDomain: domain, capacity: .mebibytes(capacity),
            free: .mebibytes(free), host: host ?? "host of \(name)",
            hostAvailable: .mebibytes(available), promised: .mebibytes(promised))
    }

    /// Where a member stands already.
    static func site(_ name: String, in domain: String? = nil, host: String? = nil)
        -> PlacementSite
    {
        candidate(name, in: domain, free: 0, host: host).site
    }

    static func choose(
        _ count: Int, of size: UInt64, among candidates: [PlacementCandidate],
        beside: [PlacementSite] = [], surviving survived: Int? = nil, acceptsCrowding: Bool = false
    ) throws(PlacementError) -> [String] {
        try Placement.choose(
            count, regionsOf: .mebibytes(size), among: candidates, beside: beside,
            surviving: survived, acceptsCrowding: acceptsCrowding)
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
                needed: .mebibytes(18), regions: 2, free: .mebibytes(18), full: ["a"])
        ) { try Self.choose(2, of: 9, among: candidates) }
        let alone = PlacementError.insufficientMemory(
            needed: .mebibytes(10), regions: 1, free: .mebibytes(9), full: ["a", "b"])
        #expect(throws: alone) { try Self.choose(1, of: 10, among: candidates) }
        #expect(
            alone.description.hasPrefix(
                "needs 10.0 MiB on 1 appliance; 9.0 MiB free, too little on a, b: "))
    }

    @Test func aShareCountsNotAnAmount() throws {
        let candidates = [
            Self.candidate("large", free: 500, of: 10000),
            Self.candidate("small", free: 90, of: 100),
        ]
        #expect(try Self.choose(1, of: 1, among: candidates) == ["small"])
        // What counts is what is left: the small one would be full.
        #expect(try Self.choose(1, of: 88, among: candidates) == ["large"])
    }

    @Test func aLongListOfFullAppliancesIsCutShort() {
        let candidates = (1...9).map { Self.candidate("a\($0)", free: 1) }
        let error = #expect(throws: PlacementError.self) {
            try Self.choose(2, of: 5, among: candidates)
        }
        #expect(error?.description.contains("too little on a1, a2, a3, a4 and 5 more: ") == true)
    }

    // MARK: Failure domains

    @Test func domainsComeBeforeRoom() throws {
        let candidates = [
            Self.candidate("a1", in: "a", free: 900), Self.candidate("a2", in: "a", free: 800),
            Self.candidate("b1", in: "b", free: 20), Self.candidate("c1", free: 10),
        ]
        #expect(try Self.choose(3, of: 10, among: candidates) == ["a1", "b1", "c1"])
        // Only then is one used twice.
        #expect(try Self.choose(4, of: 10, among: candidates) == ["a1", "b1", "c1", "a2"])
    }

    @Test func anUnlabelledApplianceIsADomainOfItsOwnWhateverItIsCalled() throws {
        let candidates = [
            Self.candidate("x", free: 100), Self.candidate("y", in: "x", free: 90),
            Self.candidate("z", in: "x", free: 80),
        ]
        #expect(try Self.choose(2, of: 10, among: candidates) == ["x", "y"])
        #expect(
            try Self.choose(1, of: 10, among: candidates, beside: [Self.site("w", in: "x")])
                == ["x"])
    }

    @Test func withFewerDomainsThanMembersTheyAreUsedEvenly() throws {
        let candidates = ["a", "b", "c"].flatMap { (domain: String) in
            (0..<4).map { Self.candidate("\(domain)\($0)", in: domain, free: 100) }
        }
        for count in 1...12 {
            let chosen = try Self.choose(count, of: 10, among: candidates)
            #expect(Set(chosen).count == count)
            let counts = ["a", "b", "c"].map { domain in chosen.count { $0.hasPrefix(domain) } }
            let spread = (counts.max() ?? 0) - (counts.min() ?? 0)
            #expect(spread <= 1, "\(count): \(chosen)")
        }
    }

    @Test func hostsComeAfterDomainsAndBeforeRoom() throws {
        let candidates = [
            Self.candidate("a", free: 300, host: "h"), Self.candidate("b", free: 200, host: "h"),
            Self.candidate("c", free: 100, host: "k"),
        ]
        #expect(try Self.choose(2, of: 10, among: candidates) == ["a", "c"])
        let racked = [
            Self.candidate("a", in: "r", free: 300, host: "h"),
            Self.candidate("b", in: "s", free: 200, host: "h"),
            Self.candidate("c", in: "r", free: 100, host: "k"),
        ]
        #expect(try Self.choose(2, of: 10, among: racked) == ["a", "b"])
    }

    @Test func whoIsThereAlreadyCounts() throws {
        let candidates = [
            Self.candidate("a1", in: "a", free: 100), Self.candidate("b1", in: "b", free: 50),
            Self.candidate("b2", in: "b", free: 90),
        ]
        let beside = [Self.site("a0", in: "a")]
        #expect(try Self.choose(1, of: 10, among: candidates, beside: beside) == ["b2"])
        // Never twice on one appliance.
        #expect(
            try Self.choose(2, of: 10, among: candidates, beside: [Self.site("b2", in: "b")])
                == ["a1", "b1"])
        #expect(throws: PlacementError.tooFewAppliances(needed: 3, found: 2)) {
            try Self.choose(3, of: 10, among: candidates, beside: [Self.site("b2", in: "b")])
        }
    }

    /// A rack that burns takes all copies: refused, unless there is nothing else, or it is better than none.
    @Test func allCopiesInOneDomainAreRefusedWhileOthersAreThere() throws {
        let candidates = [
            Self.candidate("a1", in: "a", free: 100), Self.candidate("a2", in: "a", free: 100),
            Self.candidate("b1", in: "b", free: 5), Self.candidate("c1", free: 5),
        ]
        let refusal = PlacementError.oneDomain(.label("a"), full: ["b1", "c1"])
        #expect(throws: refusal) { try Self.choose(2, of: 10, among: candidates) }
        #expect(
            throws: refusal
        ) { try Self.choose(1, of: 10, among: candidates, beside: [Self.site("a0", in: "a")]) }
        #expect(
            refusal.description.hasPrefix(
                "would have all its copies in failure domain a, for there is no room on b1, c1; "))
        #expect(
            try Self.choose(2, of: 10, among: candidates, acceptsCrowding: true) == ["a1", "a2"])
        #expect(try Self.choose(1, of: 10, among: candidates) == ["a1"])
        #expect(try Self.choose(2, of: 10, among: Array(candidates.prefix(2))) == ["a1", "a2"])
    }

    /// Of `erasure:4+2`, two members may be lost with a rack.
    @Test func moreOfAnErasureSetThanMayBeLostIsNotPutIntoOneDomainWhereThatCanBeHelped() throws {
        func racks(_ free: [UInt64]) -> [PlacementCandidate] {
            zip("abc", free).flatMap { rack, free in
                (1...3).map { Self.candidate("\(rack)\($0)", in: "\(rack)", free: free) }
            }
        }
        func choose(
            _ candidates: [PlacementCandidate], _ accepts: Bool = false
        ) throws(PlacementError) -> [String] {
            try Self.choose(
                6, of: 10, among: candidates, surviving: 2, acceptsCrowding: accepts)
        }
        let even = try choose(racks([100, 100, 100]))
        #expect("abc".allSatisfy { rack in even.count { $0.first == rack } == 2 })

        let refusal = PlacementError.crowdedDomain(
            .label("a"), members: 3, survived: 2, full: ["c1", "c2", "c3"])
        #expect(throws: refusal) { try choose(racks([100, 100, 5])) }
        #expect(
            refusal.description.hasPrefix(
                "would have 3 members in failure domain a and survives the loss of 2, for there is "
                    + "no room on c1, c2, c3; "))
        #expect(try choose(racks([100, 100, 5]), true).count == 6)
        // With two racks there is nothing better than three in each.
        #expect(try choose(Array(racks([100, 100, 100]).prefix(6))).count == 6)
    }

    @Test func aCrowdedDomainIsNoReasonToRefuseAPlaceInAnother() throws {
        let crowded =
            ["a1", "a2", "a3"].map { Self.site($0, in: "a") } + [Self.site("b1", in: "b")]
        let candidates = ["b2", "c1"].map { Self.candidate($0, in: "\($0.prefix(1))", free: 100) }
        #expect(
            try Self.choose(1, of: 10, among: candidates, beside: crowded, surviving: 2) == ["c1"])
    }

    /// A host without memory does not keep others from being used.
    @Test func aPoorHostIsPassedOver() throws {
        let candidates = [
            Self.candidate("a", free: 300, host: "h", available: 15),
            Self.candidate("b", free: 200, host: "h", available: 15),
            Self.candidate("c", free: 100, host: "k", available: 20),
            Self.candidate("d", free: 90, host: "k", available: 20),
        ]
        #expect(try Self.choose(3, of: 10, among: candidates) == ["a", "c", "d"])
        #expect(
            throws: PlacementError.insufficientMemory(
                needed: .mebibytes(40), regions: 4, free: .mebibytes(35), full: ["a", "b"])
        ) { try Self.choose(4, of: 10, among: candidates) }
    }

    // MARK: Hosts

    @Test func hostsMustHaveTheMemoryToo() throws {
        let exact = [Self.candidate("a", free: 100, available: 16)]
        #expect(try Self.choose(1, of: 16, among: exact) == ["a"])
        #expect(
            throws: PlacementError.insufficientMemory(
                needed: .mebibytes(17), regions: 1, free: .mebibytes(16), full: ["a"])
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
                needed: .mebibytes(30), regions: 3, free: .mebibytes(29),
                full: ["a", "b", "c"])
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
                needed: .mebibytes(20), regions: 1, free: .mebibytes(19), full: ["a"])
        ) { try Self.choose(1, of: 20, among: two(promised: 21)) }
        #expect(
            throws: PlacementError.insufficientMemory(
                needed: .mebibytes(20), regions: 1, free: .zero, full: ["a"])
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
                needed: .mebibytes(10), regions: 1, free: .mebibytes(9), full: ["a"])
        ) { try Self.choose(1, of: 10, among: candidates) }
    }

    @Test func otherHostsDoNotMatter() throws {
        let candidates = [
            Self.candidate("a", free: 100), Self.candidate("b", free: 50, available: 0),
        ]
        #expect(try Self.choose(1, of: 10, among: candidates) == ["a"])
    }

    @Test func aSecondRegionStandsBesideItsFirstOnlyWhereThatCannotBeHelped() {
        let names = (0..<6).map { "a\($0)" }
        var generator = SystemRandomNumberGenerator()
        for count in 2...6 {
            for _ in 0..<50 {
                let members = Array(names.shuffled(using: &generator).prefix(count))
                let chosen = Array(names.shuffled(using: &generator).prefix(count))
                let order = Placement.spread(chosen, beside: members)
                #expect(order.sorted() == chosen.sorted())
                #expect(zip(order, members).allSatisfy { $0 != $1 }, "\(order) beside \(members)")
            }
        }
        #expect(Placement.spread(["a"], beside: ["a"]) == ["a"])
        #expect(Placement.spread(["a", "b"], beside: [nil, "b"]) == ["b", "a"])
    }
}
