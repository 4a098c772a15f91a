// Which old bytes a part of a stripe needs for its new parity: those that are fewest.
//
//     4+2, 4 KiB in one chunk     modify        1 data + 2 parity          ×4 KiB
//                                 reconstruct   3 data                     ×4 KiB
//     4+2, three chunks           modify        3 data + 2 parity          ×1 chunk
//                                 reconstruct   1 data                     ×1 chunk      ◀
//     a member is missing         whichever does without it; else any K    ×the window

import RemoteMemory

/// A path, and whom it fetches from.
struct StripeChoice {
    var path: StripePath
    var sources: MemberSet

    /// The cheapest way to the parity that `parity` members are to hold after `part` was written.
    ///
    /// `usable` has K members at least; only they are read.
    init(
        _ part: ByteRange, parity: MemberSet, usable: MemberSet, _ stripes: StripeGeometry
    ) {
        path = .whole
        sources = MemberSet()
        guard !parity.isEmpty else { return }
        let stripe = part.start.bytes / stripes.stripeSize.bytes
        let window = stripes.window(of: part).count.bytes
        var written = MemberSet()
        var beside = MemberSet()
        var modified = window * UInt64(parity.count)
        for shard in 0..<stripes.dataShards {
            let count = stripes.written(shard, by: part).count.bytes
            let member = stripes.member(of: shard, in: stripe)
            if count > 0 { written.insert(member) }
            if count < window { beside.insert(member) }
            modified += count
        }
        let olds = written.union(parity)
        var cost = UInt64.max
        if usable.isSuperset(of: olds) {
            (path, sources, cost) = (.modify, olds, modified)
        }
        if usable.isSuperset(of: beside), window * UInt64(beside.count) < cost {
            (path, sources, cost) = (.reconstruct, beside, 0)
        }
        if cost == .max {
            path = .degraded
            sources = stripes.enough(of: usable, first: beside.union(written))
        }
    }
}

extension StripeGeometry {
    /// K of `usable`, with those of `first` before others: what they hold need not be worked out.
    func enough(of usable: MemberSet, first: MemberSet) -> MemberSet {
        var chosen = MemberSet()
        for member in usable.intersection(first) where chosen.count < dataShards {
            chosen.insert(member)
        }
        for member in usable.subtracting(first) where chosen.count < dataShards {
            chosen.insert(member)
        }
        precondition(chosen.count == dataShards, "K members are there, or nothing is started")
        return chosen
    }
}
