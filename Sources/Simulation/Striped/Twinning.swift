// Moves and snapshots of an erasure set: twins are made, filled by the engine, and put in place or cut off.
//
//     wanted ──▶ regions opened ──▶ filled ──▶ writes held ──▶ the registry holds it ──▶ done
//                       └──────────────┴────────── a twin is lost ──▶ all are dropped

import Registry
import RemoteMemory
import ResiliencySet

extension SimulatedDevice {
    /// What twins are made for.
    struct Twinning {
        enum Purpose {
            case move(MemberIndex)
            case snapshot(name: String)
        }

        var purpose: Purpose
        /// In order of place.
        var regions: [SnapshotMember]
        var isOpen = false
        /// Members failed meanwhile.
        var isDegraded = false

        func record(of place: MemberIndex) -> MemberRecord? {
            regions.first { $0.index == place }.map {
                MemberRecord(
                    index: place, state: .active, region: $0.region, appliance: $0.appliance,
                    incarnation: $0.incarnation)
            }
        }
    }

    /// Begins what is wanted, and carries it on when its twins are whole.
    func carryTwinsOn() {
        guard let twinning else { return beginTwins() }
        guard twinning.isOpen else { return }
        if engine.active.count < world.scenario.memberCount { self.twinning?.isDegraded = true }
        let twins = MemberSet(twinning.regions.map(\.index.twin))
        guard engine.wholeTwins == twins else { return }
        let name: String
        switch twinning.purpose {
        case .move(let place):
            if engine.beginReplacement(of: place) { drain() }
            return
        case .snapshot(let wanted): name = wanted
        }
        if mutation(.cutsWithoutDraining) {
            world.note("device \(number) cuts \(name) off at once")
            return cutGeneration()
        }
        if engine.beginCutOfGeneration() { drain() }
    }

    private func beginTwins() {
        guard wantsMove || wantsSnapshot, engine.unrecorded.isEmpty, engine.absent.isEmpty,
            engine.active == stripes.members
        else { return }
        let isMove = wantsMove
        wantsMove = false
        if !isMove { wantsSnapshot = false }
        let places =
            isMove
            ? [MemberIndex(world.network.below(stripes.memberCount))] : Array(stripes.members)
        let members = Set(record.members.map(\.appliance))
        var free = world.appliances.filter { appliance in
            appliance.life == .running && !appliance.isFull
                && (!isMove || !members.contains(appliance.name))
        }
        guard free.count >= places.count else { return world.probes.hit(.cutRefused) }
        var regions: [SnapshotMember] = []
        for place in places {
            // (Not beside its member, if that can be.)
            let home = record.member(place)?.appliance
            let index = free.firstIndex { $0.name != home } ?? 0
            let appliance = free.remove(at: index)
            let region = RegionID(.random(using: &world.names))
            appliance.regions[region] = SimulatedRegion(
                id: region, dataSize: world.scenario.regionSize(of: record.size))
            regions.append(
                SnapshotMember(
                    index: place, region: region, appliance: appliance.name,
                    incarnation: appliance.incarnation))
        }
        var purpose = Twinning.Purpose.move(places[0])
        if !isMove {
            world.snapshotCount += 1
            let name = "s\(world.snapshotCount)"
            purpose = .snapshot(name: name)
            world.cutsAskedFor[name] = world.now
        }
        world.note("device \(number) makes twins of \(places): \(purpose)")
        twinning = Twinning(purpose: purpose, regions: regions)
        open(regions)
    }

    private func open(_ regions: [SnapshotMember]) {
        var outcomes: [MemberIndex: OpeningOutcome] = [:]
        for region in regions {
            let twin = MemberRecord(
                index: region.index.twin, state: .rebuilding, region: region.region,
                appliance: region.appliance, incarnation: region.incarnation)
            open(twin) { [self] outcome in
                guard outcomes[region.index] == nil else { return }
                outcomes[region.index] = outcome
                guard outcomes.count == regions.count else { return }
                fill(regions, outcomes.values.allSatisfy { $0 == .opened })
            }
        }
    }

    private func fill(_ regions: [SnapshotMember], _ areOpen: Bool) {
        guard areOpen, regions.allSatisfy({ engine.addTwin(of: $0.index) }) else {
            return endTwins()
        }
        twinning?.isOpen = true
        drain()
    }

    /// The engine has no use for a twin any more: what it was made for comes to nothing.
    func twinDropped(_ twin: MemberIndex) {
        world.note("device \(number) has lost twin \(twin)")
        guard twinning != nil else { return }
        world.probes.hit(.twinLost)
        endTwins()
    }

    /// Frees all twins.
    private func endTwins() {
        guard let ended = twinning else { return }
        twinning = nil
        engine.dropTwins(engine.twins)
        for region in ended.regions {
            let channel = channels[region.index.twin.number]
            channels[region.index.twin.number] = nil
            channel?.isOpen = false
            if let channel { failOutstanding(channel) }
            for appliance in world.appliances where appliance.name == region.appliance {
                appliance.regions[region.region] = nil
            }
        }
        drain()
    }

    // MARK: The registry

    /// A twin takes its member's place.
    func replace(_ place: MemberIndex) {
        guard let successor = twinning?.record(of: place) else { return refuseTwins() }
        let former = record.member(place)
        commit([.replace(successor)]) { [self] isMade in
            guard isMade else { return refuseTwins() }
            world.probes.hit(.memberMoved)
            let old = channels[place.number]
            old?.isOpen = false
            _ = old?.takeOutstanding()
            channels[place.number] = channels[place.twin.number]
            channels[place.number]?.member = place
            channels[place.twin.number] = nil
            identities[place.number] = successor.region
            twinning = nil
            engine.recorded(.replace(place), epoch: record.epoch)
            for appliance in world.appliances where appliance.name == former?.appliance {
                if let former { appliance.regions[former.region] = nil }
            }
            drain()
        }
    }

    /// All twins become a snapshot.
    func cutGeneration() {
        guard let twinning, case .snapshot(let name) = twinning.purpose else {
            return refuseTwins()
        }
        let regions = twinning.regions
        let isHasty = mutation(.cutsWithoutDraining)
        commit([.cutGeneration(regions, snapshot: name, at: Int64(world.now))]) { [self] isMade in
            guard isMade else { return refuseTwins() }
            world.probes.hit(.generationCut)
            if twinning.isDegraded { world.probes.hit(.generationCutDegraded) }
            for twin in regions.map(\.index.twin) {
                let channel = channels[twin.number]
                channels[twin.number] = nil
                channel?.isOpen = false
                if isHasty, let channel { failOutstanding(channel) }
                _ = channel?.takeOutstanding()
            }
            self.twinning = nil
            if isHasty {
                engine.dropTwins(engine.twins)
            } else {
                noteHeld()
                engine.recorded(.cutGeneration, epoch: record.epoch)
                world.checkChanges(until: record.epoch, by: self)
            }
            drain()
        }
    }

    private func refuseTwins() {
        world.probes.hit(.cutRefused)
        engine.cutRefused()
        endTwins()
        drain()
    }
}

extension World {
    /// The registry holds a snapshot of an erasure set: it is to stay as it is, and to show one moment (G6).
    func generationTaken(_ snapshot: SnapshotRecord, _ coder: StripeCoder) {
        note("snapshot \(snapshot.name) is made")
        var regions: [(place: MemberIndex, region: SimulatedRegion)] = []
        for member in snapshot.members {
            guard
                let appliance = appliances.first(where: { $0.name == member.appliance }),
                appliance.incarnation == member.incarnation,
                let region = appliance.regions[member.region]
            else { continue }
            regions.append((member.index, region))
            snapshots.append(KeptSnapshot(region: region, tags: region.tags))
        }
        guard regions.count >= coder.stripes.dataShards,
            let invoked = cutsAskedFor[snapshot.name]
        else { return }
        var contents: [UInt64] = []
        for stripe in 0..<(scenario.stripes(of: snapshot.size)?.stripeCount ?? 0) {
            let rows = regions.reduce(into: [Int: [UInt64]]()) { rows, item in
                rows[coder.stripes.shard(of: item.place, in: stripe)] = Array(
                    item.region.read(coder.stripes.row(stripe)))
            }
            let known = rows.sorted { $0.key < $1.key }.prefix(coder.stripes.dataShards)
                .reduce(into: [:]) { $0[$1.key] = $1.value }
            for (shard, tags) in rows where coder.shard(shard, from: known) != tags {
                return violated(
                    "snapshot \(snapshot.name) differs in shard \(shard) of stripe \(stripe)")
            }
            for shard in 0..<coder.stripes.dataShards {
                contents += coder.shard(shard, from: known)
            }
        }
        let granules = Int(Scenario.blockSize / SimulatedRegion.granule)
        var blocks: [UInt32] = []
        for block in 0..<scenario.blocks {
            // (Behind its end then: nobody has written there yet.)
            guard block < Int(snapshot.size.bytes / Scenario.blockSize) else {
                blocks.append(History.initial)
                continue
            }
            let tags = contents[block * granules..<(block + 1) * granules]
            guard let write = StripedTag.write(tags[tags.startIndex], block: block),
                tags.allSatisfy({ $0 == tags[tags.startIndex] })
            else { return violated("snapshot \(snapshot.name) holds a torn block \(block)") }
            blocks.append(UInt32(write))
        }
        cutContents[snapshot.cutAtEpoch] = blocks
        ledger.snapshot(blocks, invoked: invoked, ended: now)
    }
}
