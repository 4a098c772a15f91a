// What each member that is not active misses, extent by extent.
//
//     a member fails ──▶ away: its map starts with what is in flight; every later write marks its extents
//     it comes back  ──▶ rebuilding: the map shrinks as extents are copied; when it is empty, promotion
//
//     extent not in a member's map  ⇒  the member has every acknowledged write to that extent
//
// The maps also stand in the regions of all active members, stored by client-side access, so that they
// outlive the client device: a member that was away briefly is brought back by its dirty extents alone,
// and a rebuild goes on where it stood. A map there may say too much, never too little: bits are stored
// before the data that makes them true, and cleared some time after the extent was copied.

import RemoteMemory

/// What one member misses.
final class DirtyMap {
    /// Tells this life of the member from those before, whose copies may still come in.
    let life: UInt32
    var extents: ExtentMap

    init(life: UInt32, _ extents: consuming ExtentMap) {
        self.life = life
        self.extents = extents
    }
}

/// The maps of all members that are not active.
struct DirtyMaps: ~Copyable {
    /// Failed members whose memory may still be there.
    private(set) var away = MemberSet()
    /// Members being rebuilt, and twins.
    private(set) var rebuilding = MemberSet()
    /// Members being rebuilt that miss nothing any more.
    private(set) var whole = MemberSet()
    private var maps: [DirtyMap?] = Array(repeating: nil, count: MemberIndex.count)
    private var lives: UInt32 = 0
    private(set) var deviceSize: ByteCount
    private(set) var extentSize: ByteCount

    init(deviceSize: ByteCount, extentSize: ByteCount) {
        self.deviceSize = deviceSize
        self.extentSize = extentSize
    }

    /// All members that have a map.
    var members: MemberSet { away.union(rebuilding) }

    subscript(member: MemberIndex) -> DirtyMap? { maps[member.number] }

    /// A member failed: what it misses is collected from now on.
    mutating func leave(_ member: MemberIndex) {
        rebuilding.remove(member)
        whole.remove(member)
        let known = maps[member.number]?.extents.copy()
        begin(member, known ?? empty(false))
        away.insert(member)
    }

    /// A member is to be rebuilt: all of it, unless what it misses is known.
    mutating func join(_ member: MemberIndex, keepsData: Bool) {
        let known = keepsData && away.contains(member) ? maps[member.number]?.extents.copy() : nil
        away.remove(member)
        whole.remove(member)
        begin(member, known ?? empty(true))
        rebuilding.insert(member)
        noteWhole(member)
    }

    /// Nothing needs to be known of a member any more: it is active, or will never come back.
    mutating func forget(_ member: MemberIndex) {
        away.remove(member)
        rebuilding.remove(member)
        whole.remove(member)
        maps[member.number] = nil
    }

    private mutating func begin(_ member: MemberIndex, _ extents: consuming ExtentMap) {
        lives &+= 1
        maps[member.number] = DirtyMap(life: lives, extents)
    }

    /// The device has grown: what is new is missing on nobody, for it reads as zeroes in every region.
    ///
    /// Copies under way are of extents as they were: the maps begin new lives, and take no notice of those.
    mutating func grow(to size: ByteCount, extentSize: ByteCount) {
        deviceSize = size
        self.extentSize = extentSize
        for member in members {
            guard let map = maps[member.number] else { continue }
            begin(member, map.extents.grown(to: size, extentSize: extentSize))
        }
    }

    private func empty(_ allSet: Bool) -> ExtentMap {
        ExtentMap(deviceSize: deviceSize, extentSize: extentSize, allSet: allSet)
    }

    private mutating func noteWhole(_ member: MemberIndex) {
        guard let map = maps[member.number] else { return }
        if rebuilding.contains(member), map.extents.setCount == 0 {
            whole.insert(member)
        } else {
            whole.remove(member)
        }
    }

    // MARK: Marks

    /// Marks the extents of a write as missing on all members that are away; returns those for which
    /// that is news.
    @inline(__always)
    mutating func markAway(_ range: ByteRange) -> MemberSet { markAway(range, among: away) }

    /// The same for those of `members` alone: the write has nothing for others.
    @discardableResult
    mutating func markAway(_ range: ByteRange, among members: MemberSet) -> MemberSet {
        var news = MemberSet()
        for member in away.intersection(members) where mark(range, of: member) {
            news.insert(member)
        }
        return news
    }

    /// Marks the extents of `range` as missing on `member`; false when they were already.
    @discardableResult
    mutating func mark(_ range: ByteRange, of member: MemberIndex) -> Bool {
        guard let map = maps[member.number], !map.extents.containsAll(of: range) else {
            return false
        }
        map.extents.insertAll(of: range)
        noteWhole(member)
        return true
    }

    /// Adds what a region says that `member` misses.
    mutating func merge(_ content: DirtyMapContent, into member: MemberIndex) {
        if maps[member.number] == nil {
            begin(member, empty(false))
            away.insert(member)
        }
        maps[member.number]?.extents.merge(content)
        noteWhole(member)
    }

    /// An extent was copied whole.
    mutating func copied(_ extent: Int, to member: MemberIndex) {
        guard let map = maps[member.number] else { return }
        map.extents.remove(extent)
        noteWhole(member)
    }

    /// Tells the maps that there are from those to come.
    var latestLife: UInt32 { lives }

    /// The rebuilding members that miss the extent at the start of `range`, of lives up to `life`.
    func missing(_ range: ByteRange, before life: UInt32) -> MemberSet {
        let extent = Int(range.start.bytes / extentSize.bytes)
        var missing = MemberSet()
        for member in rebuilding {
            guard let map = maps[member.number], map.life <= life, map.extents.contains(extent)
            else { continue }
            missing.insert(member)
        }
        return missing
    }

    /// The rebuilding members that hold an extent which `range` touches.
    func holders(of range: ByteRange) -> MemberSet {
        var holders = MemberSet()
        for member in rebuilding {
            guard let map = maps[member.number], !map.extents.containsAll(of: range) else {
                continue
            }
            holders.insert(member)
        }
        return holders
    }
}
