// What the driver of the model works out: parity and lost bytes, row by row, with the reference codec.

import ErasureCoding
import RemoteMemory
import ResiliencySet

extension StripedModel {
    /// Shard `wanted` from K that are known.
    func shard(_ wanted: Int, from known: [Int: [UInt8]]) -> [UInt8] {
        if let bytes = known[wanted] { return bytes }
        var all = known.sorted { $0.key < $1.key }.prefix(stripes.dataShards).map { $0 }
        let survivors = ShardSet(all.map { ShardIndex($0.key) })
        let count = all.first?.value.count ?? 0
        all.append((key: wanted, value: Array(repeating: 0, count: count)))
        withShards(all.map { ($0.key, $0.value) }) { shards in
            codec.reconstruct(
                ShardSet(ShardIndex(wanted)), from: survivors, in: shards, count: count)
        } then: {
            all[all.count - 1].value = $0
        }
        return all[all.count - 1].value
    }

    /// Calls `body` with the shards somewhere in memory, and hands the last one back.
    private func withShards(
        _ list: [(Int, [UInt8])], _ body: (borrowing Shards) -> Void, then: ([UInt8]) -> Void
    ) {
        let shards = Shards()
        let buffers = list.map { number, bytes in
            let buffer = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: max(1, bytes.count))
            _ = buffer.initialize(from: bytes)
            shards[ShardIndex(number)] = UnsafeMutableRawPointer(buffer.baseAddress)
            return buffer
        }
        body(shards)
        if let last = buffers.last { then(Array(last)) }
        for buffer in buffers { buffer.deallocate() }
    }

    private func rows(_ range: ByteRange) -> [(stripe: UInt64, span: ByteRange)] {
        let window = stripes.readWindow(of: range)
        return stripes.stripes(of: range).map { ($0, window.intersection(stripes.row($0))) }
    }

    private func volumeRange(_ shard: Int, _ stripe: UInt64, _ span: ByteRange) -> ByteRange {
        let chunk = stripe * stripes.stripeSize.bytes + UInt64(shard) * stripes.chunk.bytes
        let column = span.start.bytes - stripes.row(stripe).start.bytes
        return ByteRange(start: ByteOffset(chunk + column), count: span.count)
    }

    /// What a member brought of `span`; nil when it did not bring all of it.
    private func part(_ number: UInt8, _ member: MemberIndex, _ span: ByteRange) -> [UInt8]? {
        guard let part = work[Int(number)][member], part.span.intersection(span) == span else {
            return nil
        }
        let first = Int(span.start.bytes - part.span.start.bytes)
        return Array(part.bytes[first..<first + Int(span.count.bytes)])
    }

    private func known(
        _ number: UInt8, _ members: MemberSet, _ stripe: UInt64, _ span: ByteRange
    ) -> [Int: [UInt8]] {
        var known: [Int: [UInt8]] = [:]
        for member in members {
            known[stripes.shard(of: member, in: stripe)] = part(number, member, span)
        }
        return known
    }

    // MARK: Effects

    func encode(_ step: EncodeStep) {
        var parity: [MemberIndex: [UInt8]] = [:]
        for (stripe, span) in rows(step.range) {
            var data: [Int: [UInt8]] = [:]
            for shard in 0..<stripes.dataShards {
                data[shard] = newData(shard, stripe, span, step)
            }
            for member in step.parity {
                let number = stripes.shard(of: member, in: stripe)
                var bytes = [UInt8](repeating: 0, count: Int(span.count.bytes))
                if number >= stripes.dataShards {
                    bytes = shard(number, from: data)
                    if step.path == .modify, let old = part(step.work, member, span) {
                        bytes = zip(bytes, old).map { $0 ^ $1 }
                    }
                }
                parity[member, default: []] += bytes
            }
        }
        for (member, bytes) in parity {
            work[Int(step.work)][member] = (stripes.window(of: step.range), bytes)
        }
    }

    /// New bytes of a data shard; for `modify`, what they differ by from the old ones.
    private func newData(
        _ number: Int, _ stripe: UInt64, _ span: ByteRange, _ step: EncodeStep
    ) -> [UInt8] {
        let volume = volumeRange(number, stripe, span)
        let piece = step.range.intersection(volume)
        var bytes = [UInt8](repeating: 0, count: Int(volume.count.bytes))
        if step.path == .degraded || (step.path == .reconstruct && piece.count < volume.count) {
            bytes = shard(number, from: known(step.work, step.sources, stripe, span))
        }
        guard !piece.isEmpty, let request = payloads[step.request] else { return bytes }
        let first = Int(piece.start.bytes - volume.start.bytes)
        let source = Int(piece.start.bytes - request.range.start.bytes)
        var new = Array(request.bytes[source..<source + Int(piece.count.bytes)])
        if step.path == .modify {
            let place = ByteRange(
                start: ByteOffset(span.start.bytes + UInt64(first)), count: piece.count)
            let member = stripes.member(of: number, in: stripe)
            new = zip(new, part(step.work, member, place) ?? []).map { $0 ^ $1 }
        }
        bytes.replaceSubrange(first..<first + new.count, with: new)
        return bytes
    }

    func decode(_ step: DecodeStep) {
        for (stripe, span) in rows(step.range) {
            let known = known(step.work, step.sources, stripe, span)
            for number in 0..<stripes.dataShards {
                let volume = volumeRange(number, stripe, span)
                let piece = step.range.intersection(volume)
                guard !piece.isEmpty else { continue }
                let first = Int(piece.start.bytes - volume.start.bytes)
                let bytes = shard(number, from: known)
                hand(bytes[first..<first + Int(piece.count.bytes)], of: piece, to: step.request)
            }
        }
    }

    // MARK: What members store

    func newBytes(_ member: MemberIndex, _ slot: UInt8, _ range: ByteRange, _ token: UInt32)
        -> [UInt8]
    {
        let span = stripes.span(of: range, on: member)
        return stripes.stripes(of: range).flatMap { stripe -> [UInt8] in
            let piece = span.intersection(stripes.row(stripe))
            let number = stripes.shard(of: member, in: stripe)
            guard number < stripes.dataShards else { return part(slot, member.place, piece) ?? [] }
            guard let request = payloads[token] else { return [] }
            let volume = volumeRange(number, stripe, piece)
            let first = Int(volume.start.bytes - request.range.start.bytes)
            return Array(request.bytes[first..<first + Int(volume.count.bytes)])
        }
    }

    func rebuilt(
        _ member: MemberIndex, _ window: ByteRange, _ number: UInt8, _ sources: MemberSet
    ) -> [UInt8] {
        rowStripes(window).flatMap { stripe in
            shard(
                stripes.shard(of: member, in: stripe),
                from: known(number, sources, stripe, stripes.row(stripe)))
        }
    }

    private func rowStripes(_ window: ByteRange) -> Range<UInt64> {
        let first = (window.start.bytes - stripes.redoArea.bytes) / stripes.chunk.bytes
        return first..<first + window.count.bytes / stripes.chunk.bytes
    }

    func verify(_ window: ByteRange, _ number: UInt8, _ members: MemberSet) -> Bool {
        rowStripes(window).allSatisfy { stripe in
            let all = known(number, members, stripe, stripes.row(stripe))
            let base = all.sorted { $0.key < $1.key }.prefix(stripes.dataShards)
                .reduce(into: [:]) { $0[$1.key] = $1.value }
            return all.allSatisfy { shard($0.key, from: base) == $0.value }
        }
    }

    /// Whether all parity belongs to its data, on the members that are active.
    var isConsistent: Bool {
        (0..<stripes.stripeCount).allSatisfy { stripe in
            var all: [Int: [UInt8]] = [:]
            for member in active {
                guard let region = regions[member] else { continue }
                all[stripes.shard(of: member, in: stripe)] = Array(region[stripes.row(stripe)])
            }
            let base = all.sorted { $0.key < $1.key }.prefix(stripes.dataShards)
                .reduce(into: [:]) { $0[$1.key] = $1.value }
            return all.allSatisfy { shard($0.key, from: base) == $0.value }
        }
    }
}
