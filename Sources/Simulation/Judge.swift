// What must never be, checked where it would first be seen; and at the end, at rest.

import Registry
import RemoteMemory
import ResiliencySet

extension World {
    // MARK: Underway

    /// A read was answered: each block is one write's, whole.
    func took(_ data: [UInt64], of blocks: Range<Int>, since invoked: UInt64) {
        let granules = Int(Scenario.blockSize / SimulatedRegion.granule)
        guard data.count == blocks.count * granules else {
            return violated("a read of \(blocks) returned \(data.count) granules")
        }
        for (index, block) in blocks.enumerated() {
            var tags = data[index * granules..<(index + 1) * granules]
            if coder != nil {
                let writes = tags.map { StripedTag.write($0, block: block) }
                guard writes.allSatisfy({ $0 != nil }) else {
                    violated("block \(block) was read as what nobody wrote there")
                    return
                }
                tags = writes.compactMap(\.self)[...]
            }
            let tag = tags[tags.startIndex]
            if let other = tags.first(where: { $0 != tag }) {
                guard !ledger.mayBeTorn(tags) else { continue }
                violated("block \(block) was read as a mixture of writes \(tag) and \(other)")
            }
            ledger.read(block, UInt32(tag), invoked: invoked, ended: now)
        }
    }

    /// A change is acknowledged: every member that the registry calls active holds it (G1, G5).
    func checkAcknowledged(_ request: SimulatedDevice.Request, _ device: SimulatedDevice) {
        if let coder { return checkStripedAcknowledged(request, coder, device) }
        guard let record = registry.record, record.owner == device.owner else { return }
        let tag = UInt64(request.write)
        for member in record.members where member.state == .active {
            guard let region = region(member),
                region.channel == device.channels[member.index.number]?.id
            else { continue }
            guard region.read(request.range).allSatisfy({ $0 == tag }) else {
                violated("write \(tag) was acknowledged without member \(member.index)")
                continue
            }
        }
    }

    /// A member was promoted: it holds what the others hold, but for what is being written (G5).
    func checkPromoted(_ member: MemberRecord, in record: VolumeRecord) {
        if let coder { return checkStripedPromoted(member, in: record, coder) }
        // (While the last member is away or being repaired, its successor may be more whole than it.)
        guard let device = devices.last(where: { $0.owner == record.owner }),
            device.engine.phase == .serving, device.engine.absent.isEmpty,
            let region = region(member),
            let other = record.members.first(where: {
                $0.state == .active && $0.index != member.index
            }),
            let reference = self.region(other)
        else { return }
        let open = device.requests.filter { $0.client != nil && $0.kind != .read }.map(\.range)
        let block = ByteCount(Scenario.blockSize)
        for index in 0..<Int(record.size.bytes / Scenario.blockSize) {
            let range = ByteRange(
                start: ByteOffset(UInt64(index) * Scenario.blockSize), count: block)
            if open.contains(where: { $0.overlaps(range) }) { continue }
            if region.read(range) != reference.read(range) {
                violated("member \(member.index) was promoted with a different block \(index)")
                return
            }
        }
    }

    /// A takeover repairs what was in flight, whatever the size of the volume (G3).
    func checkRepair(_ settled: ByteCount, by device: SimulatedDevice) {
        let most =
            UInt64(RegionLayout.intentSlotCount) * UInt64(scenario.blocks)
            * Scenario.blockSize * UInt64(coder == nil ? 1 : scenario.memberCount)
        if settled.bytes > most { violated("a takeover repairs \(settled)") }
        if settled != .zero { note("device \(device.number) repairs \(settled)") }
    }

    /// A device serves: what its predecessors left unanswered has happened, or never will (G3, G4).
    func tookOver(_ device: SimulatedDevice) {
        note("device \(device.number) serves at epoch \(device.record.epoch)")
        if device.number == 0 { scriptedStart(device) }
        ledger.settle(before: device.number, at: now)
        for client in clients {
            after(UInt64(clientChance.within(10...2000)) * 1000) {
                client.leaveOutdated()
                client.connect()
            }
        }
    }

    /// A snapshot was cut: its region is to stay as it is (G6).
    func snapshotTaken(_ cut: SimulatedDevice.PendingCut, by device: SimulatedDevice) {
        guard let region = device.channels[cut.member.number]?.mapping else { return }
        snapshots.append(KeptSnapshot(region: region, tags: region.tags))
        note("snapshot \(cut.name) is made")
        let granules = Int(Scenario.blockSize / SimulatedRegion.granule)
        var contents: [UInt32] = []
        var isJudged = true
        for block in 0..<scenario.blocks {
            // (Behind its end then: nobody has written there yet.)
            guard block < Int(device.record.size.bytes / Scenario.blockSize) else {
                contents.append(History.initial)
                continue
            }
            let tags = region.tags[block * granules..<(block + 1) * granules]
            let tag = tags[tags.startIndex]
            if !tags.allSatisfy({ $0 == tag }) {
                guard !ledger.mayBeTorn(tags) else {
                    isJudged = false
                    continue
                }
                violated("snapshot \(cut.name) holds a torn block \(block)")
            }
            contents.append(UInt32(tag))
        }
        guard isJudged else { return }
        cutContents[device.record.epoch] = contents
        ledger.snapshot(contents, invoked: cut.invoked, ended: now)
    }

    // MARK: At rest

    /// Whether nothing is left to happen but time.
    var isAtRest: Bool {
        guard clients.allSatisfy(\.isIdle) else { return false }
        guard !isVolumeLost else { return true }
        guard let device = devices.last, device.life == .running, device.isServing,
            device.engine.phase == .serving, let record = registry.record
        else { return false }
        let active = record.members.filter { $0.state == .active }
        guard clients.contains(where: { $0.device === device }) else { return false }
        return active.count >= scenario.memberCount && device.engine.isSettled
            && hasGrown(record) && device.engine.size == record.size
            && !device.isChanging && !device.isReplacing && device.twinning == nil
            && device.engine.active.count == active.count
    }

    /// Whether the volume has all of its blocks, or cannot: what cannot be reached by its appliance cannot grow.
    private func hasGrown(_ record: VolumeRecord) -> Bool {
        record.size == scenario.size || record.liveMembers.contains { region($0) == nil }
    }

    /// Everything was mended and came to rest, or did not.
    func judge(atRest: Bool) {
        guard atRest else {
            return violated("nothing comes to rest: \(standing)")
        }
        violations += ledger.violations()
        // (What was asked of its appliance before may make it longer still, which changes nothing that is read.)
        for snapshot in snapshots
        where snapshot.region.tags.prefix(snapshot.tags.count) != snapshot.tags[...] {
            violated("a snapshot changed after it was made")
        }
        guard !isVolumeLost, let device = devices.last, let record = registry.record else { return }
        let active = record.members.filter { $0.state == .active }
        if let coder { judgeStripes(active, of: record, coder) }
        let regions = coder == nil ? active.compactMap { region($0) } : []
        // (One that was to grow with a member that is gone by now may be longer.)
        let whole = ByteRange(start: ByteOffset(0), count: record.size)
        for region in regions.dropFirst() where region.read(whole) != regions[0].read(whole) {
            violated("members differ at rest")
        }
        judgeChanges(active, device)
        if device.freeTokens.count != device.requests.count { violated("request tokens leaked") }
        if !device.engine.isSettled { violated("the engine is not quiet at rest") }
        if let leak = device.engine.leak { violated("leaked: \(leak)") }
        if device.engine.scrubStanding.differentExtents != 0 {
            violated("a scrub found a difference")
        }
    }

    private var standing: String {
        let members =
            registry.record?.members.map { "\($0.index)=\($0.state.rawValue)" } ?? ["no members"]
        var text = "\(clients.count { !$0.isIdle }) clients wait; " + members.joined(separator: " ")
        guard let device = devices.last else { return text }
        text += "; device \(device.number) \(device.life), serving \(device.isServing)"
        text += ", \(device.engine.phase), active \(Array(device.engine.active))"
        text += ", absent \(Array(device.engine.absent))"
        text += ", unrecorded \(Array(device.engine.unrecorded))"
        text += ", rebuilding \(Array(device.engine.rebuilding))"
        text += ", changing \(device.isChanging), replacing \(device.isReplacing)"
        text += ", growing \(device.isGrowing), of \(device.engine.size)"
        return text + ", settled \(device.engine.isSettled)"
    }
}

/// A snapshot and what it held when it was made.
struct KeptSnapshot {
    var region: SimulatedRegion
    var tags: [UInt64]
}
