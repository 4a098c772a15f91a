// How the members of a volume change.
//
//                     promote
//     add ──▶ rebuilding ──▶ active ──────┐ cut
//                │    │        │          ▼
//                │    │        │ fail   removed, the region kept as a snapshot
//         remove │    │ fail   ▼
//                │    └─────▶ failed ◀── fail ── suspect
//                ▼             │
//             removed ◀────────┘ remove
//
// There is no way back from failed: a member that missed a write is forgotten (`remove`) and added
// again, as rebuilding; both fit in one list of changes, with the same region if its old contents
// are worth keeping. No change leads to suspect: whether a member is late is for its owner to judge
// from moment to moment, and costs no epoch. A record may still hold the state.
//
// Two changes touch no state. The layout says how many members there are to be, and the owner adds and
// removes them afterwards, one change each: at every instant the record tells both where the set stands
// and where it goes, so that the next owner goes on. A member marked as leaving is one that the owner
// removes when the others suffice, for the same reason.
//
// One change touches no member: the volume grows. Their regions are as large by then, so that whoever reads the
// record finds the room it speaks of. A snapshot keeps the size that the volume had when it was cut.
//
// Of an erasure set a whole region may take the place of a member, whatever became of that one meanwhile; and a
// whole generation beside the members may become a snapshot, which changes no member. What is not whole yet, the
// registry does not know (a twin: see the engine).
//
// A list of changes is one step: all or none, one epoch. They apply in order, each to the outcome of
// the one before; so an owner whose rebuild ends as its last active member dies may promote, then
// fail, but not fail, then promote.

public import RemoteMemory

/// One change of a volume's members, or of what they are to be.
public enum MembershipChange: Hashable, Sendable {
    /// These members missed a write or lost their memory. Failing the last one that holds the data
    /// is allowed, for it is a fact to record; the volume is then lost.
    case fail([MemberIndex])
    /// A new member, in state rebuilding.
    case add(MemberRecord)
    /// A rebuilding member now holds everything. Refused when no other member does: nobody could
    /// have completed the rebuild.
    case promote(MemberIndex)
    /// Forgets failed or rebuilding members.
    case remove([MemberIndex])
    /// Takes an active member, never the last one, out of the set and keeps its region as a
    /// snapshot. `at` is the time in milliseconds since the start of 1970. The replacement is added
    /// after the removal, so it may have the same index.
    case cut(member: MemberIndex, snapshot: String, at: Int64, replacement: MemberRecord?)
    /// Puts a region that holds everything in the place of the member with its index, in an erasure set.
    case replace(MemberRecord)
    /// Keeps a generation of regions beside those of an erasure set, one for each member, as a snapshot.
    case cutGeneration([SnapshotMember], snapshot: String, at: Int64)
    /// What the set is to be from now on, whatever members it has.
    case setLayout(Layout)
    /// Whether a member, in whichever state, is to be removed once the set is whole without it.
    case setLeaving(MemberIndex, Bool)
    /// How large the volume is from now on: larger than before, as every member's region is already.
    case grow(to: ByteCount)
}

/// What can be done to one member that is in the set.
public enum MemberAction: Hashable, Sendable, CaseIterable {
    case fail
    case promote
    case remove
    case cut

    /// Whether the state diagram has an arrow for this action from `state`.
    public func isLegal(from state: MemberState) -> Bool {
        switch (self, state) {
        case (.fail, .active), (.fail, .suspect), (.fail, .rebuilding): true
        case (.fail, .failed), (.fail, .removed): false
        case (.promote, .rebuilding): true
        case (.promote, .active), (.promote, .suspect), (.promote, .failed), (.promote, .removed):
            false
        case (.remove, .failed), (.remove, .rebuilding): true
        case (.remove, .active), (.remove, .suspect), (.remove, .removed): false
        case (.cut, .active): true
        case (.cut, .suspect), (.cut, .failed), (.cut, .rebuilding), (.cut, .removed): false
        }
    }

    /// The states `isLegal` allows, for a sentence.
    var allowed: String {
        switch self {
        case .fail: "an active, suspect or rebuilding member"
        case .promote: "a rebuilding member"
        case .remove: "a failed or rebuilding member"
        case .cut: "an active member"
        }
    }

    var participle: String {
        switch self {
        case .fail: "failed"
        case .promote: "promoted"
        case .remove: "removed"
        case .cut: "cut into a snapshot"
        }
    }
}

extension VolumeRecord {
    /// The volume after `changes`, one epoch on, and the snapshot they cut, if any.
    ///
    /// Throws `notOwner` unless `owner` has the volume, then `staleEpoch` unless it is at
    /// `expecting`, then `illegalChange` or `invalidName` for the first change that may not be.
    public func applying(
        _ changes: [MembershipChange], owner: OwnerID, expecting: Epoch
    ) throws(RegistryError) -> (VolumeRecord, SnapshotRecord?) {
        try check(owner: owner)
        var next = try advanced(from: expecting)
        if changes.isEmpty { throw .illegalChange(.nothingToDo) }
        var snapshot: SnapshotRecord?
        for change in changes {
            switch change {
            case .fail(let indices): try next.fail(indices)
            case .add(let member): try next.add(member)
            case .promote(let index): try next.promote(index)
            case .remove(let indices): try next.remove(indices)
            case .cut(let index, let name, let time, let replacement):
                if snapshot != nil { throw .illegalChange(.secondCut) }
                snapshot = try next.cut(index, name: name, at: time)
                if let replacement { try next.add(replacement) }
            case .replace(let member): try next.replace(member)
            case .cutGeneration(let regions, let name, let time):
                if snapshot != nil { throw .illegalChange(.secondCut) }
                snapshot = try next.cut(regions, name: name, at: time)
            case .setLayout(let layout): try next.set(layout)
            case .setLeaving(let index, let isLeaving): try next.set(index, isLeaving)
            case .grow(let size): try next.grow(to: size)
            }
        }
        // The snapshot's regions are not in `members`, so `insert` cannot know that they are taken.
        let kept = Set(snapshot?.members.map(\.region) ?? [])
        for member in next.members where kept.contains(member.region) {
            throw .illegalChange(.regionTaken(member.region))
        }
        return (next, snapshot)
    }

    private mutating func set(_ layout: Layout) throws(RegistryError) {
        // (A layout that is read from text is in range, one that a program makes need not be.)
        guard Layout("\(layout)") != nil else { throw .illegalChange(.layoutOutOfRange(layout)) }
        guard stripes == nil, case .mirror = layout else {
            throw .illegalChange(.fixedLayout(stripes == nil ? layout : self.layout))
        }
        self.layout = layout
    }

    private mutating func set(_ index: MemberIndex, _ isLeaving: Bool) throws(RegistryError) {
        guard let place = members.firstIndex(where: { $0.index == index }) else {
            throw .illegalChange(.noSuchMember(index))
        }
        members[place].isLeaving = isLeaving
    }

    private mutating func grow(to size: ByteCount) throws(RegistryError) {
        guard size.bytes % RegionLayout.volumeGranularity.bytes == 0,
            size <= RegionLayout.largestVolume
        else { throw .illegalChange(.growthOutOfRange(size)) }
        guard size > self.size else {
            throw .illegalChange(.wouldNotGrow(from: self.size, to: size))
        }
        self.size = size
        stripes = stripes?.grown(to: size)
    }

    private mutating func fail(_ indices: [MemberIndex]) throws(RegistryError) {
        if indices.isEmpty { throw .illegalChange(.nothingToDo) }
        for index in indices {
            members[try place(of: index, for: .fail)].state = .failed
        }
    }

    private mutating func add(_ member: MemberRecord) throws(RegistryError) {
        guard member.state == .rebuilding else {
            throw .illegalChange(.additionNotRebuilding(member.index, member.state))
        }
        try insert(member)
    }

    private mutating func promote(_ index: MemberIndex) throws(RegistryError) {
        let place = try place(of: index, for: .promote)
        if isLost { throw .illegalChange(.volumeIsLost) }
        members[place].state = .active
    }

    private mutating func remove(_ indices: [MemberIndex]) throws(RegistryError) {
        if indices.isEmpty { throw .illegalChange(.nothingToDo) }
        for index in indices {
            members.remove(at: try place(of: index, for: .remove))
        }
    }

    private mutating func cut(
        _ index: MemberIndex, name: String, at time: Int64
    ) throws(RegistryError) -> SnapshotRecord {
        let place = try place(of: index, for: .cut)
        guard members.count(where: { $0.state == .active }) > 1 else {
            throw .illegalChange(.lastActiveMember(index))
        }
        let member = members.remove(at: place)
        return try SnapshotRecord(
            volume: id, name: name, size: size, region: member.region, appliance: member.appliance,
            incarnation: member.incarnation, cutAtEpoch: epoch, createdAt: time)
    }

    private mutating func replace(_ member: MemberRecord) throws(RegistryError) {
        guard let stripes, stripes.members.contains(member.index) else {
            throw .illegalChange(.noTwins(layout))
        }
        guard member.state == .active else {
            throw .illegalChange(.successorNotActive(member.index, member.state))
        }
        if isLost { throw .illegalChange(.volumeIsLost) }
        if let former = self.member(member.index), former.region == member.region {
            throw .illegalChange(.regionTaken(member.region))
        }
        members.removeAll { $0.index == member.index }
        try insert(member)
    }

    private func cut(
        _ regions: [SnapshotMember], name: String, at time: Int64
    ) throws(RegistryError) -> SnapshotRecord {
        guard let stripes else { throw .illegalChange(.noTwins(layout)) }
        if isLost { throw .illegalChange(.volumeIsLost) }
        return try SnapshotRecord(
            volume: id, name: name, size: size, stripes: stripes, members: regions,
            cutAtEpoch: epoch, createdAt: time)
    }

    /// Where member `index` is in `members`, if `action` may be done to it.
    private func place(
        of index: MemberIndex, for action: MemberAction
    ) throws(RegistryError) -> Int {
        guard let place = members.firstIndex(where: { $0.index == index }) else {
            throw .illegalChange(.noSuchMember(index))
        }
        let state = members[place].state
        guard action.isLegal(from: state) else {
            throw .illegalChange(.wrongState(action, index, found: state))
        }
        return place
    }
}
