// Writes to members that are carried out together, with one fence a member.
//
//     member A:  intent data ─ intent data ─ … ┊ landed ─ landed ─ …
//     member B:                                                        intent data ─ … ┊ landed ─ …
//
// For each write by itself the order is that of a write alone: it has landed on one member before it
// begins on the next. So a client device that is killed leaves a block half-written on one member at
// most, and repair finds out on which. Storing to all members at once would be as fast, but it could
// leave a block half-written on all of them.

import RemoteMemory
import SharedMemoryTransport

/// What the engine asked for and is about to be carried out; never the write of a last copy, which goes
/// by way of the redo area.
@safe
struct WriteGroup: ~Copyable {
    /// A write to one member.
    @safe struct Write: BitwiseCopyable {
        var ticket: OperationTicket
        var member: MemberIndex
        var slot: UInt8
        var view: RegionView
        var intent: Intent
        /// Stays where it is until the request is answered.
        var payload: UnsafeRawPointer
    }

    /// The most writes to members that are carried out together.
    static let capacity = 64

    private let writes = UnsafeMutablePointer<Write>.allocate(capacity: Self.capacity)
    private(set) var count = 0
    private var members = MemberSet()

    deinit { unsafe writes.deallocate() }

    var isEmpty: Bool { count == 0 }
    var isFull: Bool { count == Self.capacity }

    @inline(__always)
    mutating func append(_ write: Write) {
        precondition(count < Self.capacity, "the caller asks isFull first")
        unsafe (writes + count).initialize(to: write)
        count += 1
        members.insert(write.member)
    }

    /// Stores everything, member by member.
    @inline(__always)
    func carryOut() {
        for member in members {
            for index in 0..<count where unsafe writes[index].member == member {
                unsafe writes[index].view.storeLoosely(
                    slot: writes[index].slot, writes[index].intent, from: writes[index].payload)
            }
            RegionView.fence()
            for index in 0..<count where unsafe writes[index].member == member {
                unsafe writes[index].view.land(slot: writes[index].slot, writes[index].intent)
            }
        }
    }

    /// What the engine is told of the write at `index`.
    @inline(__always)
    func operation(_ index: Int) -> (ticket: OperationTicket, member: MemberIndex) {
        precondition(index < count, "an index within the group")
        return unsafe (writes[index].ticket, writes[index].member)
    }

    @inline(__always)
    mutating func removeAll() {
        count = 0
        members = MemberSet()
    }
}
