// Does a snapshot show one moment of the volume: some instant of the command at which every block held
// what the snapshot shows?
//
// Blocks are judged on their own (Linearizability); a snapshot ties them together, by one moment at
// which it read them all. Each block that shows cluster A limits the moment, by every other cluster B
// of this block:
//
//      A's write was invoked             it is not before that
//      B has to come before A            it is not before B's last invocation
//      A has to come before B            it is not after B's first end
//      neither has to, and B is forward  it is not within B's zone, but before or after it
//
// There is a moment that all blocks allow  ⟺  the snapshot is a consistent cut. In particular a write
// that ended before another began cannot be missing where the other is shown.
//
// The blocks are those of a history that has an order; a snapshot's blocks are among its reads.

extension ClusteredHistory {
    /// Snapshots that show no single moment, at most `limit` of them.
    func inconsistentCuts(limit: Int) -> [Violation] {
        guard !history.snapshots.isEmpty else { return [] }
        var byBlock = [[Cluster]](repeating: [], count: history.blockCount)
        for cluster in clusters where cluster.isPresent {
            byBlock[Int(cluster.block)].append(cluster)
        }
        var found: [Violation] = []
        for snapshot in history.snapshots where found.count < limit {
            if let violation = judge(snapshot, byBlock) { found.append(violation) }
        }
        return found
    }

    private func judge(_ snapshot: History.Snapshot, _ byBlock: [[Cluster]]) -> Violation? {
        var cut = CutSearch(within: snapshot.invoked, snapshot.ended)
        for (block, id) in snapshot.contents.enumerated() {
            guard let index = cluster(of: id, on: block) else { continue }
            cut.limit(
                to: clusters[index], among: byBlock[block],
                invoked: history.writes[Int(id)].invoked)
        }
        guard let (notBefore, notAfter) = cut.conflict() else { return nil }
        return .inconsistentCut(
            invoked: Self.time(snapshot.invoked), ended: Self.time(snapshot.ended),
            notBefore: notBefore.map(bound), notAfter: notAfter.map(bound))
    }

    private func bound(_ limit: CutSearch.Limit) -> Violation.CutBound {
        Violation.CutBound(
            block: Int(limit.shown.block), shown: limit.shown.write,
            limit: operation(limit.member, of: limit.by))
    }
}

/// Narrows down when a snapshot can have been.
private struct CutSearch {
    /// Where a limit comes from: what a block shows, and which operation of which cluster limits it.
    struct Limit {
        let shown: Cluster
        let by: Cluster
        let member: Cluster.Member
    }

    /// Moments strictly between the two are excluded.
    private struct Gap {
        let start: Int64
        let end: Int64
        let limit: Limit
    }

    private var earliest: Int64
    private var latest: Int64
    /// Nil while the bound is that of the command itself.
    private var notBefore: Limit?
    private var notAfter: Limit?
    private var gaps: [Gap] = []

    init(within invoked: Int64, _ ended: Int64) {
        earliest = invoked
        latest = ended
    }

    /// Takes into account that a block, with these `clusters`, shows `shown`.
    mutating func limit(to shown: Cluster, among clusters: [Cluster], invoked: Int64) {
        if invoked > earliest {
            earliest = invoked
            notBefore = Limit(shown: shown, by: shown, member: .write)
        }
        for other in clusters where other.write != shown.write {
            if other.mustPrecede(shown) {
                guard other.lastInvocation > earliest else { continue }
                earliest = other.lastInvocation
                notBefore = Limit(shown: shown, by: other, member: other.lastInvoked)
            } else if shown.mustPrecede(other) {
                guard other.firstEnd < latest else { continue }
                latest = other.firstEnd
                notAfter = Limit(shown: shown, by: other, member: other.firstToEnd)
            } else if other.isForward {
                gaps.append(
                    Gap(
                        start: other.firstEnd, end: other.lastInvocation,
                        limit: Limit(shown: shown, by: other, member: other.lastInvoked)))
            }
        }
    }

    /// The two bounds that leave no moment between them; nil when there is a moment.
    func conflict() -> (notBefore: Limit?, notAfter: Limit?)? {
        var moment = earliest
        var reason = notBefore
        for gap in gaps.sorted(by: { ($0.start, $0.end) < ($1.start, $1.end) })
        where gap.start < moment && moment < gap.end {
            moment = gap.end
            reason = gap.limit
        }
        return moment > latest ? (reason, notAfter) : nil
    }
}
