// Restoring lost redundancy beside the running I/O, extent by extent.
//
// Each rebuilding member has a map of the extents it still misses (DirtyMaps). A foreground write goes to
// the member as soon as one extent it touches is held there; an extent leaves the map after it was copied
// whole under a lock that keeps changes out. So for every extent: held ⇒ every later write was sent there
// too. When the map is empty the member is promoted, which the registry hears of first.

public import RemoteMemory

/// Where rebuilding stands: one extent is copied at a time.
struct Rebuilding: ~Copyable {
    /// The member and extent being copied.
    var copying: (member: MemberIndex, extent: Int)?
    var cursor = 0
    /// How much may be copied now, in bytes, when there is a limit.
    var allowance: UInt64 = 0
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
        guard dirty.rebuilding.contains(member), let map = dirty[member] else { return nil }
        return RebuildStanding(
            missing: ByteCount(
                min(UInt64(map.extents.setCount) * dirty.extentSize.bytes, size.bytes)),
            total: size)
    }

    /// Starts the next step of rebuild or scrub, if one is due; false when there is nothing to start.
    ///
    /// The driver calls it as often as it wants to spend time on it: between batches of requests under
    /// load, back to back when idle.
    public mutating func advanceBackground() -> Bool {
        guard phase == .serving, table.hasRoom else { return false }
        if !rebuilding.isEmpty, canServe {
            if let (member, range) = nextToCopy(), let map = dirty[member] {
                if let stripes {
                    appendStripedCopy(member, range, stripes)
                    return true
                }
                let index = table.append(.rebuildCopy, range, token: map.life, at: now)
                table[index].next = MemberSet(member)
                start(index)
                return true
            }
            if !dirty.whole.members.isEmpty, recording == .idle, mapStores == 0 {
                recordNext()
                if recording != .idle { return true }
            }
        }
        return advanceScrub()
    }

    /// Picks the next extent to copy; nil when one is under way, or none is missing or allowed.
    ///
    /// The member that misses least comes first: so redundancy is back soonest. Twins come last.
    private mutating func nextToCopy() -> (member: MemberIndex, range: ByteRange)? {
        guard rebuild.copying == nil else { return nil }
        var choice: (member: MemberIndex, missing: Int)?
        let missing = dirty.rebuilding.subtracting(dirty.whole)
        for member in missing.members.isEmpty ? missing : missing.members {
            guard let map = dirty[member] else { continue }
            if let choice, choice.missing <= map.extents.setCount { continue }
            choice = (member, map.extents.setCount)
        }
        guard let choice, let map = dirty[choice.member],
            let extent = map.extents.next(from: rebuild.cursor) ?? map.extents.next(from: 0)
        else { return nil }
        let range = map.extents.range(of: extent)
        if tuning.rebuildRate != nil {
            guard rebuild.allowance >= range.count.bytes else { return nil }
            rebuild.allowance -= range.count.bytes
        }
        rebuild.cursor = extent + 1
        rebuild.copying = (choice.member, extent)
        return (choice.member, range)
    }

    /// The most that rebuilds copy, in bytes a second; nil for as fast as they go beside the I/O.
    public var rebuildLimit: ByteCount? { tuning.rebuildRate }

    /// Limits rebuilds to this many bytes a second; nil for as fast as they go beside the I/O.
    public mutating func limitRebuilds(to rate: ByteCount?) {
        tuning.rebuildRate = rate
        rebuild.allowance = 0
    }

    /// What `elapsed` nanoseconds allow to be copied, up to what a second does.
    mutating func grantRebuilds(_ elapsed: UInt64) {
        guard let rate = tuning.rebuildRate else { return }
        let grant = (Double(rate.bytes) * Double(elapsed) / 1_000_000_000).rounded(.up)
        let most = max(rate.bytes, dirty.extentSize.bytes)
        let room = most - min(most, rebuild.allowance)
        // (A grant of a fast rate after a long pause is more than an integer holds.)
        rebuild.allowance += grant < Double(room) ? min(room, UInt64(grant)) : room
    }

    mutating func startRebuildCopy(_ index: Int) -> Bool {
        guard let member = table[index].next.first else { return false }
        guard let map = dirty[member], map.life == table[index].token,
            let source = readCandidate
        else {
            stopCopying(member)
            table.remove(index)
            return false
        }
        guard table.reserve(1, for: index) else { return false }
        table.setStage(index, .running)
        table[index].pending = MemberSet(member)
        table[index].done = MemberSet(source)
        table[index].asked = now
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
        let entry = table[index]
        table.remove(index)
        stopCopying(member)
        let isCurrent = dirty[member]?.life == entry.token && rebuilding.contains(member)
        switch outcome {
        case .done where isCurrent: held(entry.range, on: member)
        case .done: break
        case .sourceFailed:
            if let source = entry.done.first { memberFailed(source) }
        case .failed, .different, .fenced: if isCurrent { memberFailed(member) }
        }
        startWaiting()
    }

    private mutating func stopCopying(_ member: MemberIndex) {
        if rebuild.copying?.member == member { rebuild.copying = nil }
    }

    /// A rebuilding member holds one extent more.
    mutating func held(_ range: ByteRange, on member: MemberIndex) {
        let extent = Int(range.start.bytes / dirty.extentSize.bytes)
        dirty.copied(extent, to: member)
        if !member.isTwin { storeMapWord(extent / 64, of: member) }
        if dirty.whole.contains(member) { makeKeeper(member) }
    }

    /// A member that misses nothing keeps the other members' maps from now on, like active ones do; its
    /// promotion waits until it has them.
    mutating func makeKeeper(_ member: MemberIndex) {
        for other in dirty.members.members where other != member {
            storeMap(of: other, on: MemberSet(member))
        }
        recordNext()
    }

    /// What a change left on rebuilding members is not on any active one: they miss its extents again.
    mutating func spoil(_ range: ByteRange) {
        for member in dirty.rebuilding { dirty.mark(range, of: member) }
    }
}
