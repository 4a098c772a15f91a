// A snapshot is formed by removing a region: hold writes, drain, record, release.
//
//     none ──request──▶ draining ──no change in flight──▶ ready ──registry holds it──▶ none
//                           └── the member failed ──▶ none (refused)
//
// Reads go on throughout. The registry's transaction is the instant of the cut: every write that was
// acknowledged before is in the removed region, and none that is carried out after (G6).

public import RemoteMemory

/// How far a cut has come.
enum Cut: Hashable {
    case none
    case draining(MemberIndex)
    case ready(MemberIndex)
}

extension ResiliencySet {
    /// Starts to cut `member` off; false when it cannot be: not active, the last, or a cut is under way.
    ///
    /// Ends with `recorded(.cut)`, `cutRefused`, or the member's failure.
    public mutating func beginCut(of member: MemberIndex) -> Bool {
        // (One region of an erasure set holds no volume.)
        guard stripes == nil, phase == .serving, cut == .none, active.contains(member),
            active.count > 1
        else { return false }
        cut = .draining(member)
        continueCut()
        return true
    }

    /// Whether writes are being held for a cut of `member`.
    public func isCutting(_ member: MemberIndex) -> Bool {
        cut == .draining(member) || cut == .ready(member)
    }

    mutating func continueCut() {
        switch cut {
        case .none, .ready: return
        case .draining(let member):
            guard active.contains(member), active.count > 1 else {
                cut = .none
                startWaiting()
                return
            }
            guard changesInFlight == 0 else { return }
            cut = .ready(member)
            recordNext()
        }
    }
}
