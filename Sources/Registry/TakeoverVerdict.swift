// What a new owner makes of a set whose regions it tried to open: pure, so that the simulator decides
// exactly as the client device does.
//
//     some region is still held by its old owner          wait: nothing may be touched
//     no active member opened, one may come back          wait
//     no active member opened, the memory of all is gone  lost
//     otherwise                                           serve; who is missing is recorded first (G5)

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
        var mayComeBack = false
        for member in liveMembers {
            switch outcomes[member.index] ?? .unreachable {
            case .held: return .wait
            case .opened where member.state.holdsData: active.append(member.index)
            case .opened: rebuilding.append(member.index)
            case .lost: missing.append(member.index)
            case .unreachable:
                missing.append(member.index)
                mayComeBack = mayComeBack || member.state.holdsData
            }
        }
        guard active.isEmpty else {
            return .serve(active: active, rebuilding: rebuilding, fail: missing)
        }
        return mayComeBack ? .wait : .lost(fail: missing + rebuilding)
    }

    /// Whether this record, found after the answer to a change of `known` was lost, shows that the change
    /// was made: nobody but the owner changes a set, and it makes one change at a time.
    public func isNext(after known: VolumeRecord, of owner: OwnerID) -> Bool {
        self.owner == owner && epoch == known.epoch.next
    }
}
