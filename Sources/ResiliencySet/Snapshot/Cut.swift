// A snapshot is formed by removing regions: hold writes, drain, record, release.
//
//     none ──request──▶ draining ──no change in flight──▶ ready ──registry holds it──▶ none
//                           └── whoever is to go failed ──▶ none (refused)
//
// Reads go on throughout. The registry's transaction is the instant of the cut: every write that was
// acknowledged before is in the removed regions, and none that is carried out after (G6). What is removed is a
// member of a mirror, or a whole generation of twins (Twins). In the same way a twin takes the place of its
// member: whichever of the two a successor finds in the registry holds everything. And so a set grows (Growth).

public import RemoteMemory

/// What happens to the set at the instant for which writes are held.
enum CutSubject: Hashable {
    /// A member of a mirror becomes a snapshot.
    case member(MemberIndex)
    /// A twin takes the place of its member.
    case twin(of: MemberIndex)
    /// The twins of all members become a snapshot.
    case generation
    /// There is more of the set.
    case growth(to: ByteCount)

    var decision: MembershipDecision {
        switch self {
        case .member(let member): .cut(member)
        case .twin(let member): .replace(member)
        case .generation: .cutGeneration
        case .growth(let size): .grow(to: size)
        }
    }
}

/// How far a cut has come.
enum Cut: Hashable {
    case none
    case draining(CutSubject)
    case ready(CutSubject)
}

extension ResiliencySet {
    /// Starts to cut `member` off; false when it cannot be: not active, the last, or a cut is under way.
    ///
    /// Ends with `recorded(.cut)`, `cutRefused`, or the member's failure.
    public mutating func beginCut(of member: MemberIndex) -> Bool { begin(.member(member)) }

    /// Starts to put the twin of `member` in its place; false when the twin is not whole, or a cut is under way.
    ///
    /// Ends with `recorded(.replace)`, `cutRefused`, or the twin's loss.
    public mutating func beginReplacement(of member: MemberIndex) -> Bool {
        begin(.twin(of: member))
    }

    /// Starts to cut all twins off; false when one is missing or not whole, or a cut is under way.
    ///
    /// Ends with `recorded(.cutGeneration)`, `cutRefused`, or the loss of a twin.
    public mutating func beginCutOfGeneration() -> Bool { begin(.generation) }

    mutating func begin(_ subject: CutSubject) -> Bool {
        guard phase == .serving, cut == .none, canCut(subject) else { return false }
        cut = .draining(subject)
        continueCut()
        return true
    }

    /// Whether those that are to go, or to come, hold everything.
    func canCut(_ subject: CutSubject) -> Bool {
        switch subject {
        case .member(let member):
            // (One region of an erasure set holds no volume.)
            stripes == nil && active.contains(member) && active.count > 1
        case .twin(let member): dirty.whole.contains(member.twin)
        case .generation:
            stripes.map { dirty.whole.isSuperset(of: $0.members.withTwins.twins) } ?? false
        case .growth(let size): size > self.size && absent.isEmpty && canServe && !isFrozen
        }
    }

    /// Whether writes are being held for a cut of `member`.
    public func isCutting(_ member: MemberIndex) -> Bool {
        cut == .draining(.member(member)) || cut == .ready(.member(member))
    }

    /// Whether writes are being held for a cut.
    public var isCutting: Bool { cut != .none }

    mutating func continueCut() {
        switch cut {
        case .none, .ready: return
        case .draining(let subject):
            guard canCut(subject) else {
                cut = .none
                startWaiting()
                return
            }
            guard changesInFlight == 0 else { return }
            cut = .ready(subject)
            recordNext()
        }
    }

    /// Ends a cut whose subject is gone; one that is being recorded is the registry's to decide.
    mutating func endVainCut() {
        guard case .ready(let subject) = cut, recording != .under(subject.decision),
            !canCut(subject)
        else { return }
        cut = .none
    }
}
