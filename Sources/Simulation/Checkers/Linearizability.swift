// Is there, for every block, an order of its operations that explains all reads, and in which an
// operation that ended before another was invoked comes first?
//
// With a different id for each write this is decided exactly, by zones (Gibbons and Korach, "Testing
// shared memories", SIAM Journal on Computing 26, 1997). A cluster is a write together with the reads
// that found it; in an order they stand together. Cluster A has to come before B when an operation of
// A ended before one of B was invoked, that is, when A's first end < B's last invocation. The span
// between a cluster's own first end and last invocation is its zone:
//
//      forward:   first end ├──── it held the block throughout ────┤ last invocation
//      backward:  last invocation ├──── it was a moment in here ────┤ first end
//
// Two clusters have to come before each other  ⟺  their forward zones overlap, or the backward zone of
// one lies within the forward zone of the other. A longer circle of clusters always holds such a pair:
// of its clusters, the one with the earliest first end also has to come before its predecessor. So no
// pair of that kind  ⟺  there is an order.
//
// Ends and invocations at the same time are concurrent: zones that only touch do not overlap.
//
// A write that was not acknowledged and that no read found is left out: it may never have happened,
// and one more write never explains anything. One that was found did happen.

/// A write on one block, and the reads that found it there.
struct Cluster {
    /// An operation of a cluster: its write, or a read by its index.
    enum Member: Hashable {
        case write
        case read(Int)
    }

    let block: Int32
    let write: UInt32
    /// It certainly took effect.
    var isPresent: Bool
    var firstEnd: Int64
    var lastInvocation: Int64
    var firstToEnd = Member.write
    var lastInvoked = Member.write

    /// It held the block from its first end to its last invocation.
    var isForward: Bool { firstEnd < lastInvocation }

    /// Some operation of this ended before one of `other` was invoked.
    @inline(__always)
    func mustPrecede(_ other: Cluster) -> Bool { firstEnd < other.lastInvocation }
}

/// A history, sorted into clusters.
struct ClusteredHistory {
    let history: History
    /// Those of the initial contents, then of the writes by id, each by block.
    private(set) var clusters: [Cluster] = []
    /// Where the clusters of each write begin.
    private var firstCluster: [Int] = []
    /// Reads that belong to no cluster.
    private(set) var violations: [Violation] = []

    init(_ history: History) {
        self.history = history
        firstCluster.reserveCapacity(history.writes.count)
        for (id, write) in history.writes.enumerated() {
            firstCluster.append(clusters.count)
            for block in write.blocks {
                clusters.append(
                    Cluster(
                        block: Int32(block), write: UInt32(id), isPresent: write.isAcknowledged,
                        firstEnd: write.ended, lastInvocation: write.invoked))
            }
        }
        for index in history.reads.indices { assign(read: index) }
    }

    /// The cluster of write `id` on `block`; nil when it did not write there.
    func cluster(of id: UInt32, on block: Int) -> Int? {
        guard history.has(id) else { return nil }
        let blocks = history.writes[Int(id)].blocks
        return blocks.contains(block)
            ? firstCluster[Int(id)] + block - blocks.lowerBound : nil
    }

    private mutating func assign(read index: Int) {
        let read = history.reads[index]
        let block = Int(read.block)
        guard let found = cluster(of: read.write, on: block) else {
            violations.append(.neverWritten(block: block, read: operation(read)))
            return
        }
        clusters[found].isPresent = true
        guard read.ended >= history.writes[Int(read.write)].invoked else {
            violations.append(
                .readBeforeWrite(
                    block: block, read: operation(read), write: operation(write: read.write)))
            return
        }
        if read.ended < clusters[found].firstEnd {
            clusters[found].firstEnd = read.ended
            clusters[found].firstToEnd = .read(index)
        }
        if read.invoked > clusters[found].lastInvocation {
            clusters[found].lastInvocation = read.invoked
            clusters[found].lastInvoked = .read(index)
        }
    }
}

// MARK: The verdict

extension History {
    /// All that is wrong, but at most `limit` of it; none when clients cannot tell the volume from one
    /// that does everything at once, block by block, and when every snapshot shows one moment.
    ///
    /// Takes time in proportion to n log n for n blocks written and read.
    package func violations(limit: Int = 16) -> [Violation] {
        let clustered = ClusteredHistory(self)
        var found = clustered.violations
        found += clustered.contradictions(limit: limit - found.count)
        // Cuts through blocks without an order mean nothing.
        if found.isEmpty { found = clustered.inconsistentCuts(limit: limit) }
        return Array(found.prefix(limit))
    }
}

extension ClusteredHistory {
    /// Pairs of clusters that have to come before each other, at most `limit` of them; at least one if
    /// there are any.
    func contradictions(limit: Int) -> [Violation] {
        guard limit > 0 else { return [] }
        let present = clusters.filter(\.isPresent)
        let forward = present.filter(\.isForward).sorted {
            ($0.block, $0.firstEnd) < ($1.block, $1.firstEnd)
        }
        var found: [Violation] = []
        // The one that reaches furthest so far, on the same block.
        var furthest: Cluster?
        for zone in forward {
            if let held = furthest, held.block == zone.block {
                if zone.mustPrecede(held) { found.append(contradiction(held, zone)) }
                if zone.lastInvocation > held.lastInvocation { furthest = zone }
            } else {
                furthest = zone
            }
            if found.count >= limit { return found }
        }
        for zone in present where !zone.isForward {
            if let around = Self.zone(around: zone, in: forward) {
                found.append(contradiction(around, zone))
                if found.count >= limit { return found }
            }
        }
        return found
    }

    /// The zone of `forward` (sorted by block and first end) that holds the backward `zone`.
    ///
    /// If zones overlap it may be missed, but then there is a violation already.
    private static func zone(around zone: Cluster, in forward: [Cluster]) -> Cluster? {
        // The last that began before `zone`, if on its block: those before have ended by then.
        var low = 0
        var high = forward.count
        while low < high {
            let middle = (low + high) / 2
            if (forward[middle].block, forward[middle].firstEnd) < (zone.block, zone.lastInvocation)
            {
                low = middle + 1
            } else {
                high = middle
            }
        }
        guard low > 0, forward[low - 1].block == zone.block, zone.mustPrecede(forward[low - 1])
        else { return nil }
        return forward[low - 1]
    }

    private func contradiction(_ first: Cluster, _ second: Cluster) -> Violation {
        .noOrder(
            block: Int(first.block), precedence(first, second), precedence(second, first))
    }

    private func precedence(_ first: Cluster, _ second: Cluster) -> Violation.Precedence {
        Violation.Precedence(
            ended: operation(first.firstToEnd, of: first),
            invoked: operation(second.lastInvoked, of: second))
    }

    // MARK: Operations as told to people

    func operation(_ member: Cluster.Member, of cluster: Cluster) -> Violation.Operation {
        switch member {
        case .write: operation(write: cluster.write)
        case .read(let index): operation(history.reads[index])
        }
    }

    private func operation(write id: UInt32) -> Violation.Operation {
        let write = history.writes[Int(id)]
        return Violation.Operation(
            kind: id == History.initial ? .initial : .write, write: id,
            invoked: UInt64(max(0, write.invoked)), ended: Self.time(write.ended))
    }

    private func operation(_ read: History.Read) -> Violation.Operation {
        Violation.Operation(
            kind: read.isSnapshot ? .snapshot : .read, write: read.write,
            invoked: UInt64(read.invoked), ended: Self.time(read.ended))
    }

    /// `moment` of the history's own scale, in nanoseconds for people.
    static func time(_ moment: Int64) -> UInt64 {
        moment == .max ? History.forever : UInt64(max(0, moment))
    }
}
