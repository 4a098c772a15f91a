// A volume, and who may write it.
//
// Invariants, checked where a record is made and kept by every transition:
//   - member indices differ, regions differ, members are in order of index
//   - no member is `removed`: a removed member has no record
//   - the epoch only grows: each transition yields exactly `epoch + 1`
//
// The epoch is the compare-and-set token of everything here. A client device that holds the record
// of epoch e asks "make it e + 1"; of two that ask for the same step one gets it, and the other
// learns by the error that it must read again. A device that lost the volume this way is harmless
// even before it learns: the new owner fences the appliances with the new epoch first.

public import RemoteMemory

/// A resiliency set as the registry knows it.
public struct VolumeRecord: Hashable, Sendable {
    /// The sizes a volume may have, in bytes: anything a signed 64-bit integer counts but 0.
    public static let sizes = ByteCount(1)...ByteCount(UInt64(Int64.max))

    /// The highest epoch; a change a microsecond would reach it in 292,000 years.
    public static let lastEpoch = Epoch(UInt64(Int64.max))

    public let name: String
    public let id: VolumeID
    /// It only grows.
    public internal(set) var size: ByteCount
    /// What the set is to be; its members follow one by one.
    public internal(set) var layout: Layout
    public let ordering: Ordering
    /// Where the bytes stand in an erasure set, for good; nil for a mirror.
    public internal(set) var stripes: StripeGeometry?
    public internal(set) var epoch: Epoch
    /// The client device that may change and write the volume; nil: none has taken it over yet.
    public internal(set) var owner: OwnerID?
    /// In order of index; at most `MemberIndex.limit`.
    public internal(set) var members: [MemberRecord]

    /// `chunk` is of an erasure set, and counts for nothing for a mirror.
    ///
    /// Throws `invalidName`, or `illegalChange` when an invariant of this file does not hold.
    public init(
        name: String, id: VolumeID, size: ByteCount, layout: Layout, ordering: Ordering,
        chunk: ByteCount = StripeGeometry.usualChunk,
        epoch: Epoch = Epoch(1), owner: OwnerID? = nil, members: [MemberRecord]
    ) throws(RegistryError) {
        try NameRule.check(name, of: .volume)
        try Self.check(size: size, epoch: epoch)
        self.name = name
        self.id = id
        self.size = size
        self.layout = layout
        self.ordering = ordering
        stripes = try Self.stripes(of: layout, chunk: chunk, size: size)
        self.epoch = epoch
        self.owner = owner
        self.members = []
        for member in members { try insert(member) }
    }

    static func stripes(
        of layout: Layout, chunk: ByteCount, size: ByteCount
    ) throws(RegistryError) -> StripeGeometry? {
        guard case .erasure(let data, let parity) = layout else { return nil }
        // (A layout that is read from text is in range, one that a program makes need not be.)
        guard Layout("\(layout)") != nil else { throw .illegalChange(.layoutOutOfRange(layout)) }
        do throws(StripeGeometryError) {
            return try StripeGeometry(
                dataShards: data, parityShards: parity, chunk: chunk, size: size)
        } catch {
            throw .illegalChange(.chunkOutOfRange(error))
        }
    }

    /// What each member's region holds of the volume.
    public var regionDataSize: ByteCount { stripes?.regionDataSize ?? size }

    /// Whether too few members hold the data to read it: none of a mirror, fewer than K of an erasure set.
    ///
    /// A rebuilding member does not count: what it lacks exists nowhere.
    public var isLost: Bool {
        members.count { $0.state.holdsData } < layout.membersNeeded
    }

    /// The member with `index`, if there is one.
    public func member(_ index: MemberIndex) -> MemberRecord? {
        members.first { $0.index == index }
    }

    /// The lowest index no member has; nil when the set is as large as a set may be.
    ///
    /// In an erasure set the index says which bytes a member holds: it goes to the successor of a member that
    /// failed, and the set never has more members than its layout.
    public var freeIndex: MemberIndex? {
        let limit = stripes?.memberCount ?? MemberIndex.limit
        return (0..<limit).lazy.map { MemberIndex($0) }.first { index in
            guard let member = member(index) else { return true }
            return stripes != nil && member.state == .failed
        }
    }
}

extension MemberState {
    /// Whether a member in this state has every acknowledged write.
    public var holdsData: Bool {
        switch self {
        case .active, .suspect: true
        case .failed, .rebuilding, .removed: false
        }
    }
}

// MARK: - Owner

extension VolumeRecord {
    /// The volume in the hands of `owner`, one epoch on.
    ///
    /// The previous owner is not asked: it may be dead. An owner may take over its own volume again,
    /// to fence what it sent earlier. Throws `staleEpoch` unless the volume is at `expecting`.
    public func takenOver(
        by owner: OwnerID, expecting: Epoch
    ) throws(RegistryError) -> VolumeRecord {
        var next = try advanced(from: expecting)
        next.owner = owner
        return next
    }

    /// A lost volume made anew on `members`: empty, its name, identity, size and snapshots kept.
    ///
    /// The members must be active and their regions fresh from an appliance (all zero): a region of
    /// the lost set may hold old data and is refused. Throws `notOwner`, `staleEpoch` or
    /// `illegalChange`, the latter also when the volume is not lost.
    public func reset(
        to members: [MemberRecord], owner: OwnerID, expecting: Epoch
    ) throws(RegistryError) -> VolumeRecord {
        try check(owner: owner)
        var next = try advanced(from: expecting)
        guard isLost else { throw .illegalChange(.volumeIsNotLost) }
        try Self.check(fresh: members)
        for member in members where self.members.contains(where: { $0.region == member.region }) {
            throw .illegalChange(.regionTaken(member.region))
        }
        next.members = []
        for member in members { try next.insert(member) }
        return next
    }
}

// MARK: - Rules shared by the transitions

extension VolumeRecord {
    /// This record at the next epoch; throws `staleEpoch` unless it is at `expecting`.
    func advanced(from expecting: Epoch) throws(RegistryError) -> VolumeRecord {
        guard epoch == expecting else { throw .staleEpoch(expected: expecting, found: epoch) }
        guard epoch < Self.lastEpoch else { throw .illegalChange(.epochOutOfRange(epoch)) }
        var next = self
        next.epoch = epoch.next
        return next
    }

    /// Throws `notOwner` unless `owner` has the volume.
    ///
    /// Checked before the epoch: to a device that lost the volume, "stop" matters more than "retry".
    func check(owner: OwnerID) throws(RegistryError) {
        guard self.owner == owner else { throw .notOwner(expected: owner, found: self.owner) }
    }

    /// Gives the set one more member, if its index and region are free.
    mutating func insert(_ member: MemberRecord) throws(RegistryError) {
        if member.state == .removed { throw .illegalChange(.removedMember(member.index)) }
        for other in members {
            if other.index == member.index { throw .illegalChange(.indexTaken(member.index)) }
            if other.region == member.region { throw .illegalChange(.regionTaken(member.region)) }
        }
        let place = members.firstIndex { $0.index > member.index } ?? members.endIndex
        members.insert(member, at: place)
    }

    /// Throws unless `members` can make up a volume that holds nothing yet.
    static func check(fresh members: [MemberRecord]) throws(RegistryError) {
        if members.isEmpty { throw .illegalChange(.noMembers) }
        for member in members where member.state != .active {
            throw .illegalChange(.freshMemberNotActive(member.index, member.state))
        }
    }

    /// Throws unless the registry can record `size` and `epoch`.
    static func check(size: ByteCount, epoch: Epoch) throws(RegistryError) {
        guard sizes.contains(size) else { throw .illegalChange(.sizeOutOfRange(size)) }
        guard epoch <= lastEpoch else { throw .illegalChange(.epochOutOfRange(epoch)) }
    }
}
