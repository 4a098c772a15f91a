// What must hold of the members of an erasure set: whichever K of them are left, the volume can be read.

import Registry
import RemoteMemory
import ResiliencySet

extension World {
    /// The rows that `members` would hold after a takeover by somebody who reaches them alone.
    private func settledRows(
        _ members: [MemberRecord], of stripe: UInt64, _ coder: StripeCoder,
        by device: SimulatedDevice
    ) -> [Int: [UInt64]] {
        let stripes = coder.stripes
        var found: [FoundIntent] = []
        var regions: [MemberIndex: SimulatedRegion] = [:]
        for member in members {
            guard let region = region(member) else { continue }
            regions[member.index] = region
            for (slot, content) in device.records(in: region, of: member.index) {
                found.append(FoundIntent(member: member.index, slot: slot, content: content))
            }
        }
        let steps = RedoPlan.steps(for: found, active: MemberSet(regions.keys))
        let row = stripes.row(stripe)
        var rows: [Int: [UInt64]] = [:]
        for (member, region) in regions {
            var part = StripedPart(span: row, tags: Array(region.read(row)))
            for step in steps where step.member == member && step.isForward {
                let range = step.intent.range
                guard stripes.stripes(of: range).contains(stripe) else { continue }
                let span = stripes.span(of: range, on: member)
                let payload =
                    step.intent.kind == .zero
                    ? device.zeroPayload(
                        member, range,
                        zeroes[ZeroKey(epoch: step.intent.epoch, sequence: step.intent.sequence)]
                            ?? 0)
                    : Array(region.read(stripes.redoPlace(step.slot, count: span.count)))
                let piece = span.intersection(row)
                part.put(StripedPart(span: span, tags: payload).tags(of: piece), at: piece)
            }
            rows[stripes.shard(of: member, in: stripe)] = part.tags
        }
        return rows
    }

    /// The bytes of `range` of the volume that `members` have, as a takeover would leave them.
    func contents(
        of range: ByteRange, from members: [MemberRecord], _ coder: StripeCoder,
        by device: SimulatedDevice
    ) -> [UInt64] {
        let stripes = coder.stripes
        return stripes.stripes(of: range).flatMap { stripe in
            let rows = settledRows(members, of: stripe, coder, by: device)
            return (0..<stripes.dataShards).flatMap { shard -> [UInt64] in
                let place = stripe * stripes.stripeSize.bytes + UInt64(shard) * stripes.chunk.bytes
                let volume = ByteRange(start: ByteOffset(place), count: stripes.chunk)
                let piece = range.intersection(volume)
                guard !piece.isEmpty else { return [] }
                return StripedPart(span: volume, tags: coder.shard(shard, from: rows))
                    .tags(of: piece)
            }
        }
    }

    /// A change is acknowledged: any K of the members that the registry calls active tell of it (G1, G5).
    func checkStripedAcknowledged(
        _ request: SimulatedDevice.Request, _ coder: StripeCoder, _ device: SimulatedDevice
    ) {
        guard let record = registry.record, record.owner == device.owner else { return }
        let active = record.members.filter { member in
            member.state == .active && region(member)?.channel != nil
                && region(member)?.channel == device.channels[member.index.number]?.id
        }
        guard active.count >= coder.stripes.dataShards else { return }
        // (One choice of K each time: all of them come up in a run.)
        let kept = active.shuffled(using: &checks).prefix(coder.stripes.dataShards)
        let found = contents(of: request.range, from: Array(kept), coder, by: device)
        guard found != StripedTag.pattern(UInt64(request.write), request.range) else { return }
        violated(
            "write \(request.write) was acknowledged, and members \(kept.map(\.index)) do not tell of it"
        )
    }

    /// A member was promoted: it holds what follows from the others, but for what is being written.
    func checkStripedPromoted(
        _ member: MemberRecord, in record: VolumeRecord, _ coder: StripeCoder
    ) {
        guard let device = devices.last(where: { $0.owner == record.owner }),
            device.engine.phase == .serving, device.engine.absent.isEmpty
        else { return }
        let others = record.members.filter { $0.state == .active && $0.index != member.index }
        guard others.count >= coder.stripes.dataShards, region(member) != nil,
            others.allSatisfy({ region($0) != nil })
        else { return }
        let open = device.requests.filter { $0.client != nil && $0.kind != .read }.map(\.range)
        for stripe in 0..<(scenario.stripes(of: record.size)?.stripeCount ?? 0) {
            let whole = coder.stripes.stripeSize.bytes
            let range = ByteRange(
                start: ByteOffset(stripe * whole), count: coder.stripes.stripeSize)
            if open.contains(where: { $0.overlaps(range) }) { continue }
            let rows = settledRows(others + [member], of: stripe, coder, by: device)
            let shard = coder.stripes.shard(of: member.index, in: stripe)
            var known = rows
            known[shard] = nil
            if coder.shard(shard, from: known) != rows[shard] {
                violated("member \(member.index) was promoted with a different row \(stripe)")
                return
            }
        }
    }

    /// At rest all parity belongs to its data, and no record is open.
    func judgeStripes(
        _ members: [MemberRecord], of record: VolumeRecord, _ coder: StripeCoder
    ) {
        for stripe in 0..<(scenario.stripes(of: record.size)?.stripeCount ?? 0) {
            var known: [Int: [UInt64]] = [:]
            for member in members {
                guard let region = region(member) else { continue }
                known[coder.stripes.shard(of: member.index, in: stripe)] = Array(
                    region.read(coder.stripes.row(stripe)))
            }
            // (Whoever was lost in the last moment is not missed yet.)
            guard known.count >= coder.stripes.dataShards else { return }
            let base = known.sorted { $0.key < $1.key }.prefix(coder.stripes.dataShards)
                .reduce(into: [:]) { $0[$1.key] = $1.value }
            for (shard, tags) in known where coder.shard(shard, from: base) != tags {
                return violated("shard \(shard) of stripe \(stripe) differs at rest")
            }
        }
    }
}
