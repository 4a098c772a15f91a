// Everything that can go wrong in the registry, as one closed set.
//
// Each case is caused by somebody else (an operator, another client device, the disk), never by a
// mistake inside Holdfast: those are preconditions. A case carries what a program needs to decide,
// and its description is the sentence for the person who has to act.

public import RemoteMemory

/// What an error speaks of.
public enum RegistryKind: Hashable, Sendable, CaseIterable, CustomStringConvertible {
    case appliance
    case failureDomain
    case volume
    case snapshot

    public var description: String {
        switch self {
        case .appliance: "appliance"
        case .failureDomain: "failure domain"
        case .volume: "volume"
        case .snapshot: "snapshot"
        }
    }
}

/// Why the registry did not do what it was asked.
///
/// Nothing has changed, unless the case is `storage`.
public enum RegistryError: Error, Hashable, Sendable {
    /// There is no such thing; `name` is its identifier where it was asked for by identifier.
    case notFound(RegistryKind, name: String)
    case alreadyExists(RegistryKind, name: String)
    /// `name` breaks `NameRule`.
    case invalidName(RegistryKind, name: String)
    /// The volume changed since the caller read it: the caller lost a compare-and-set.
    case staleEpoch(expected: Epoch, found: Epoch)
    /// Another client device owns the volume (nil: nobody does). The caller must stop serving it.
    case notOwner(expected: OwnerID, found: OwnerID?)
    /// Another client device has taken the whole registry: the caller must stop serving anything.
    case superseded(by: OwnerID)
    case illegalChange(IllegalChange)
    case inUse(RegistryUse)
    /// The disk, or the file on it. `message` names the file and holds the cause as SQLite or the
    /// kernel put it.
    ///
    /// A change that ended so may still be found done after a restart: a commit whose flush failed
    /// can have reached the disk. Read the volume again before deciding; its epoch tells.
    case storage(StorageFault, message: String)
}

/// Which rule of membership a change would have broken.
public enum IllegalChange: Hashable, Sendable {
    /// The list of changes, or of members inside one, is empty.
    case nothingToDo
    case noSuchMember(MemberIndex)
    case indexTaken(MemberIndex)
    /// The region already serves a member or a snapshot, or belonged to the set that was lost.
    case regionTaken(RegionID)
    /// No arrow of the state diagram leads from `found` by `action`.
    case wrongState(MemberAction, MemberIndex, found: MemberState)
    /// A member added to a living set must be rebuilding: it does not hold the data yet.
    case additionNotRebuilding(MemberIndex, MemberState)
    /// A member of an empty volume must be active: there is nothing to rebuild it from.
    case freshMemberNotActive(MemberIndex, MemberState)
    /// A new or reset volume needs at least one member.
    case noMembers
    /// A cut would leave no active member.
    case lastActiveMember(MemberIndex)
    /// One list of changes can cut one snapshot.
    case secondCut
    /// The regions of a snapshot are not one for each member of its layout.
    case incompleteGeneration(needed: Int)
    /// A member of a mirror has no twin: each has all there is.
    case noTwins(Layout)
    /// A member that takes another's place must be active: it holds everything.
    case successorNotActive(MemberIndex, MemberState)
    /// A promotion, but no member that held the data is left to have rebuilt it from.
    case volumeIsLost
    /// A reset, but a member still holds the data.
    case volumeIsNotLost
    /// A record for a removed member: those are not kept.
    case removedMember(MemberIndex)
    /// There is no such layout, such as a mirror of no copies.
    case layoutOutOfRange(Layout)
    /// The bytes of an erasure set cannot be laid out so.
    case chunkOutOfRange(StripeGeometryError)
    /// An erasure set keeps its layout, and a mirror stays one.
    case fixedLayout(Layout)
    /// The volume's or snapshot's size is not in `VolumeRecord.sizes`.
    case sizeOutOfRange(ByteCount)
    /// A volume cannot grow to what is no size of a volume.
    case growthOutOfRange(ByteCount)
    /// A volume keeps what it has: it never shrinks.
    case wouldNotGrow(from: ByteCount, to: ByteCount)
    /// The epoch is above `VolumeRecord.lastEpoch`, or would be.
    case epochOutOfRange(Epoch)
}

/// Who still needs what was to be removed.
public enum RegistryUse: Hashable, Sendable {
    case applianceHoldsMember(appliance: String, volume: String)
    case applianceHoldsSnapshot(appliance: String, volume: String, snapshot: String)
    case volumeHasSnapshots(volume: String, count: Int)
}

/// What is wrong with the registry's storage.
public enum StorageFault: Hashable, Sendable, CaseIterable {
    case diskFull
    case readOnly
    /// The file is damaged, or is no registry.
    case corrupt
    /// Another process is in the middle of a change, and does not go on.
    case busy
    /// The directory is missing, or forbidden.
    case cannotOpen
    case inputOutput
    /// A newer version of Holdfast wrote the registry.
    case newerVersion
    /// Anything else SQLite reports; it means a fault in Holdfast.
    case unexpected
}
