// Fetches that are carried out together: the memory of all is asked for before that of the first is waited for.
//
// What small writes of an erasure set fetch lies anywhere in gigabytes. To find a page and its first line takes
// about as long as to copy the rest of it, and the processor does that for several places at once.

import RemoteMemory
import SharedMemoryTransport

/// What the engine asked for and is about to be carried out, in the same order.
struct FetchGroup: ~Copyable {
    /// A fetch from one member.
    struct Fetch: BitwiseCopyable {
        var ticket: OperationTicket
        var member: MemberIndex
        var view: RegionView
        /// Of the region's data.
        var span: ByteRange
        var work: UInt8
    }

    /// The most fetches that are carried out together.
    static let capacity = 64

    private let fetches = FixedArray<Fetch?>(repeating: nil, count: capacity)
    private(set) var count = 0

    var isEmpty: Bool { count == 0 }
    var isFull: Bool { count == Self.capacity }

    @inline(__always)
    mutating func append(_ fetch: Fetch) {
        fetch.view.prepareLoad(fetch.span)
        fetches[count] = fetch
        count += 1
    }

    /// Takes all; they stay where they are until another is appended.
    @inline(__always)
    mutating func removeAll(_ body: (Fetch) -> Void) {
        for index in 0..<count {
            if let fetch = fetches[index] { body(fetch) }
        }
        count = 0
    }
}
