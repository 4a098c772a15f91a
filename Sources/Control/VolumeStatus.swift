// What a client device says about a volume: its redundancy, its members, its work.

public import RemoteMemory

/// What a volume can do at present.
public enum VolumeHealth: String, Hashable, Sendable, Codable, CaseIterable {
    /// Every member of the layout is there.
    case healthy
    /// Serves, with less redundancy than its layout promises, and nothing is being done about it.
    case degraded
    /// Serves, with less redundancy than its layout promises, which is being restored.
    case rebuilding
    /// Holds its I/O back: fewer members than the layout needs can be reached.
    case waiting
    /// The contents are gone: more members lost their memory than the layout can spare.
    case lost
}

/// One volume.
public struct VolumeStatus: Hashable, Sendable, Codable {
    public var name: String
    public var id: VolumeID
    public var sizeBytes: ByteCount
    public var layout: Layout
    public var ordering: Ordering
    public var epoch: Epoch
    public var health: VolumeHealth
    /// Where NBD clients find it.
    public var uri: String
    /// NBD connections at present.
    public var connections: Int
    /// Ordered by index.
    public var members: [MemberStatus]
    /// Oldest first.
    public var snapshots: [SnapshotStatus]
    public var counters: VolumeCounters
    /// How far a scrub is; nil when none is running.
    public var scrub: ScrubProgress?
    /// The regions that are being filled to be a snapshot of an erasure set; nil for none.
    public var generation: GenerationStatus?
    /// The most that its rebuilds copy, in bytes a second; nil for as fast as they go beside the I/O.
    public var rebuildLimit: ByteCount?
    /// The most requests a second that its clients get; nil for as many as there are.
    public var iopsLimit: UInt64?
    /// The most bytes a second that its clients get; nil for as many as there are.
    public var bandwidthLimit: ByteCount?
    /// What keeps a member that is wanted from being added; nil for nothing.
    public var obstacle: String?
    /// What the regions of its members take when all of it is written: copies or parity, redo slots, headers.
    public var reservedBytes: ByteCount

    public init(
        name: String, id: VolumeID, sizeBytes: ByteCount, layout: Layout, ordering: Ordering,
        epoch: Epoch, health: VolumeHealth, uri: String, connections: Int,
        members: [MemberStatus], snapshots: [SnapshotStatus], counters: VolumeCounters,
        scrub: ScrubProgress? = nil, generation: GenerationStatus? = nil,
        rebuildLimit: ByteCount? = nil, iopsLimit: UInt64? = nil,
        bandwidthLimit: ByteCount? = nil, obstacle: String? = nil, reservedBytes: ByteCount = .zero
    ) {
        self.name = name
        self.id = id
        self.sizeBytes = sizeBytes
        self.layout = layout
        self.ordering = ordering
        self.epoch = epoch
        self.health = health
        self.uri = uri
        self.connections = connections
        self.members = members
        self.snapshots = snapshots
        self.counters = counters
        self.scrub = scrub
        self.generation = generation
        self.rebuildLimit = rebuildLimit
        self.iopsLimit = iopsLimit
        self.bandwidthLimit = bandwidthLimit
        self.obstacle = obstacle
        self.reservedBytes = reservedBytes
    }
}

/// One member of a volume.
public struct MemberStatus: Hashable, Sendable, Codable {
    public var index: MemberIndex
    /// The name of the appliance that holds its region.
    public var appliance: String
    public var region: RegionID
    public var state: MemberState
    /// It is to be removed once the volume is whole without it.
    public var isLeaving: Bool
    /// How far its rebuild is, or the filling of the region that will take its place; nil for neither.
    public var rebuild: RebuildProgress?
    /// Of a member of an erasure set that is being moved: the appliance that will hold it.
    public var successor: String?

    public init(
        index: MemberIndex, appliance: String, region: RegionID, state: MemberState,
        isLeaving: Bool = false, rebuild: RebuildProgress? = nil, successor: String? = nil
    ) {
        self.index = index
        self.appliance = appliance
        self.region = region
        self.state = state
        self.isLeaving = isLeaving
        self.rebuild = rebuild
        self.successor = successor
    }
}

/// How far a piece of work on a volume's data is.
public struct RebuildProgress: Hashable, Sendable, Codable {
    public var doneBytes: ByteCount
    /// Everything there is to do; for a partial rebuild less than the volume's size.
    public var totalBytes: ByteCount
    /// What was done in the last second, smoothed.
    public var bytesPerSecond: ByteCount
    /// An estimate; nil while there is nothing to base one on.
    public var secondsLeft: Double?

    public init(
        doneBytes: ByteCount, totalBytes: ByteCount, bytesPerSecond: ByteCount,
        secondsLeft: Double? = nil
    ) {
        self.doneBytes = doneBytes
        self.totalBytes = totalBytes
        self.bytesPerSecond = bytesPerSecond
        self.secondsLeft = secondsLeft
    }

    /// Several pieces of work as one; nil when there are none.
    public static func sum(_ pieces: [RebuildProgress]) -> RebuildProgress? {
        guard let first = pieces.first else { return nil }
        return pieces.dropFirst().reduce(first) { sum, piece in
            RebuildProgress(
                doneBytes: sum.doneBytes + piece.doneBytes,
                totalBytes: sum.totalBytes + piece.totalBytes,
                bytesPerSecond: sum.bytesPerSecond + piece.bytesPerSecond,
                secondsLeft: [sum.secondsLeft, piece.secondsLeft].compactMap { $0 }.max())
        }
    }
}

/// A snapshot of an erasure set that is being made: one more region for each of its members.
public struct GenerationStatus: Hashable, Sendable, Codable {
    /// The name of the snapshot.
    public var name: String
    /// The appliances that hold its regions, in the order of the members.
    public var appliances: [String]
    /// How far they are, all together.
    public var progress: RebuildProgress

    public init(name: String, appliances: [String], progress: RebuildProgress) {
        self.name = name
        self.appliances = appliances
        self.progress = progress
    }
}

/// How far a scrub is: measured as a rebuild is.
public typealias ScrubProgress = RebuildProgress

/// What a volume did since its client device started.
public struct VolumeCounters: Hashable, Sendable, Codable {
    /// Completed requests, of clients only: rebuild and scrub are not counted.
    public var reads: UInt64
    public var writes: UInt64
    public var flushes: UInt64
    public var discards: UInt64
    public var readBytes: ByteCount
    public var writtenBytes: ByteCount
    /// Requests answered with an error of any kind.
    public var errors: UInt64

    public init(
        reads: UInt64 = 0, writes: UInt64 = 0, flushes: UInt64 = 0, discards: UInt64 = 0,
        readBytes: ByteCount = .zero, writtenBytes: ByteCount = .zero, errors: UInt64 = 0
    ) {
        self.reads = reads
        self.writes = writes
        self.flushes = flushes
        self.discards = discards
        self.readBytes = readBytes
        self.writtenBytes = writtenBytes
        self.errors = errors
    }
}

/// What a scrub found.
public struct ScrubReport: Hashable, Sendable, Codable {
    public var volume: String
    public var membersCompared: Int
    /// How much of the volume was compared on each of them.
    public var comparedBytes: ByteCount
    /// Extents on which the members disagree: 0 unless something is broken.
    public var mismatchedExtents: UInt64
    /// Those of them that were put right: all of an erasure set's in which it was clear which member was wrong.
    public var mendedExtents: UInt64
    /// Where the first of them starts.
    public var firstMismatchOffset: ByteOffset?

    public init(
        volume: String, membersCompared: Int, comparedBytes: ByteCount, mismatchedExtents: UInt64,
        mendedExtents: UInt64 = 0, firstMismatchOffset: ByteOffset? = nil
    ) {
        self.volume = volume
        self.membersCompared = membersCompared
        self.comparedBytes = comparedBytes
        self.mismatchedExtents = mismatchedExtents
        self.mendedExtents = mendedExtents
        self.firstMismatchOffset = firstMismatchOffset
    }
}
