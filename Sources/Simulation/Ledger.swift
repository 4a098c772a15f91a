// What clients asked for and were told, kept plainly while the world runs and judged at its end.

import RemoteMemory

/// The histories of all blocks.
struct Ledger {
    struct Write {
        var blocks: Range<Int>
        var invoked: UInt64
        var ended: UInt64?
        var isAcknowledged = false
        /// Its device and a member were lost at once: what it left may be torn (see Guarantees).
        var mayBeTorn = false
        /// The device it was sent to.
        var device: Int
    }

    struct Read {
        var block: Int
        var id: UInt32
        var invoked: UInt64
        var ended: UInt64
    }

    struct Snapshot {
        var contents: [UInt32]
        var invoked: UInt64
        var ended: UInt64
    }

    let blocks: Int
    /// Losing a device and a member at once may tear what was not answered (mirrors).
    let mayTear: Bool
    /// By id, less one.
    private(set) var writes: [Write] = []
    private(set) var reads: [Read] = []
    private(set) var snapshots: [Snapshot] = []

    init(blocks: Int, mayTear: Bool) {
        self.blocks = blocks
        self.mayTear = mayTear
    }

    /// A client sends a write; returns its id.
    mutating func invoke(_ blocks: Range<Int>, at time: UInt64, on device: Int) -> UInt32 {
        writes.append(Write(blocks: blocks, invoked: time, device: device))
        return UInt32(writes.count)
    }

    /// A client hears of the end of its write.
    mutating func end(_ id: UInt32, at time: UInt64, isAcknowledged: Bool) {
        let index = Int(id) - 1
        if isAcknowledged {
            writes[index].isAcknowledged = true
            writes[index].ended = time
        }
    }

    /// Whatever older devices left unanswered is settled: it happened or it never will.
    mutating func settle(before device: Int, at time: UInt64) {
        for index in writes.indices
        where writes[index].device < device && writes[index].ended == nil {
            writes[index].ended = time
        }
    }

    /// A member was lost together with a device: its unanswered writes may be torn.
    mutating func excuseTorn(before device: Int) {
        guard mayTear else { return }
        for index in writes.indices
        where writes[index].device < device && !writes[index].isAcknowledged {
            writes[index].mayBeTorn = true
        }
    }

    mutating func excuseTorn(_ id: UInt32) {
        if id != 0, mayTear { writes[Int(id) - 1].mayBeTorn = true }
    }

    func mayBeTorn(_ tags: some Sequence<UInt64>) -> Bool {
        tags.contains {
            $0 != 0 && writes[Int($0) - 1].mayBeTorn && !writes[Int($0) - 1].isAcknowledged
        }
    }

    mutating func read(_ block: Int, _ id: UInt32, invoked: UInt64, ended: UInt64) {
        reads.append(Read(block: block, id: id, invoked: invoked, ended: ended))
    }

    mutating func snapshot(_ contents: [UInt32], invoked: UInt64, ended: UInt64) {
        snapshots.append(Snapshot(contents: contents, invoked: invoked, ended: ended))
    }

    /// What cannot have happened on a device that keeps its promises.
    func violations() -> [String] {
        var history = History(blockCount: blocks)
        for (index, write) in writes.enumerated() {
            history.invoke(write: UInt32(index + 1), blocks: write.blocks, at: write.invoked)
        }
        for (index, write) in writes.enumerated() {
            if let ended = write.ended {
                history.end(
                    write: UInt32(index + 1), at: ended, acknowledged: write.isAcknowledged)
            }
        }
        for read in reads {
            history.read(
                block: read.block, returned: read.id, invoked: read.invoked, ended: read.ended)
        }
        for snapshot in snapshots {
            history.snapshot(
                contents: snapshot.contents, invoked: snapshot.invoked, ended: snapshot.ended)
        }
        return history.violations().map { "\($0)" }
    }
}
