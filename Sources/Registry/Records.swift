// What the registry knows, as plain values.
//
//     appliance ◁── member ──▷ volume ◁── snapshot ──▷ appliance
//
// Records and their transitions know no database and no clock: the simulator keeps them in a
// variable, SQLite in rows, and both obey the same rules because the rules are here. That is why
// there is no storage protocol: a stand-in for storage is `volume = try volume.applying(…)`, and
// what a protocol would add (an existential between the driver and its tests) fakes nothing more.
//
// Every record checks itself where it is made, so a row read back passes the same test as a record
// about to be written.

public import RemoteMemory

/// A process that lends memory, under the name the operator gave it.
public struct ApplianceRecord: Hashable, Sendable {
    public let name: String
    /// Where client devices reach it, such as `tcp:HOST:PORT`; parsed by whoever connects.
    public let address: String
    /// Appliances with the same label may fail together (a rack, a power feed); nil: on its own.
    public let failureDomain: String?
    /// Its members are being moved away, and none is placed there.
    public internal(set) var isDraining: Bool

    /// Throws `invalidName` for a name or failure domain that breaks `NameRule`.
    public init(
        name: String, address: String, failureDomain: String? = nil, isDraining: Bool = false
    ) throws(RegistryError) {
        try NameRule.check(name, of: .appliance)
        if let failureDomain { try NameRule.check(failureDomain, of: .failureDomain) }
        self.name = name
        self.address = address
        self.failureDomain = failureDomain
        self.isDraining = isDraining
    }
}

/// The role one region has in a volume.
public struct MemberRecord: Hashable, Sendable {
    public let index: MemberIndex
    public internal(set) var state: MemberState
    public let region: RegionID
    /// The name of the appliance that holds the region.
    public let appliance: String
    /// The life of the appliance's memory in which the region was allocated.
    ///
    /// An appliance that answers with another one no longer holds the region's contents.
    public let incarnation: Incarnation
    /// It is to be removed as soon as the set is whole without it.
    ///
    /// Until then it is a member like any other: only who owns the set acts on it.
    public internal(set) var isLeaving: Bool

    public init(
        index: MemberIndex, state: MemberState, region: RegionID, appliance: String,
        incarnation: Incarnation, isLeaving: Bool = false
    ) {
        self.index = index
        self.state = state
        self.region = region
        self.appliance = appliance
        self.incarnation = incarnation
        self.isLeaving = isLeaving
    }
}

/// A region of a snapshot.
public struct SnapshotMember: Hashable, Sendable {
    /// Whose bytes it has; 0 for the one region of a mirror's snapshot.
    public let index: MemberIndex
    public let region: RegionID
    /// The name of the appliance that holds the region.
    public let appliance: String
    public let incarnation: Incarnation

    public init(
        index: MemberIndex, region: RegionID, appliance: String, incarnation: Incarnation
    ) {
        self.index = index
        self.region = region
        self.appliance = appliance
        self.incarnation = incarnation
    }
}

/// Regions that were removed from their volume and kept: the volume's contents at that instant.
///
/// One region of a mirror has all of them. Of an erasure set it takes a whole generation, one for each
/// member, of which any K suffice.
public struct SnapshotRecord: Hashable, Sendable {
    public let volume: VolumeID
    public let name: String
    /// The volume's size when the snapshot was cut.
    public let size: ByteCount
    /// Where the bytes stand in the regions of an erasure set; nil for a mirror.
    public let stripes: StripeGeometry?
    /// In order of index: one, or K+M.
    public let members: [SnapshotMember]
    /// The epoch the cut began: the snapshot holds the writes of every earlier epoch and none of
    /// this one or a later one.
    public let cutAtEpoch: Epoch
    /// Milliseconds since the start of 1970, by the clock of the client device that cut it.
    ///
    /// For people only: nothing is decided by it.
    public let createdAt: Int64

    /// The region of a mirror's snapshot; the first one of several.
    public var region: RegionID { members[0].region }
    /// The name of the appliance that holds it.
    public var appliance: String { members[0].appliance }
    public var incarnation: Incarnation { members[0].incarnation }
    /// What each of its regions holds.
    public var regionDataSize: ByteCount { stripes?.regionDataSize ?? size }
    /// How many of its regions it takes to read it.
    public var membersNeeded: Int { stripes?.dataShards ?? 1 }

    /// A snapshot of a mirror.
    ///
    /// Throws `invalidName`, or `illegalChange` for a size or epoch out of range.
    public init(
        volume: VolumeID, name: String, size: ByteCount, region: RegionID, appliance: String,
        incarnation: Incarnation, cutAtEpoch: Epoch, createdAt: Int64
    ) throws(RegistryError) {
        try self.init(
            volume: volume, name: name, size: size, stripes: nil,
            members: [
                SnapshotMember(
                    index: MemberIndex(0), region: region, appliance: appliance,
                    incarnation: incarnation)
            ], cutAtEpoch: cutAtEpoch, createdAt: createdAt)
    }

    /// Throws `invalidName`, or `illegalChange` for a size or epoch out of range, or for members that are not
    /// those of the layout.
    public init(
        volume: VolumeID, name: String, size: ByteCount, stripes: StripeGeometry?,
        members: [SnapshotMember], cutAtEpoch: Epoch, createdAt: Int64
    ) throws(RegistryError) {
        try NameRule.check(name, of: .snapshot)
        try VolumeRecord.check(size: size, epoch: cutAtEpoch)
        let count = stripes?.memberCount ?? 1
        guard members.map(\.index.number) == Array(0..<count),
            Set(members.map(\.region)).count == count
        else { throw .illegalChange(.incompleteGeneration(needed: count)) }
        self.volume = volume
        self.name = name
        self.size = size
        self.stripes = stripes
        self.members = members
        self.cutAtEpoch = cutAtEpoch
        self.createdAt = createdAt
    }
}
