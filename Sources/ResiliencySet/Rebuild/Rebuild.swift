// Restoring lost redundancy beside the running I/O, extent by extent.
//
// Each rebuilding member has a map of the extents it still misses. A foreground write goes to the member
// as soon as one extent it touches is held there; an extent leaves the map after it was copied whole
// under a lock that keeps changes out. So for every extent: held ⇒ every later write was sent there too.
// When the map is empty the member is promoted, which the registry hears of first.

public import RemoteMemory

/// The members being rebuilt and what each misses.
struct Rebuilds: ~Copyable {
    /// The members that miss nothing any more and wait for their promotion to be recorded.
    private(set) var finished = MemberSet()
    /// The member and extent being copied.
    private(set) var copying: (member: MemberIndex, extent: Int)?
    private var missing: [MemberIndex: MissingExtents] = [:]
    private var cursor = 0
    private var lives: UInt32 = 0

    /// A box, since a dictionary cannot hold what cannot be copied.
    private final class MissingExtents {
        /// Tells this life of the member from those before, whose copies may still come in.
        let life: UInt32
        var map: ExtentMap
        init(life: UInt32, _ map: consuming ExtentMap) {
            self.life = life
            self.map = map
        }
    }

    mutating func add(_ member: MemberIndex, deviceSize: ByteCount) {
        lives &+= 1
        missing[member] = MissingExtents(
            life: lives,
            ExtentMap(
                deviceSize: deviceSize, extentSize: RegionLayout.extentSize(forDataOf: deviceSize),
                allSet: true))
        finished.remove(member)
        cursor = 0
    }

    mutating func remove(_ member: MemberIndex) {
        missing[member] = nil
        finished.remove(member)
        if copying?.member == member { copying = nil }
    }

    /// The members that hold an extent which `range` touches.
    func holders(of range: ByteRange) -> MemberSet {
        var holders = MemberSet()
        for (member, extents) in missing where !extents.map.containsAll(of: range) {
            holders.insert(member)
        }
        return holders
    }

    /// Picks the next extent to copy; nil when one is under way or nothing is missing.
    mutating func next() -> (member: MemberIndex, life: UInt32, range: ByteRange)? {
        guard copying == nil else { return nil }
        var candidates = MemberSet(missing.keys).subtracting(finished)
        guard let member = candidates.popFirst(), let extents = missing[member] else { return nil }
        guard let extent = extents.map.next(from: cursor) ?? extents.map.next(from: 0) else {
            finished.insert(member)
            return nil
        }
        cursor = extent + 1
        copying = (member, extent)
        return (member, extents.life, extents.map.range(of: extent))
    }

    /// Whether a copy that was begun is meant for the member as it is now.
    func isCurrent(_ life: UInt32, of member: MemberIndex) -> Bool { missing[member]?.life == life }

    /// A copy ended; `whole` when the member holds the extent that starts there now.
    mutating func copied(_ range: ByteRange, to member: MemberIndex, life: UInt32, whole: Bool) {
        guard let extents = missing[member], extents.life == life else { return }
        let extent = Int(range.start.bytes / extents.map.extentSize.bytes)
        if let current = copying, current == (member, extent) { copying = nil }
        guard whole else { return }
        extents.map.remove(extent)
        if extents.map.setCount == 0 { finished.insert(member) }
    }

    func progress(of member: MemberIndex) -> RebuildStanding? {
        guard let extents = missing[member] else { return nil }
        return RebuildStanding(
            missing: ByteCount(
                min(
                    UInt64(extents.map.setCount) * extents.map.extentSize.bytes,
                    extents.map.deviceSize.bytes)),
            total: extents.map.deviceSize)
    }
}

/// How far the rebuild of a member has come.
public struct RebuildStanding: Hashable, Sendable {
    /// What is still to be copied.
    public var missing: ByteCount
    /// What the member holds when it is whole.
    public var total: ByteCount
}

extension ResiliencySet {
    /// How far the rebuild of `member` has come; nil when it is not being rebuilt.
    public func rebuildStanding(of member: MemberIndex) -> RebuildStanding? {
        rebuilds.progress(of: member)
    }

    /// Starts the next step of rebuild or scrub, if one is due; false when there is nothing to start.
    ///
    /// The driver calls it as often as it wants to spend time on it: between batches of requests under
    /// load, back to back when idle.
    public mutating func advanceBackground() -> Bool {
        guard phase == .serving, table.hasRoom else { return false }
        if !rebuilding.isEmpty, !active.isEmpty {
            if let (member, life, range) = rebuilds.next() {
                let index = table.append(.rebuildCopy, range, token: life, at: now)
                table[index].next = MemberSet(member)
                start(index)
                return true
            }
            if !rebuilds.finished.isEmpty, recording == .idle {
                recordNext()
                return true
            }
        }
        return advanceScrub()
    }

    mutating func startRebuildCopy(_ index: Int) -> Bool {
        guard let member = table[index].next.first,
            rebuilds.isCurrent(table[index].token, of: member), let source = active.first
        else {
            if let member = table[index].next.first {
                rebuilds.copied(
                    table[index].range, to: member, life: table[index].token, whole: false)
            }
            table.remove(index)
            return false
        }
        guard table.reserve(1, for: index) else { return false }
        table.setStage(index, .running)
        table[index].pending = MemberSet(member)
        table[index].done = MemberSet(source)
        effects.push(
            .perform(
                RemoteOperation(
                    ticket: table.ticket(index), member: member,
                    action: .copy(table[index].range, source: source))))
        return true
    }

    mutating func completeRebuildCopy(
        _ index: Int, _ member: MemberIndex, _ outcome: OperationOutcome
    ) {
        let isCurrent = rebuilds.isCurrent(table[index].token, of: member)
        rebuilds.copied(
            table[index].range, to: member, life: table[index].token,
            whole: outcome == .done && rebuilding.contains(member))
        // (When the source was lost, the target is not to blame.)
        let isToBlame = isCurrent && active.isSuperset(of: table[index].done)
        table.remove(index)
        if outcome != .done, isToBlame { memberFailed(member) }
        if !rebuilds.finished.isEmpty { recordNext() }
        startWaiting()
    }
}
