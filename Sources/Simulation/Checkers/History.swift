// What clients saw: which writes they asked for, which reads they made, what snapshots show, and when.
//
// Each write has an id that no other has, and a block read tells the id of the write whose contents it
// found; 0 stands for the zeroes that every block holds before time 0. All times are those at the
// client, in nanoseconds: an operation is somewhere between its invocation and its end.
//
//      acknowledged    it took effect, between its invocation and its end
//      failed          it took effect in this span on any of its blocks, or on none
//      without an end  it took effect since its invocation, or will, or never
//
// The history is only written down here. Linearizability and ConsistentCut judge it, when the run is
// over and all that is to be known about it is known.

/// The writes, reads and snapshots of one run.
package struct History: Sendable {
    /// The end of an operation that may still take effect.
    package static let forever = UInt64.max
    /// The contents before the first write.
    package static let initial: UInt32 = 0
    /// The largest id of a write.
    ///
    /// Ids stand for places in an array: 40 bytes for each.
    package static let maximumWrite: UInt32 = 1 << 24

    struct Write: Sendable {
        var blocks = 0..<0
        /// In nanoseconds, on the history's own scale (see `moment`).
        var invoked: Int64 = 0
        var ended = Int64.max
        var isAcknowledged = false
    }

    struct Read: Sendable {
        let block: Int32
        let write: UInt32
        let invoked: Int64
        let ended: Int64
        /// A block of a snapshot is a read of it.
        let isSnapshot: Bool
    }

    struct Snapshot: Sendable {
        /// The id that each block shows.
        let contents: [UInt32]
        let invoked: Int64
        let ended: Int64
    }

    /// How many blocks the volume has.
    package let blockCount: Int
    /// By id; without blocks where no write has the id.
    ///
    /// Id 0 is the initial contents.
    var writes: [Write]
    var reads: [Read] = []
    var snapshots: [Snapshot] = []

    /// An empty history of a volume of `blockCount` blocks, from 1 to 2^31 - 1.
    package init(blockCount: Int) {
        precondition((1...Int(Int32.max)).contains(blockCount), "a volume of \(blockCount) blocks")
        self.blockCount = blockCount
        writes = [
            // Before everything else, even before what happens at time 0.
            Write(blocks: 0..<blockCount, invoked: -1, ended: -1, isAcknowledged: true)
        ]
    }

    /// A write was asked for: `id`, from 1, differs from all before, and `blocks` are not none.
    ///
    /// Until it ends it counts as one that may still take effect. `time` is below 2^63.
    package mutating func invoke(write id: UInt32, blocks: Range<Int>, at time: UInt64) {
        precondition((1...Self.maximumWrite).contains(id), "a write with the id \(id)")
        precondition(
            !blocks.isEmpty && blocks.lowerBound >= 0 && blocks.upperBound <= blockCount,
            "write \(id) lies outside of the volume")
        while writes.count <= Int(id) { writes.append(Write()) }
        precondition(writes[Int(id)].blocks.isEmpty, "two writes have the id \(id)")
        writes[Int(id)] = Write(blocks: blocks, invoked: Self.moment(time))
    }

    /// A write is over; `time`, not before its invocation, may be `forever` for one that failed.
    ///
    /// A failed write may end once more, when more is known: its last end counts.
    package mutating func end(write id: UInt32, at time: UInt64, acknowledged: Bool) {
        precondition(has(id) && id != Self.initial, "the end of write \(id), which never began")
        let ended = Self.moment(time)
        precondition(!writes[Int(id)].isAcknowledged, "write \(id) was acknowledged already")
        precondition(ended >= writes[Int(id)].invoked, "write \(id) ended before it began")
        precondition(!acknowledged || time != Self.forever, "write \(id) has a time it ended at")
        writes[Int(id)].ended = ended
        writes[Int(id)].isAcknowledged = acknowledged
    }

    /// A read was answered: `block` held the contents of write `id`.
    ///
    /// An `id` that no write has is taken, and judged later.
    package mutating func read(
        block: Int, returned id: UInt32, invoked: UInt64, ended: UInt64
    ) {
        note(block, id, Self.moment(invoked), Self.moment(ended), isSnapshot: false)
    }

    /// A snapshot was asked for at `invoked` and reported at `ended`; block n of it shows `contents[n]`.
    package mutating func snapshot(contents: [UInt32], invoked: UInt64, ended: UInt64) {
        precondition(contents.count == blockCount, "a snapshot is as large as its volume")
        let span = (Self.moment(invoked), Self.moment(ended))
        for (block, id) in contents.enumerated() {
            note(block, id, span.0, span.1, isSnapshot: true)
        }
        snapshots.append(Snapshot(contents: contents, invoked: span.0, ended: span.1))
    }

    private mutating func note(
        _ block: Int, _ id: UInt32, _ invoked: Int64, _ ended: Int64, isSnapshot: Bool
    ) {
        precondition((0..<blockCount).contains(block), "a read of block \(block)")
        precondition(invoked <= ended && ended != .max, "a read ends, and after it began")
        reads.append(
            Read(
                block: Int32(block), write: id, invoked: invoked, ended: ended,
                isSnapshot: isSnapshot))
    }

    /// Whether a write has the id, the initial contents included.
    func has(_ id: UInt32) -> Bool { Int(id) < writes.count && !writes[Int(id)].blocks.isEmpty }

    /// A time on a scale with room for one before 0.
    private static func moment(_ time: UInt64) -> Int64 {
        guard time != forever else { return .max }
        precondition(time < UInt64(Int64.max), "a time of more than 292 years")
        return Int64(time)
    }
}
