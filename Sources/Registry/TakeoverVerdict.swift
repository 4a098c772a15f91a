// What a new owner makes of a set whose regions it tried to open: pure, so that the simulator decides
// exactly as the client device does.
//
//     some region is still held by its old owner          wait: nothing may be touched
//     fewer opened than are needed, more may come back    wait
//     fewer opened than are needed, and no more will      lost
//     otherwise                                           serve; who is missing is recorded first (G5)
//
// A mirror needs one active member. An erasure set needs K: then every write that an owner acknowledged, or
// will, has its record on one of them, as it is on M+1 at least (less those that failed before). So many
// are asked for as well, where M+1 is more than K: the old owner is left with too few to do anything.

public import RemoteMemory

/// What came of opening one live member's region.
public enum OpeningOutcome: Hashable, Sendable {
    /// This owner has it, and nobody else can reach it any more.
    case opened
    /// Its memory does not exist any more.
    case lost
    /// It may come back.
    case unreachable
    /// The old owner's process has it mapped.
    case held
}

/// What to do with a set at a takeover.
public enum TakeoverVerdict: Hashable, Sendable {
    case wait
    /// `fail` is to be recorded.
    case lost(fail: [MemberIndex])
    /// `fail` is to be recorded before anything is served.
    case serve(active: [MemberIndex], rebuilding: [MemberIndex], fail: [MemberIndex])
}

extension VolumeRecord {
    /// The members that are to be opened at a takeover.
    public var liveMembers: [MemberRecord] {
        members.filter { $0.state == .active || $0.state == .suspect || $0.state == .rebuilding }
    }

    /// Decides on the outcomes for all live members; one without an outcome counts as unreachable.
    public func verdict(on outcomes: [MemberIndex: OpeningOutcome]) -> TakeoverVerdict {
        var active: [MemberIndex] = []
        var rebuilding: [MemberIndex] = []
        var missing: [MemberIndex] = []
        var away = 0
        var gone = 0
        for member in liveMembers {
            switch outcomes[member.index] ?? .unreachable {
            case .held: return .wait
            case .opened where member.state.holdsData: active.append(member.index)
            case .opened: rebuilding.append(member.index)
            case .lost:
                missing.append(member.index)
                if member.state.holdsData { gone += 1 }
            case .unreachable:
                missing.append(member.index)
                if member.state.holdsData { away += 1 }
            }
        }
        if active.count >= layout.membersNeeded, active.count + gone >= membersToFence {
            return .serve(active: active, rebuilding: rebuilding, fail: missing)
        }
        return active.count + away >= layout.membersNeeded
            ? .wait : .lost(fail: missing + rebuilding)
    }

    /// How many active members an old owner must have lost for good.
    private var membersToFence: Int {
        switch layout {
        case .mirror: 1
        case .erasure(_, let parity):
            parity + 1 - (layout.memberCount - members.count { $0.state.holdsData })
        }
    }

    /// Whether this record, found after the answer to a change of `known` was lost, shows that the change
    /// was made: nobody but the owner changes a set, and it makes one change at a time.
    public func isNext(after known: VolumeRecord, of owner: OwnerID) -> Bool {
        self.owner == owner && epoch == known.epoch.next
    }
}
