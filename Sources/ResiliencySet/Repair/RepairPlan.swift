// After a takeover: what half-done multi-writes may have left different, and how to make it equal.
//
// Only writes that were in flight can differ, and each left its intent on every member it reached.
// Overlapping writes never ran at once, so for every byte the newest intent that covers it decides:
//
//     newest first; each intent takes its range less what newer ones took (their start proves it done)
//       completed mark, newer use of its slot anywhere, or landed everywhere  →  nothing to do
//       zeroes                                       →  zero it on all members
//       landed on somebody                           →  copy from there to whoever lacks it   (new)
//       somebody never saw it                        →  copy from there to whoever saw it     (old)
//       all saw it, none has it whole                →  copy the last member in write order

package import RemoteMemory

/// An intent found in a member's observer area.
package struct FoundIntent: Hashable, Sendable {
    package var member: MemberIndex
    package var slot: UInt8
    package var content: IntentSlot

    package init(member: MemberIndex, slot: UInt8, content: IntentSlot) {
        self.member = member
        self.slot = slot
        self.content = content
    }
}

/// One piece of repair: make a range equal on all members.
package struct RepairStep: Hashable, Sendable {
    package var slot: UInt8
    package var intent: Intent
    /// The part of the intent's range that this step settles.
    package var range: ByteRange
    /// The member whose data counts; nil for zeroes.
    package var source: MemberIndex?
    package var targets: MemberSet
    /// The source holds the write; otherwise what was there before, or as much as there is.
    package var isNew: Bool
    /// Those that may hold a part of the write: they come first, while the others are still whole.
    package var torn: MemberSet
    /// No later step belongs to the same intent.
    package var isLast: Bool
}

/// The newest intent that covers each byte decides; this works it out.
package enum RepairPlan {
    /// The steps that make `active` members equal, given all that was found on them.
    package static func steps(for found: [FoundIntent], active: MemberSet) -> [RepairStep] {
        var settled: [ByteRange] = []
        var steps: [RepairStep] = []
        for write in multiWrites(in: found, active: active) {
            let open = remainder(of: write.intent.range, without: settled)
            settled.append(write.intent.range)
            guard !write.isComplete, !write.landed.isSuperset(of: active) else { continue }
            let (source, targets) = direction(of: write, active: active)
            guard !targets.isEmpty else { continue }
            for (position, range) in open.enumerated() {
                steps.append(
                    RepairStep(
                        slot: write.slot, intent: write.intent, range: range, source: source,
                        targets: targets,
                        isNew: source.map { write.landed.contains($0) } ?? true,
                        torn: write.seen.subtracting(write.landed),
                        isLast: position == open.count - 1))
            }
        }
        return steps
    }

    /// All that is known of one multi-write.
    private struct FoundWrite {
        var slot: UInt8
        var intent: Intent
        var seen = MemberSet()
        var landed = MemberSet()
        var isComplete = false
    }

    /// The multi-writes that were found, newest first.
    private static func multiWrites(in found: [FoundIntent], active: MemberSet) -> [FoundWrite] {
        var writes: [Age: FoundWrite] = [:]
        var newestInSlot: [UInt8: Age] = [:]
        for item in found where active.contains(item.member) {
            let age = Age(item.content.intent)
            var write = writes[age] ?? FoundWrite(slot: item.slot, intent: item.content.intent)
            write.seen.insert(item.member)
            if item.content.landed { write.landed.insert(item.member) }
            if item.content.completed { write.isComplete = true }
            writes[age] = write
            newestInSlot[item.slot] = max(newestInSlot[item.slot] ?? age, age)
        }
        return writes.values.map { write in
            var write = write
            if let newest = newestInSlot[write.slot], newest > Age(write.intent) {
                write.isComplete = true
            }
            return write
        }.sorted { Age($0.intent) > Age($1.intent) }
    }

    /// Orders multi-writes, also those of an owner whose last ones nobody else saw.
    private struct Age: Hashable, Comparable {
        let epoch: Epoch
        let sequence: UInt64

        init(_ intent: Intent) {
            epoch = intent.epoch
            sequence = intent.sequence
        }

        static func < (left: Age, right: Age) -> Bool {
            (left.epoch, left.sequence) < (right.epoch, right.sequence)
        }
    }

    private static func direction(
        of write: FoundWrite, active: MemberSet
    ) -> (source: MemberIndex?, targets: MemberSet) {
        if write.intent.kind == .zero, write.landed.isEmpty { return (nil, active) }
        if let whole = write.landed.first { return (whole, active.subtracting(write.landed)) }
        if let old = active.subtracting(write.seen).first { return (old, write.seen) }
        guard let last = active.last else { return (nil, MemberSet()) }
        return (last, active.subtracting(MemberSet(last)))
    }

    /// `range` less everything in `taken`, in ascending order.
    static func remainder(of range: ByteRange, without taken: [ByteRange]) -> [ByteRange] {
        var open = [range]
        for hole in taken {
            open = open.flatMap { piece -> [ByteRange] in
                guard piece.overlaps(hole) else { return [piece] }
                var rest: [ByteRange] = []
                if piece.start < hole.start {
                    rest.append(ByteRange(start: piece.start, count: hole.start - piece.start))
                }
                if hole.end < piece.end {
                    rest.append(ByteRange(start: hole.end, count: piece.end - hole.end))
                }
                return rest
            }
        }
        return open
    }
}
