// Where the driver of an erasure set puts the bytes it reckons with.
//
//     work area     │ member 0 │ member 1 │ … │ member N-1 │      each with room for a redo slot
//
// Areas are numbered by the engine, which gives each to one entry at a time; its lowest number is used
// first. So memory is mapped for all of them at once, and used for as many as there ever were at a time. A
// part of a row stands at its column: a change of 4 KiB touches one page a member.

import Glibc
import RemoteMemory

/// Owns the memory of all work areas of one volume.
@safe
final class WorkMemory {
    private let base: UnsafeMutableRawPointer
    private let size: Int
    private let geometry: StripeGeometry

    init(_ geometry: StripeGeometry) {
        self.geometry = geometry
        size =
            geometry.workAreaCount * geometry.memberCount * Int(geometry.redoSlotSize.bytes)
        let memory = unsafe mmap(
            nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let memory = unsafe memory, unsafe memory != MAP_FAILED else {
            preconditionFailure("no address space for \(size) bytes of work areas")
        }
        unsafe base = memory
    }

    deinit { unsafe munmap(base, size) }

    /// The most memory that work areas of a volume can take.
    static func limit(for geometry: StripeGeometry) -> ByteCount {
        ByteCount(
            UInt64(geometry.workAreaCount * geometry.memberCount) * geometry.redoSlotSize.bytes)
    }

    /// Where a member's bytes stand, and those of its twin, which are the same: `offset` behind the start of the first row.
    @inline(__always)
    func place(_ work: UInt8, _ member: MemberIndex, _ offset: ByteCount) -> UnsafeMutableRawPointer
    {
        precondition(
            Int(work) < geometry.workAreaCount && member.place.number < geometry.memberCount
                && offset < geometry.redoSlotSize, "a place lies in a work area")
        let index = Int(work) * geometry.memberCount + member.place.number
        return unsafe base + index * Int(geometry.redoSlotSize.bytes) + Int(offset.bytes)
    }
}
