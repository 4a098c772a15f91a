// Rare paths that a simulation must have taken to be worth anything. Each is counted where it is
// taken; a long run that never took one of them tested less than it seems, and says so.

/// A rare path.
public enum Probe: UInt8, CaseIterable, Sendable {
    case takeoverDuringRebuild
    case failureDuringSnapshotDrain
    case secondFailureDuringRepair
    case writeAcrossRebuildFrontier
    case intentSlotReuse
    case dirtyMapMergeAfterDoubleFailure
    case zombieWriteRefused
    case zombieReadHeld
    case hedgedReadWon
    case evictedWhileHung
    case partialRebuild
    case rebuildResumedAfterRestart
    case lastCopyRedoReplayed
    case registryAnswerLost
    case registryDownDuringFailure
    case waitedBelowMinimum
    case failedAfterPatience
    case landedAfterSenderDied
    case tornWriteRepaired
    case repairedOld
    case repairedNew
    case repairedFromLast
    case repairedZeroes
    case crashDuringRepair
    case cutRefused
    case snapshotWhileDegraded
    case clientLeftMidRequest
    case volumeLost
    case degradedRead
    case degradedWrite
    case stoodStill
    case membersReturned
    case recordCarriedOut
    case recordDropped
    case redoSlotsTaken
    case severalRebuiltAtOnce
    case memberMoved
    case generationCut
    case generationCutDegraded
    case twinLost
    case changesJudged
    case changesKept
    case volumeGrown
    case volumeGrownDegraded
    case growthRefused
    case crashDuringGrowth
    case memberGrewWhenBack

    /// The name, as written in reports.
    public var name: String { "\(self)" }

    /// What happened, in one sentence.
    ///
    /// (A text with the probe itself in it shows its name.)
    public var description: String {
        switch self {
        case .takeoverDuringRebuild: "A new owner took the set over while a member was rebuilt."
        case .failureDuringSnapshotDrain:
            "A member failed while writes were held for a snapshot."
        case .secondFailureDuringRepair:
            "Another member failed while half-done writes were repaired."
        case .writeAcrossRebuildFrontier:
            "A write met blocks that were rebuilt already together with blocks that were not."
        case .intentSlotReuse: "An intent slot was used again for another write."
        case .dirtyMapMergeAfterDoubleFailure:
            "What two failed members had missed was merged into one rebuild."
        case .zombieWriteRefused: "A write of an owner that was replaced was refused."
        case .zombieReadHeld: "A read of an owner that was replaced was not answered."
        case .hedgedReadWon: "A second copy answered a read before the slow first one."
        case .evictedWhileHung: "A member was failed because it no longer answered."
        case .partialRebuild: "A member came back, and only what it had missed was copied."
        case .rebuildResumedAfterRestart: "A rebuild went on where it stood before a restart."
        case .lastCopyRedoReplayed: "The last copy was completed from the intents it holds."
        case .registryAnswerLost: "The registry recorded a change, but its answer was lost."
        case .registryDownDuringFailure: "A member failed while the registry did not answer."
        case .waitedBelowMinimum: "A request waited because too few members were left."
        case .failedAfterPatience:
            "A request failed because too few members were left for too long."
        case .landedAfterSenderDied:
            "An operation took effect after the process that sent it died."
        case .tornWriteRepaired:
            "A write that had reached only some members, or in part, was repaired."
        case .repairedOld: "A half-done write was repaired to the contents from before it."
        case .repairedNew: "A half-done write was repaired to its own contents."
        case .repairedFromLast: "A half-done write was repaired from the only member left."
        case .repairedZeroes: "A half-done write of zeroes was repaired."
        case .crashDuringRepair: "The owner died while it repaired half-done writes."
        case .cutRefused: "A snapshot was refused."
        case .snapshotWhileDegraded: "A snapshot was taken while a member was missing."
        case .clientLeftMidRequest: "A client disconnected with requests in flight."
        case .degradedRead: "Bytes of a missing member were worked out for a read."
        case .degradedWrite: "Bytes of a missing member were worked out for a write."
        case .stoodStill: "An erasure set stood still, as fewer than K members were left."
        case .membersReturned: "An erasure set went on after it had stood still."
        case .recordCarriedOut: "A record in a redo slot was carried out by a new owner."
        case .recordDropped: "A record that not all members had was dropped by a new owner."
        case .redoSlotsTaken: "A write took the last redo slot."
        case .severalRebuiltAtOnce: "Several members of an erasure set were rebuilt at once."
        case .memberMoved: "A twin took the place of its member."
        case .generationCut: "A generation of an erasure set became a snapshot."
        case .generationCutDegraded:
            "A generation became a snapshot though a member had failed while it was made."
        case .twinLost: "A twin was lost before it was anything else."
        case .changesJudged:
            "A block differed from a snapshot, and by what was known of changes it had to."
        case .changesKept: "A new owner knew what was changed since snapshots of an earlier one."
        case .volumeGrown: "A volume grew while it was used."
        case .volumeGrownDegraded: "A volume grew while a member was missing or rebuilt."
        case .growthRefused: "A volume could not grow, and stayed what it was."
        case .crashDuringGrowth: "The owner died while its volume grew."
        case .memberGrewWhenBack: "A region grew when its member was opened again."
        case .volumeLost: "So many members were lost that the volume was, too."
        }
    }
}

/// How often each rare path was taken.
public struct ProbeCounts: Sendable, Hashable {
    private var counts = [Int](repeating: 0, count: Probe.allCases.count)

    public init() {}

    /// How often `probe` was hit.
    public subscript(probe: Probe) -> Int { counts[Int(probe.rawValue)] }

    /// Probes that were never hit, in the order of their definition.
    public var missing: [Probe] { Probe.allCases.filter { self[$0] == 0 } }

    /// Counts one more time that `probe` was hit.
    @inline(__always)
    public mutating func hit(_ probe: Probe) {
        counts[Int(probe.rawValue)] &+= 1
    }

    /// Adds what another run counted.
    public mutating func merge(_ other: ProbeCounts) {
        for index in counts.indices { counts[index] += other.counts[index] }
    }
}
