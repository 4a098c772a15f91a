// Keeping the dirty maps in the survivors' regions.
//
// A map is stored whole when a member fails, before the registry hears of the failure: so a registry that
// says "failed" next to a map that counts means that the map is of this failure. Afterwards single words
// follow: with the first write to each extent, on the same ordered channel before its data; and now and
// then when a rebuild has copied some.

public import RemoteMemory

extension ResiliencySet {
    /// The members that keep maps: all that are active or about to be, whole twins included.
    var keepers: MemberSet { active.union(dirty.whole) }

    /// The dirty map of a member, as it is to be stored now.
    public func mapContent(of member: MemberIndex) -> DirtyMapContent {
        DirtyMapContent(
            extentSize: dirty.extentSize, words: dirty[member]?.extents.allWords ?? [])
    }

    /// One of them.
    public func mapWord(_ index: Int, of member: MemberIndex) -> UInt64 {
        dirty[member]?.extents.word(index) ?? 0
    }

    /// Which words of a map the extents of `range` are in.
    public func mapWords(of range: ByteRange) -> ClosedRange<Int> {
        let unit = dirty.extentSize.bytes * 64
        let last = max(range.start.bytes, range.end.bytes &- 1)
        return Int(range.start.bytes / unit)...Int(last / unit)
    }

    /// Stores a map whole on `targets`; decisions that need it wait (`mapStores`).
    mutating func storeMap(of member: MemberIndex, on targets: MemberSet) {
        guard !targets.isEmpty else { return }
        precondition(table.canTakeSpare, "map stores are bounded by pairs of members")
        let nothing = ByteRange(start: ByteOffset(0), count: .zero)
        let index = table.appendFirst(.mapStore, nothing, at: now)
        table.setStage(index, .running)
        table[index].token = UInt32(member.number)
        table[index].pending = targets
        table[index].asked = now
        mapStores += 1
        for target in targets {
            effects.push(
                .perform(
                    RemoteOperation(
                        ticket: table.ticket(index), member: target,
                        action: .storeMap(of: member))))
        }
    }

    mutating func storeMapWord(_ word: Int, of member: MemberIndex) {
        for keeper in keepers where keeper != member {
            effects.push(
                .perform(
                    RemoteOperation(
                        ticket: .none, member: keeper,
                        action: .storeMapWord(of: member, word: UInt32(word)))))
        }
    }

    mutating func completeMapStore(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome
    ) {
        guard table[index].pending.contains(member) else { return }
        table[index].pending.remove(member)
        let isOver = table[index].pending.isEmpty
        if isOver {
            table.remove(index)
            mapStores -= 1
        }
        if outcome != .done { memberFailed(member) }
        if mapStores == 0 { mapsStored() }
    }

    /// Nothing of the maps is on its way: what waited for that goes on.
    private mutating func mapsStored() {
        closeRepair()
        recordNext()
        startWaiting()
    }

    // MARK: After a takeover

    /// Takes the dirty map of a member that is not active, as found in one active member's region.
    public mutating func foundMap(_ content: DirtyMapContent, of member: MemberIndex) {
        precondition(phase == .repairing, "maps are gathered before the set serves")
        dirty.merge(content, into: member)
    }

    /// A member that the registry lost at this takeover: what was in flight is all that it can miss.
    public mutating func lostAtTakeover(_ member: MemberIndex) {
        precondition(phase == .repairing, "members are lost at a takeover before the set serves")
        dirty.leave(member)
    }
}
