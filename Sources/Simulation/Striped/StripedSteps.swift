// What a client device works out for an erasure set: parity, lost bytes, and what each member is to store.

import RemoteMemory
import ResiliencySet

extension SimulatedDevice {
    var stripes: StripeGeometry {
        guard let stripes = world.coder?.stripes else {
            preconditionFailure("an erasure set has stripes")
        }
        return stripes
    }

    private var coder: StripeCoder {
        guard let coder = world.coder else { preconditionFailure("an erasure set has a code") }
        return coder
    }

    /// The stripes of a step, each with the span of its row that the step works on.
    private func rows(_ range: ByteRange) -> [(stripe: UInt64, span: ByteRange)] {
        let window = stripes.readWindow(of: range)
        return stripes.stripes(of: range).map { stripe in
            (stripe, window.intersection(stripes.row(stripe)))
        }
    }

    /// Where the data of shard `shard` at `span` of a row stands in the volume.
    private func volumeRange(_ shard: Int, _ stripe: UInt64, _ span: ByteRange) -> ByteRange {
        let place =
            stripe * stripes.stripeSize.bytes + UInt64(shard) * stripes.chunk.bytes
            + (span.start.bytes - stripes.row(stripe).start.bytes)
        return ByteRange(start: ByteOffset(place), count: span.count)
    }

    // MARK: Effects

    /// Works out the parity of a step.
    func encode(_ step: EncodeStep) {
        if mutation(.forgetsParity), step.path == .modify {
            // (What was fetched stays what it was.)
            return
        }
        let id = UInt64(requests[Int(step.request)].write)
        var parity: [MemberIndex: StripedPart] = [:]
        for member in step.parity {
            parity[member] = StripedPart(span: stripes.window(of: step.range))
        }
        if step.path == .degraded { world.probes.hit(.degradedWrite) }
        for (stripe, span) in rows(step.range) {
            let fetched = known(step.work, step.sources, stripe, span)
            let difference = step.path == .modify
            let data = (0..<stripes.dataShards).map { shard in
                newData(shard, stripe, span, step, id, fetched, asDifference: difference)
            }
            let encoded = coder.parity(of: data)
            for member in step.parity {
                let shard = stripes.shard(of: member, in: stripe)
                guard shard >= stripes.dataShards else { continue }
                var tags = encoded[shard - stripes.dataShards]
                if difference, let old = work[Int(step.work)][member]?.tags(of: span) {
                    tags = zip(tags, old).map { $0 ^ $1 }
                }
                parity[member]?.put(tags, at: span)
            }
        }
        for (member, part) in parity { work[Int(step.work)][member] = part }
    }

    /// What a data shard is to hold at `span`, or by how much that differs from what it holds.
    private func newData(
        _ shard: Int, _ stripe: UInt64, _ span: ByteRange, _ step: EncodeStep, _ id: UInt64,
        _ fetched: [Int: [UInt64]], asDifference: Bool
    ) -> [UInt64] {
        let volume = volumeRange(shard, stripe, span)
        let piece = step.range.intersection(volume)
        var part = StripedPart(span: volume)
        if !asDifference, step.path != .whole, piece.count < volume.count || step.path == .degraded
        {
            part.tags = coder.shard(shard, from: fetched)
        }
        guard !piece.isEmpty else { return part.tags }
        var new = StripedTag.pattern(id, piece)
        if asDifference {
            let member = stripes.member(of: shard, in: stripe)
            let start = span.start.bytes + (piece.start.bytes - volume.start.bytes)
            let old = work[Int(step.work)][member]?.tags(
                of: ByteRange(start: ByteOffset(start), count: piece.count))
            new = zip(new, old ?? []).map { $0 ^ $1 }
        }
        part.put(new, at: piece)
        return part.tags
    }

    /// The shards that some members brought of a row.
    private func known(
        _ number: UInt8, _ members: MemberSet, _ stripe: UInt64, _ span: ByteRange
    ) -> [Int: [UInt64]] {
        var known: [Int: [UInt64]] = [:]
        for member in members {
            guard let part = work[Int(number)][member],
                part.span.intersection(span) == span
            else { continue }
            known[stripes.shard(of: member, in: stripe)] = part.tags(of: span)
        }
        return known
    }

    /// Hands bytes to a read, those of lost members worked out.
    func decode(_ step: DecodeStep) {
        world.probes.hit(.degradedRead)
        for (stripe, span) in rows(step.range) {
            let known = known(step.work, step.sources, stripe, span)
            for shard in 0..<stripes.dataShards {
                let volume = volumeRange(shard, stripe, span)
                let piece = step.range.intersection(volume)
                guard !piece.isEmpty else { continue }
                let part = StripedPart(span: volume, tags: coder.shard(shard, from: known))
                hand(part.tags(of: piece), of: piece, to: step.request)
            }
        }
    }

    /// Puts bytes of the volume where a read wants them.
    func hand(_ tags: [UInt64], of range: ByteRange, to token: UInt32) {
        let whole = requests[Int(token)].range
        if requests[Int(token)].data.isEmpty {
            requests[Int(token)].data = StripedPart(span: whole).tags
        }
        var part = StripedPart(span: whole, tags: requests[Int(token)].data)
        part.put(tags, at: range)
        requests[Int(token)].data = part.tags
    }

    // MARK: What a member stores

    /// A member's new bytes of a step.
    func redoPayload(_ member: MemberIndex, _ slot: UInt8, _ intent: Intent, _ token: UInt32)
        -> [UInt64]
    {
        let id = UInt64(requests[Int(token)].write)
        return spanTags(member, of: intent.range) { shard, stripe, span in
            guard shard >= stripes.dataShards else {
                return StripedTag.pattern(id, volumeRange(shard, stripe, span))
            }
            return work[Int(slot)][member.place]?.tags(of: span) ?? []
        }
    }

    /// What a step of zeroes leaves on a member: they are told by the id of their request.
    func zeroPayload(_ member: MemberIndex, _ range: ByteRange, _ id: UInt64) -> [UInt64] {
        spanTags(member, of: range) { shard, stripe, span in
            guard shard >= stripes.dataShards else {
                return StripedTag.pattern(id, volumeRange(shard, stripe, span))
            }
            let data = (0..<stripes.dataShards).map {
                StripedTag.pattern(id, volumeRange($0, stripe, span))
            }
            return coder.parity(of: data)[shard - stripes.dataShards]
        }
    }

    private func spanTags(
        _ member: MemberIndex, of range: ByteRange,
        _ tags: (_ shard: Int, _ stripe: UInt64, _ span: ByteRange) -> [UInt64]
    ) -> [UInt64] {
        let span = stripes.span(of: range, on: member)
        return stripes.stripes(of: range).flatMap { stripe in
            tags(
                stripes.shard(of: member, in: stripe), stripe,
                span.intersection(stripes.row(stripe)))
        }
    }

    /// A rebuilding member's rows, from those of K others.
    func rebuiltPayload(
        _ member: MemberIndex, _ window: ByteRange, _ number: UInt8, _ sources: MemberSet
    ) -> [UInt64] {
        let first = (window.start.bytes - stripes.redoArea.bytes) / stripes.chunk.bytes
        return (first..<first + window.count.bytes / stripes.chunk.bytes).flatMap { stripe in
            let row = stripes.row(stripe)
            return coder.shard(
                stripes.shard(of: member, in: stripe),
                from: known(number, sources, stripe, row))
        }
    }

    // MARK: Folds

    /// What a member's rows fold to, as its appliance works it out.
    func folds(_ tags: ArraySlice<UInt64>, _ window: ByteRange) -> [UInt64] {
        let size = Int(StripeGeometry.foldSize.bytes / SimulatedRegion.granule)
        let rowSize = Int(stripes.chunk.bytes / SimulatedRegion.granule)
        let first = Int((window.start.bytes - stripes.redoArea.bytes) / stripes.chunk.bytes)
        var folds = [UInt64](repeating: 0, count: stripes.memberCount * size)
        for (index, tag) in tags.enumerated() {
            let role = (first + index / rowSize) % stripes.memberCount
            folds[role * size + index % rowSize % size] ^= tag
        }
        return folds
    }

    /// Whether the folds of `members` belong together.
    func verify(_ number: UInt8, _ members: MemberSet) -> Bool {
        let size = Int(StripeGeometry.foldSize.bytes / SimulatedRegion.granule)
        return (0..<stripes.memberCount).allSatisfy { role in
            var folds: [Int: [UInt64]] = [:]
            for member in members {
                guard let part = work[Int(number)][member] else { continue }
                folds[stripes.shard(of: member, in: UInt64(role))] = Array(
                    part.tags[role * size..<(role + 1) * size])
            }
            let base = folds.sorted { $0.key < $1.key }.prefix(stripes.dataShards)
            let known = Dictionary(uniqueKeysWithValues: base.map { ($0.key, $0.value) })
            return folds.allSatisfy { coder.shard($0.key, from: known) == $0.value }
        }
    }
}
