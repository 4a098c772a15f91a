// What BLOCK_STATUS says of a volume's or snapshot's blocks.

import BlockServer
import NBDProtocol
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport

/// A run of bytes that one status applies to.
struct StatusExtent {
    var count: ByteCount
    var status: UInt32
}

extension AllocationStatus {
    init(isAllocated: Bool) { self = isAllocated ? [] : [.hole, .zero] }
}

extension AllocationMap {
    /// The most that is looked at for one request, in bytes: asking the kernel about that much takes some
    /// milliseconds at most, and a client that wants more asks again.
    static var mostExamined: ByteCount { .mebibytes(1024) }

    /// Extents of `range` from its start on, alternately allocated and holes; at least one.
    ///
    /// Without a `region` that is mapped, what is not known counts as allocated: no bytes are lost by that.
    mutating func extents(
        of range: ByteRange, in region: RegionView?, atMost limit: Int
    ) -> [StatusExtent] {
        var rest = ByteRange(start: range.start, count: min(range.count, Self.mostExamined))
        var extents: [StatusExtent] = []
        while !rest.isEmpty, extents.count < limit {
            let (count, isAllocated) =
                region.map { firstRun(of: rest, in: $0) } ?? firstRun(of: rest)
            let status = AllocationStatus(isAllocated: isAllocated)
            extents.append(StatusExtent(count: count, status: status.rawValue))
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
        }
        return extents
    }
}

extension Volume {
    /// Which extents of `range` are allocated, from its start on.
    func allocation(of range: ByteRange, atMost limit: Int) -> [StatusExtent] {
        if let stripes { return stripedAllocation(of: range, atMost: limit, stripes) }
        let mapped = engine.active.first { views[$0.number] != nil }
        return allocation.extents(
            of: range, in: mapped.flatMap { views[$0.number] }, atMost: limit)
    }

    /// How safe the extents of `range` are, from its start on.
    func resiliency(of range: ByteRange, atMost limit: Int) -> [StatusExtent] {
        var rest = ByteRange(
            start: range.start, count: min(range.count, AllocationMap.mostExamined))
        var extents: [StatusExtent] = []
        while !rest.isEmpty, extents.count < limit {
            let (count, redundancy) = engine.redundancy(atStartOf: rest)
            var status: ResiliencyStatus = redundancy.isRebuilding ? .rebuilding : []
            if redundancy.holders < memberCount { status.insert(.degraded) }
            extents.append(StatusExtent(count: count, status: status.rawValue))
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
        }
        return extents
    }

    /// Which extents of `range` were changed since a cut, from its start on.
    func changes(of range: ByteRange, since cut: Epoch, atMost limit: Int) -> [StatusExtent] {
        if let origin { return origin.changes(of: range, since: cut, atMost: limit) }
        return changes(of: range, since: cut, until: nil, atMost: limit)
    }

    fileprivate func changes(
        of range: ByteRange, since cut: Epoch, until end: Epoch?, atMost limit: Int
    ) -> [StatusExtent] {
        engine.changes(in: range, since: cut, until: end, atMost: limit).map {
            let status: ChangeStatus = $0.isChanged ? .changed : []
            return StatusExtent(count: $0.count, status: status.rawValue)
        }
    }
}

/// The volume that a snapshot is of, on the same thread, and the moment of it.
struct SnapshotOrigin {
    let id: VolumeID
    let cut: Epoch
    /// Nil as long as it is not served.
    weak var volume: Volume?

    /// Which extents of `range` were changed from an earlier cut until this one, from its start on.
    func changes(of range: ByteRange, since cut: Epoch, atMost limit: Int) -> [StatusExtent] {
        volume?.changes(of: range, since: cut, until: self.cut, atMost: limit)
            ?? [StatusExtent(count: range.count, status: ChangeStatus.changed.rawValue)]
    }
}
