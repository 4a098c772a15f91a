// What the control side keeps of a volume.

import Control
import RemoteMemory
import Registry

/// A volume, as its client device manages it.
struct ManagedVolume {
    enum Phase: Hashable {
        /// Its regions are being made.
        case creating
        /// Taken over but not served: members are unreachable, or still held by their previous owner.
        case waiting
        case serving
        /// Its engine and the registry disagree about its members: only the next client device takes it up again.
        case halted
        /// Every member's memory is gone.
        case lost
    }

    /// The cut under way.
    struct PendingCut {
        var member: MemberIndex
        var snapshot: String
        var createdAt: Int64
        var finished: CheckedContinuation<UInt64, any Error>
    }

    /// Regions beside those of the members, and what they are made for.
    struct Twinning {
        enum Purpose: Hashable {
            /// This member's is to take its place.
            case move(MemberIndex)
            /// All are to be a snapshot.
            case snapshot(name: String)
        }

        var purpose: Purpose
        /// In order of place; their appliances may be without them yet.
        var regions: [SnapshotMember]
        /// All are open, and being filled.
        var isFilling = false
        /// Writes are held for them, or will be in a moment.
        var isCutting = false
        /// Whoever waits for the cut.
        var finished: CheckedContinuation<UInt64, any Error>?

        var twins: MemberSet { MemberSet(regions.map(\.index.twin)) }

        func region(of member: MemberIndex) -> SnapshotMember? {
            regions.first { $0.index == member }
        }
    }

    /// How fast a member's rebuild goes.
    struct RebuildSample {
        var missing: ByteCount
        var at: ContinuousClock.Instant
        var bytesPerSecond: Double
    }

    var record: VolumeRecord
    /// What its clients and those of its snapshots get at most.
    var limits = VolumeLimits.none
    let thread: DataThread
    var phase = Phase.waiting
    var snapshots: [SnapshotRecord] = []
    var readySnapshots: Set<String> = []
    /// What was saved of changes since the snapshots, as long as the volume is not served.
    var savedChanges: [SnapshotChanges] = []
    var cut: PendingCut?
    var twinning: Twinning?
    /// Why the twins that were made last came to nothing.
    var twinProblem: TwinError?
    /// By name: as what snapshots of erasure sets are served.
    var generations: [String: VolumeID] = [:]
    var isOpeningSnapshots = false
    /// A snapshot is being made: extended, cut, published.
    var isSnapshotting = false
    /// It is being made larger: until the registry has its size, its set keeps the members it has.
    var isGrowing = false
    var samples: [MemberIndex: RebuildSample] = [:]
    var promotions: [MemberIndex: CheckedContinuation<Bool, Never>] = [:]
    /// Members being added right now, between the registry's change and the engine's.
    var isReplacing = false
    /// Somebody looks after it right now.
    var isLookedAfter = false
    /// Since when members that failed have been missing.
    var missingSince: [MemberIndex: ContinuousClock.Instant] = [:]
    /// How members far away fared that came back, by their regions.
    var relapses: [RegionID: Relapses] = [:]
    /// When taking over was first tried.
    var firstTry: ContinuousClock.Instant?
    /// Members that are being removed: their failure is ours.
    var retiring: Set<MemberIndex> = []
    /// The regions it is served from though their appliances died, since there is no other copy; logged when one
    /// comes or goes.
    var heldCopies: Set<RegionID> = []
    /// What last kept a missing member from being replaced; logged when it changes.
    var obstacle: String?
    var scrub: ScrubProgress?
    /// When taking over was last tried in vain, for the log.
    var hasLoggedWaiting = false

    init(record: VolumeRecord, thread: DataThread) {
        self.record = record
        self.thread = thread
    }

    /// The members that are not failed.
    var liveMembers: [MemberRecord] { record.liveMembers }

    var activeMembers: [MemberRecord] { record.members.filter { $0.state == .active } }
}
