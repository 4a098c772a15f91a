import Registry
import RemoteMemory
import Testing

@Suite struct RegistryErrorTests {
    static let illegal: [IllegalChange] =
        [
            .incompleteGeneration(needed: 6), .noTwins(.mirror(copies: 3)),
            .successorNotActive(index(1), .rebuilding),
            .nothingToDo, .noSuchMember(index(1)), .indexTaken(index(1)), .regionTaken(region(1)),
            .additionNotRebuilding(index(1), .active), .freshMemberNotActive(index(1), .failed),
            .noMembers, .lastActiveMember(index(1)), .secondCut, .volumeIsLost, .volumeIsNotLost,
            .removedMember(index(1)), .sizeOutOfRange(.zero), .epochOutOfRange(Epoch(1)),
            .layoutOutOfRange(.mirror(copies: 0)), .growthOutOfRange(ByteCount(1)),
            .wouldNotGrow(from: .gibibytes(2), to: .gibibytes(1)),
        ]
        + MemberAction.allCases.map { .wrongState($0, index(1), found: .removed) }

    static let all: [RegistryError] =
        RegistryKind.allCases.flatMap { kind -> [RegistryError] in
            [
                .notFound(kind, name: "x"), .alreadyExists(kind, name: "x"),
                .invalidName(kind, name: "@"),
            ]
        }
        + [
            .staleEpoch(expected: Epoch(1), found: Epoch(2)),
            .notOwner(expected: owner(1), found: nil),
            .notOwner(expected: owner(1), found: owner(2)),
            .superseded(by: owner(2)),
            .inUse(.applianceHoldsMember(appliance: "a", volume: "v")),
            .inUse(.applianceHoldsSnapshot(appliance: "a", volume: "v", snapshot: "s")),
            .inUse(.volumeHasSnapshots(volume: "v", count: 1)),
            .inUse(.volumeHasSnapshots(volume: "v", count: 2)),
        ]
        + illegal.map { .illegalChange($0) }
        + StorageFault.allCases.map { .storage($0, message: "/x: cause") }

    @Test(arguments: all)
    func `an error is one sentence: what is the matter, colon, what to do`(error: RegistryError) {
        let text = error.description
        #expect(text.hasSuffix("."))
        #expect(text.first?.isUppercase == true || text.hasPrefix("\""))
        #expect(text.contains(": "))
        #expect(!text.contains("\n"))
        #expect(!text.contains(". "), "that is two sentences")
        // The enclosing cases must not fall back to Swift's rendering of an enum.
        #expect(!text.replacing("(/x: cause)", with: "").contains("("))
    }

    @Test func `no two errors read the same`() {
        #expect(Set(Self.all.map(\.description)).count == Self.all.count)
    }

    @Test func `the particulars are in the sentence`() {
        let stale = RegistryError.staleEpoch(expected: Epoch(41), found: Epoch(43)).description
        #expect(stale.contains("41") && stale.contains("43"))
        let wrong = RegistryError.illegalChange(.wrongState(.cut, index(7), found: .suspect))
        #expect(
            wrong.description.contains("Member 7 is suspect, but only an active member can be cut"))
    }
}
