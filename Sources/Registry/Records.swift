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

/// A region that was removed from its volume and kept: the volume's contents at that instant.
public struct SnapshotRecord: Hashable, Sendable {
    public let volume: VolumeID
    public let name: String
    /// The volume's size when the snapshot was cut.
    public let size: ByteCount
    public let region: RegionID
    /// The name of the appliance that holds the region.
    public let appliance: String
    public let incarnation: Incarnation
    /// The epoch the cut began: the snapshot holds the writes of every earlier epoch and none of
    /// this one or a later one.
    public let cutAtEpoch: Epoch
    /// Milliseconds since the start of 1970, by the clock of the client device that cut it.
    ///
    /// For people only: nothing is decided by it.
    public let createdAt: Int64

    /// Throws `invalidName`, or `illegalChange` for a size or epoch out of range.
    public init(
        volume: VolumeID, name: String, size: ByteCount, region: RegionID, appliance: String,
        incarnation: Incarnation, cutAtEpoch: Epoch, createdAt: Int64
    ) throws(RegistryError) {
        try NameRule.check(name, of: .snapshot)
        try VolumeRecord.check(size: size, epoch: cutAtEpoch)
        self.volume = volume
        self.name = name
        self.size = size
        self.region = region
        self.appliance = appliance
        self.incarnation = incarnation
        self.cutAtEpoch = cutAtEpoch
        self.createdAt = createdAt
    }
}
