// How members leave, come back and are replaced.

import RemoteMemory
import ResiliencySet

extension ModelSet {
    /// The member's appliance died; `isAccessible` when its memory is mapped here all the same.
    func lose(_ member: MemberIndex, isAccessible: Bool = false) {
        let isLast = engine.active == MemberSet(member)
        if !(isAccessible && isLast) { dead.insert(member) }
        engine.memberLost(member, isAccessible: isAccessible)
        take()
    }

    /// Adds an empty member.
    func add(_ number: Int) {
        let member = MemberIndex(number)
        memories[member] = ModelMemory(size: size)
        lives[member, default: 0] += 1
        join(member)
        engine.add(member, epoch: registry.epoch)
        take()
    }

    /// Adds a member that failed, with the memory it had.
    func comeBack(_ number: Int) {
        let member = MemberIndex(number)
        join(member)
        memories[member]?.grow(to: size)
        engine.add(
            member, epoch: registry.epoch, keepsData: true, intents: intents(of: member))
        take()
    }

    private func join(_ member: MemberIndex) {
        registry.epoch = registry.epoch.next
        registry.rebuilding.insert(member)
        dead.remove(member)
    }

    /// The last member, which was absent, is there again.
    func comeBackAsLast(_ number: Int) {
        let member = MemberIndex(number)
        inFlight.removeAll { $0.member == member }
        dead.remove(member)
        engine.memberReturned(member, intents: intents(of: member))
        take()
    }

    /// Nothing that is on its way to or from `member` arrives any more.
    func disconnect(_ member: MemberIndex) {
        disconnected.insert(member)
        dead.insert(member)
        inFlight.removeAll { $0.member == member }
    }

    /// What stands in the observer area of `member`.
    func intents(of member: MemberIndex) -> [(slot: UInt8, content: IntentSlot)] {
        (0..<UInt8(RegionLayout.intentSlotCount)).compactMap { slot in
            memories[member]?.slot(slot).map { (slot, $0) }
        }
    }

    /// Has the regions of `members`, or all, grow; that does no harm.
    func growRegions(to size: ByteCount, of members: MemberSet? = nil) {
        for member in members ?? registry.active.union(registry.rebuilding) {
            memories[member]?.grow(to: size)
        }
    }

    /// Has all regions grow, and then the set.
    @discardableResult
    func beginGrowth(to size: ByteCount) -> Bool {
        growRegions(to: size)
        let begun = engine.beginGrowth(to: size)
        take()
        return begun
    }

    /// The registry has a new size: what is new holds zeroes.
    func grow(to size: ByteCount) {
        let count = Int(size.bytes / ModelMemory.cellSize) - settled.count
        if count <= 0 { return violations.append("a set grew to what it was") }
        self.size = size
        settled += Array(repeating: 0, count: count)
        expected += Array(repeating: 0, count: count)
    }

    /// Fails whatever comes next on `member`'s channel, after carrying out what is before it elsewhere.
    func failNext(on number: Int, landed: Int = 0) {
        guard let position = inFlight.firstIndex(where: { $0.member.number == number }) else {
            return violations.append("nothing to fail on member \(number)")
        }
        step(position, fails: true, landed: landed)
    }

    /// Lets `member` fail a write of `blocks` and be recorded as failed: it misses that, and may return.
    func failAndRecord(_ number: Int, writing blocks: Range<Int>) {
        submit(.write, blocks)
        failNext(on: number)
        run(recording: true)
    }

    /// Runs background work to its end, and all that it brings about.
    func finishBackground() {
        var turns = 0
        while advance() || !inFlight.isEmpty || !decisions.isEmpty {
            run(recording: true)
            turns += 1
            if turns == 1000 { return violations.append("background work does not end") }
        }
    }
}
