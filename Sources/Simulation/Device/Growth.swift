// The volume grows under its clients: regions first, then the registry, as in the product.

import Registry
import RemoteMemory
import ResiliencySet

extension World {
    /// Spreads growth over the requests of the run; at the end the volume has all of its blocks.
    func planGrowth() {
        guard let first = scenario.firstBlocks else { return }
        var chance = Chance(seed: scenario.seed, stream: "growths")
        var sizes: Set<Int> = [scenario.blocks]
        for _ in 0..<chance.below(3) where first + 1 < scenario.blocks {
            sizes.insert(chance.within(first + 1...scenario.blocks - 1))
        }
        let moments = sizes.map { _ in chance.within(1...max(1, scenario.steps - 1)) }
        plannedGrowth = zip(moments.sorted(), sizes.sorted()).reversed().map {
            (request: $0, blocks: $1)
        }
    }
}

extension SimulatedDevice {
    /// How long after a refusal an operator tries again, in nanoseconds.
    private static let growthPause: UInt64 = 50_000_000

    /// What the volume is to have, and has not.
    private var wantedSize: ByteCount? {
        let size = Scenario.size(world.wantedBlocks)
        return size > record.size ? size : nil
    }

    /// Whether the volume is to grow, and may: nobody is added or moved meanwhile.
    var growsNow: Bool {
        wantedSize != nil && twinning == nil && !isGrowing && world.now >= nextGrowth
    }

    /// Has all regions grow that are not failed, and then the set.
    func grow() {
        guard let size = wantedSize else { return }
        let dataSize = world.scenario.regionSize(of: size)
        isGrowing = true
        isReplacing = true
        world.note("device \(number) is to grow the volume to \(size)")
        var open = Set(record.liveMembers.map(\.index))
        var isRefused = open.isEmpty
        func settle(_ member: MemberIndex, _ hasGrown: Bool) {
            guard open.remove(member) != nil else { return }
            if !hasGrown { isRefused = true }
            guard open.isEmpty else { return }
            isGrowing = false
            isReplacing = false
            if isRefused || !engine.beginGrowth(to: size) {
                world.probes.hit(.growthRefused)
                nextGrowth = world.now + Self.growthPause
            }
            drain()
        }
        for member in record.liveMembers {
            guard let channel = channels[member.index.number], channel.isOpen,
                channel.region == member.region
            else {
                settle(member.index, false)
                continue
            }
            world.after(World.openPatience, at: .device(self)) { settle(member.index, false) }
            world.sendControl(channel, from: self) { [self] in
                let isDone = grow(channel, to: dataSize)
                world.answer(channel, to: self) { settle(member.index, isDone) }
            }
        }
    }

    /// What the appliance does: false when it refuses.
    private func grow(_ channel: Channel, to dataSize: ByteCount) -> Bool {
        guard !mutation(.growsUnprepared) else { return true }
        guard let region = channel.appliance.regions[channel.region],
            region.grants(channel, mutation: world.mutation), !channel.appliance.isFull
        else { return false }
        region.grow(to: dataSize)
        return true
    }

    /// A region that was opened again grows with its volume; false when there is no memory for that.
    func hasRoom(_ region: SimulatedRegion, in appliance: SimulatedAppliance) -> Bool {
        let dataSize = world.scenario.regionSize(of: record.size)
        guard region.dataSize < dataSize else { return true }
        guard !appliance.isFull else { return false }
        if !mutation(.growsUnprepared) { world.probes.hit(.memberGrewWhenBack) }
        region.grow(to: dataSize)
        return true
    }

    /// The registry has the new size.
    func noteGrowth() {
        world.note("the volume has \(record.size)")
        world.probes.hit(.volumeGrown)
        if engine.active.count < world.scenario.memberCount {
            world.probes.hit(.volumeGrownDegraded)
        }
    }
}
