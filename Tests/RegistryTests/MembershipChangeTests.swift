import Registry
import RemoteMemory
import Testing

@Suite struct MembershipChangeTests {
    /// A list of changes that may be, and what it makes of a volume.
    struct Legal: CustomTestStringConvertible, Sendable {
        let from: [MemberState]
        let changes: [MembershipChange]
        let to: String
        var testDescription: String { "\(from.map(\.rawValue)) \(changes) → \(to)" }
    }

    static let legal = [
        Legal(from: [.active, .active], changes: [.fail([index(1)])], to: "0 active, 1 failed"),
        Legal(from: [.active, .suspect], changes: [.fail([index(1)])], to: "0 active, 1 failed"),
        Legal(
            from: [.active, .rebuilding], changes: [.fail([index(1)])], to: "0 active, 1 failed"),
        Legal(from: [.active], changes: [.fail([index(0)])], to: "0 failed"),
        Legal(
            from: [.active, .suspect, .rebuilding],
            changes: [.fail([index(2), index(0), index(1)])],
            to: "0 failed, 1 failed, 2 failed"),
        Legal(
            from: [.active], changes: [.add(member(1, .rebuilding))], to: "0 active, 1 rebuilding"),
        Legal(from: [], changes: [.add(member(15, .rebuilding))], to: "15 rebuilding"),
        Legal(
            from: [.active, .rebuilding], changes: [.promote(index(1))], to: "0 active, 1 active"),
        Legal(
            from: [.suspect, .rebuilding], changes: [.promote(index(1))], to: "0 suspect, 1 active"),
        Legal(from: [.active, .failed], changes: [.remove([index(1)])], to: "0 active"),
        Legal(from: [.active, .rebuilding], changes: [.remove([index(1)])], to: "0 active"),
        Legal(from: [.failed, .rebuilding], changes: [.remove([index(1), index(0)])], to: ""),
        Legal(
            from: [.active, .active],
            changes: [.cut(member: index(1), snapshot: "s", at: 0, replacement: nil)],
            to: "0 active"),
        Legal(
            from: [.active, .active, .failed],
            changes: [
                .cut(
                    member: index(0), snapshot: "s", at: 0,
                    replacement: member(0, .rebuilding, region: 9))
            ], to: "0 rebuilding, 1 active, 2 failed"),
        // What the set is to be touches nobody, whoever is there.
        Legal(
            from: [.failed, .rebuilding], changes: [.setLayout(.mirror(copies: 8))],
            to: "0 failed, 1 rebuilding"),
        Legal(from: [], changes: [.setLayout(.mirror(copies: 1))], to: ""),
        Legal(
            from: [.active, .suspect, .failed, .rebuilding],
            changes: (0..<4).map { .setLeaving(index($0), true) },
            to: "0 active, 1 suspect, 2 failed, 3 rebuilding"),
        // Lists: each change sees the outcome of the one before.
        Legal(
            from: [.active, .active], changes: [.fail([index(1)]), .remove([index(1)])],
            to: "0 active"),
        Legal(
            from: [.active, .failed],
            changes: [.remove([index(1)]), .add(member(1, .rebuilding))],
            to: "0 active, 1 rebuilding"),
        Legal(
            from: [.active, .rebuilding], changes: [.promote(index(1)), .fail([index(0)])],
            to: "0 failed, 1 active"),
        Legal(
            from: [.active, .rebuilding],
            changes: [
                .promote(index(1)), .cut(member: index(0), snapshot: "s", at: 0, replacement: nil),
            ], to: "1 active"),
        Legal(
            from: [.active],
            changes: [.fail([index(0)]), .add(member(1, .rebuilding))], to: "0 failed, 1 rebuilding"
        ),
    ]

    @Test(arguments: legal)
    func `a legal change makes one epoch and just the members it should`(row: Legal) throws {
        let before = try volume(row.from)
        let (after, _) = try before.applying(row.changes)
        #expect(after.picture == row.to)
        #expect(after.epoch == Epoch(6))
        #expect(after.owner == before.owner)
        #expect(after.size == before.size && after.name == before.name && after.id == before.id)
    }

    /// A list of changes that may not be, and the rule it breaks.
    struct Illegal: CustomTestStringConvertible, Sendable {
        let from: [MemberState]
        let changes: [MembershipChange]
        let reason: IllegalChange
        var testDescription: String { "\(from.map(\.rawValue)) \(changes): \(reason)" }
    }

    static func cut(
        _ number: Int, _ name: String = "s", replacement: MemberRecord? = nil
    ) -> MembershipChange {
        .cut(member: index(number), snapshot: name, at: 0, replacement: replacement)
    }

    static let illegal = [
        // Nothing to do.
        Illegal(from: [.active], changes: [], reason: .nothingToDo),
        Illegal(from: [.active], changes: [.fail([])], reason: .nothingToDo),
        Illegal(from: [.failed], changes: [.remove([])], reason: .nothingToDo),
        // Nobody there.
        Illegal(from: [.active], changes: [.fail([index(1)])], reason: .noSuchMember(index(1))),
        Illegal(from: [.active], changes: [.promote(index(1))], reason: .noSuchMember(index(1))),
        Illegal(from: [.active], changes: [.remove([index(1)])], reason: .noSuchMember(index(1))),
        Illegal(from: [.active], changes: [cut(1)], reason: .noSuchMember(index(1))),
        Illegal(
            from: [.active, .failed], changes: [.remove([index(1), index(1)])],
            reason: .noSuchMember(index(1))),
        // Twice the same.
        Illegal(
            from: [.active, .active], changes: [.fail([index(1), index(1)])],
            reason: .wrongState(.fail, index(1), found: .failed)),
        Illegal(
            from: [.active, .rebuilding], changes: [.promote(index(1)), .promote(index(1))],
            reason: .wrongState(.promote, index(1), found: .active)),
        // Additions.
        Illegal(
            from: [.active], changes: [.add(member(1, .active))],
            reason: .additionNotRebuilding(index(1), .active)),
        Illegal(
            from: [.active], changes: [.add(member(1, .suspect))],
            reason: .additionNotRebuilding(index(1), .suspect)),
        Illegal(
            from: [.active], changes: [.add(member(1, .failed))],
            reason: .additionNotRebuilding(index(1), .failed)),
        Illegal(
            from: [.active], changes: [.add(member(1, .removed))],
            reason: .additionNotRebuilding(index(1), .removed)),
        Illegal(
            from: [.active, .failed], changes: [.add(member(1, .rebuilding, region: 9))],
            reason: .indexTaken(index(1))),
        Illegal(
            from: [.active, .failed], changes: [.add(member(2, .rebuilding, region: 1))],
            reason: .regionTaken(region(1))),
        // Promotion without a source.
        Illegal(
            from: [.failed, .rebuilding], changes: [.promote(index(1))], reason: .volumeIsLost),
        Illegal(
            from: [.active, .rebuilding], changes: [.fail([index(0)]), .promote(index(1))],
            reason: .volumeIsLost),
        // Cuts.
        Illegal(from: [.active], changes: [cut(0)], reason: .lastActiveMember(index(0))),
        Illegal(
            from: [.active, .suspect, .rebuilding, .failed], changes: [cut(0)],
            reason: .lastActiveMember(index(0))),
        Illegal(
            from: [.active], changes: [cut(0, replacement: member(1, .rebuilding))],
            reason: .lastActiveMember(index(0))),
        Illegal(
            from: [.active, .active], changes: [.fail([index(1)]), cut(0)],
            reason: .lastActiveMember(index(0))),
        Illegal(
            from: [.active, .active, .active], changes: [cut(0, "s"), cut(1, "t")],
            reason: .secondCut),
        Illegal(
            from: [.active, .active],
            changes: [cut(1, replacement: member(2, .active))],
            reason: .additionNotRebuilding(index(2), .active)),
        Illegal(
            from: [.active, .active],
            changes: [cut(1, replacement: member(0, .rebuilding, region: 9))],
            reason: .indexTaken(index(0))),
        Illegal(
            from: [.active, .active],
            changes: [cut(1, replacement: member(1, .rebuilding, region: 1))],
            reason: .regionTaken(region(1))),
        Illegal(
            from: [.active, .active],
            changes: [cut(1), .add(member(2, .rebuilding, region: 1))],
            reason: .regionTaken(region(1))),
        // Layouts and departures.
        Illegal(
            from: [.active], changes: [.setLayout(.mirror(copies: 0))],
            reason: .layoutOutOfRange(.mirror(copies: 0))),
        Illegal(
            from: [.active], changes: [.setLayout(.mirror(copies: 9))],
            reason: .layoutOutOfRange(.mirror(copies: 9))),
        Illegal(
            from: [.active], changes: [.setLeaving(index(1), false)],
            reason: .noSuchMember(index(1))),
        // A good change does not carry a bad one along.
        Illegal(
            from: [.active, .active], changes: [.fail([index(1)]), .remove([index(0)])],
            reason: .wrongState(.remove, index(0), found: .active)),
    ]

    @Test(arguments: illegal)
    func `an illegal change is refused with its reason`(row: Illegal) throws {
        let before = try volume(row.from)
        #expect(throws: RegistryError.illegalChange(row.reason)) {
            try before.applying(row.changes)
        }
    }

    /// The state diagram, written down a second time.
    static let arrows: [MemberAction: Set<MemberState>] = [
        .fail: [.active, .suspect, .rebuilding], .promote: [.rebuilding],
        .remove: [.failed, .rebuilding], .cut: [.active],
    ]

    @Test(arguments: MemberAction.allCases, MemberState.allCases)
    func `an action is legal just where the diagram has an arrow`(
        action: MemberAction, state: MemberState
    ) throws {
        let expected = try #require(Self.arrows[action]).contains(state)
        #expect(action.isLegal(from: state) == expected)
        // The same through a volume with two healthy members beside the one in question.
        guard state != .removed else { return }
        let change: MembershipChange =
            switch action {
            case .fail: .fail([index(2)])
            case .promote: .promote(index(2))
            case .remove: .remove([index(2)])
            case .cut: Self.cut(2)
            }
        let before = try volume([.active, .active, state])
        if expected {
            #expect(try before.applying([change]).0.epoch == Epoch(6))
        } else {
            #expect(
                throws: RegistryError.illegalChange(.wrongState(action, index(2), found: state))
            ) {
                try before.applying([change])
            }
        }
    }

    @Test func `a cut hands the member's region to the snapshot`() throws {
        let change = MembershipChange.cut(
            member: index(1), snapshot: "nightly-1", at: 1_700_000_000_123,
            replacement: member(3, .rebuilding))
        let (after, snapshot) = try volume([.active, .active]).applying([change])
        let expected = try SnapshotRecord(
            volume: volumeID(0), name: "nightly-1", size: .gibibytes(1), region: region(1),
            appliance: "a1", incarnation: incarnation(1), cutAtEpoch: Epoch(6),
            createdAt: 1_700_000_000_123)
        #expect(snapshot == expected)
        #expect(after.members == [member(0), member(3, .rebuilding)])
    }

    @Test func `without a cut there is no snapshot`() throws {
        #expect(try volume([.active, .active]).applying([.fail([index(0)])]).1 == nil)
    }

    @Test func `the layout is what was set, and the members are marked who were named`() throws {
        let before = try volume([.active, .active])
        let (after, _) = try before.applying([
            .setLayout(.mirror(copies: 5)), .setLeaving(index(1), true),
            .add(member(2, .rebuilding)),
        ])
        #expect(after.layout == .mirror(copies: 5))
        #expect(after.members.map(\.isLeaving) == [false, true, false])
        let (back, _) = try after.applying([.setLeaving(index(1), false)])
        #expect(back.members.map(\.isLeaving) == [false, false, false])
        // The mark stays whatever becomes of the member.
        let (failed, _) = try after.applying([.fail([index(1)])])
        #expect(failed.member(index(1))?.isLeaving == true)
    }

    @Test func `a snapshot with a bad name is refused`() throws {
        let before = try volume([.active, .active])
        #expect(throws: RegistryError.invalidName(.snapshot, name: "a@b")) {
            try before.applying([Self.cut(1, "a@b")])
        }
    }

    @Test func `another device, also one that never owned it, is refused`() throws {
        let changes = [MembershipChange.fail([index(0)])]
        let owned = try volume([.active])
        #expect(throws: RegistryError.notOwner(expected: owner(2), found: owner(1))) {
            try owned.applying(changes, owner: owner(2), expecting: Epoch(5))
        }
        let free = try volume(members: [member(0)], owner: nil)
        #expect(throws: RegistryError.notOwner(expected: owner(2), found: nil)) {
            try free.applying(changes, owner: owner(2), expecting: Epoch(5))
        }
    }

    @Test func `a device that lost the volume is told so before it is told of the epoch`() throws {
        let taken = try volume([.active, .active]).takenOver(by: owner(2), expecting: Epoch(5))
        #expect(throws: RegistryError.notOwner(expected: owner(1), found: owner(2))) {
            try taken.applying([.fail([index(0)])], owner: owner(1), expecting: Epoch(5))
        }
    }

    @Test(arguments: [0, 4, 6, UInt64.max])
    func `a change at another epoch is refused`(expecting: UInt64) throws {
        let before = try volume([.active])
        #expect(throws: RegistryError.staleEpoch(expected: Epoch(expecting), found: Epoch(5))) {
            try before.applying([.fail([index(0)])], owner: owner(1), expecting: Epoch(expecting))
        }
    }

    @Test func `the set holds as many members as there are indices`() throws {
        let full = try volume(members: (0..<16).map { member($0) })
        for number in 0..<MemberIndex.limit {
            #expect(throws: RegistryError.illegalChange(.indexTaken(index(number)))) {
                try full.applying([.add(member(number, .rebuilding, region: 99))])
            }
        }
    }
}
