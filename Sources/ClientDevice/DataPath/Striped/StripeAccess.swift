// What the driver of an erasure set has beside that of a mirror: somebody who reckons, and what is allocated on
// each member.
//
// Members of a mirror are alike, so one map tells of all of them. Here a write of one chunk touches some
// members only, and each has a map of its own region.

import RemoteMemory
import SharedMemoryTransport

/// Belongs to one volume, on its thread.
///
/// (How large the volume is, which may grow, is of no interest to its geometry here: rows keep their places.)
final class StripeAccess {
    /// What of one member's mapped region may hold anything but zeroes.
    final class Memory {
        var map: AllocationMap
        init(dataSize: ByteCount) { map = AllocationMap(deviceSize: dataSize) }
    }

    let geometry: StripeGeometry
    let worker: StripeWorker
    /// Members are far, or were: reads may have to wait, for bytes or for certainty, so they are copied.
    var copiesReads = false
    /// By member; a member that comes back, or another in its place, has a new one.
    private var memories: [Memory]
    /// What each member's region holds.
    private var regionDataSize: ByteCount

    init(_ geometry: StripeGeometry) {
        self.geometry = geometry
        worker = StripeWorker(geometry)
        regionDataSize = geometry.regionDataSize
        // (Those of twins are made when there are any.)
        memories = (0..<MemberIndex.count).map { number in
            Memory(dataSize: number < geometry.memberCount ? geometry.regionDataSize : .zero)
        }
    }

    func memory(of member: MemberIndex) -> Memory { memories[member.number] }

    /// Forgets what was known of a member's region: it has another.
    func forget(_ member: MemberIndex) {
        memories[member.number] = Memory(dataSize: regionDataSize)
    }

    /// Every region holds as much from now on; what is known of them is forgotten.
    func grow(to regionDataSize: ByteCount) {
        self.regionDataSize = regionDataSize
        for member in geometry.members { forget(member) }
    }

    /// A twin's region is the member's from now on.
    func rename(_ twin: MemberIndex, to member: MemberIndex) {
        memories[member.number] = memories[twin.number]
        memories[twin.number] = Memory(dataSize: .zero)
    }

    /// Copies `span` of a mapped region, without loading from what is not allocated.
    func load(
        _ span: ByteRange, of member: MemberIndex, _ view: RegionView,
        into place: UnsafeMutableRawPointer
    ) {
        forEachRun(of: span, of: member, view) { run, isAllocated in
            let target = unsafe place + Int((run.start - span.start).bytes)
            if isAllocated {
                unsafe view.load(run, to: target)
            } else {
                unsafe clear(target, Int(run.count.bytes))
            }
        }
    }

    /// The runs of `span` that are allocated, and those that are not.
    @inline(__always)
    func forEachRun(
        of span: ByteRange, of member: MemberIndex, _ view: RegionView,
        _ body: (ByteRange, Bool) -> Void
    ) {
        let memory = memory(of: member)
        var rest = span
        while !rest.isEmpty {
            let (count, isAllocated) = memory.map.firstRun(of: rest, in: view)
            body(ByteRange(start: rest.start, count: count), isAllocated)
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
        }
    }
}
