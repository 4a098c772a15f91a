// Is everything that differs from a snapshot among what was changed since?
//
//     snapshot A ──────────────── snapshot B ──────────── at rest
//        └── differs ⇒ changed from A to B ──┘                │
//        └── differs ⇒ changed since A ───────────────────────┘
//
// What more is said to be changed costs a backup time, and is judged by the tests of the engine.

import Registry
import RemoteMemory
import ResiliencySet

extension SimulatedDevice {
    /// A process that has nothing left to do when it ends has stopped in order: what it knows is kept.
    func stopInOrder() {
        guard life == .running, isServing, engine.phase == .serving, engine.isSettled else {
            return
        }
        world.registry.saveChanges(engine.savedChanges, by: owner, at: record.epoch)
    }

    /// Notes what is held for the cut that was recorded just now.
    func noteHeld() {
        guard mutation(.forgetsHeldMarks) else { return }
        let held = requests.filter { $0.client != nil && $0.kind != .read }.map(\.range)
        heldBlocks[record.epoch] = held.reduce(into: []) { blocks, range in
            let last = (range.end.bytes - 1) / Scenario.blockSize
            blocks.formUnion(Int(range.start.bytes / Scenario.blockSize)...Int(last))
        }
    }

    /// How many blocks its volume has now.
    fileprivate var blockCount: Int { Int(engine.size.bytes / Scenario.blockSize) }

    /// Whether this device says that a block was changed.
    fileprivate func isChanged(_ block: Int, since cut: Epoch, until end: Epoch?) -> Bool {
        if heldBlocks[cut]?.contains(block) == true { return false }
        let range = ByteRange(
            start: ByteOffset(UInt64(block) * Scenario.blockSize),
            count: ByteCount(Scenario.blockSize))
        return engine.changes(in: range, since: cut, until: end).contains { $0.isChanged }
    }

    /// Whether it knows anything of what was changed between two cuts.
    fileprivate func knowsChanges(since cut: Epoch, until end: Epoch?) -> Bool {
        (0..<blockCount).contains { !isChanged($0, since: cut, until: end) }
    }
}

extension World {
    /// A snapshot was cut at `end`: what differs from it in older ones was changed between them.
    func checkChanges(until end: Epoch, by device: SimulatedDevice) {
        guard let contents = cutContents[end] else { return }
        for cut in cutContents.keys.sorted() where cut < end {
            compare(cut, to: contents, until: end, by: device)
        }
    }

    /// At rest: what differs from a snapshot was changed since.
    func judgeChanges(_ members: [MemberRecord], _ device: SimulatedDevice) {
        guard let contents = contentsAtRest(members, device) else { return }
        for cut in cutContents.keys.sorted() {
            compare(cut, to: contents, until: nil, by: device)
        }
    }

    private func compare(
        _ cut: Epoch, to contents: [UInt32], until end: Epoch?, by device: SimulatedDevice
    ) {
        guard let former = cutContents[cut] else { return }
        let isKnown = device.knowsChanges(since: cut, until: end)
        for block in former.indices where former[block] != contents[block] {
            if isKnown { probes.hit(.changesJudged) }
            guard !device.isChanged(block, since: cut, until: end) else { continue }
            let moment = end.map { "the snapshot of epoch \($0)" } ?? "rest"
            violated(
                "block \(block) differs from the snapshot of epoch \(cut) at \(moment), unmarked")
        }
    }

    /// The write that each block shows, none behind the end of the volume; nil when too few members can be read.
    private func contentsAtRest(
        _ members: [MemberRecord], _ device: SimulatedDevice
    ) -> [UInt32]? {
        let granules = Int(Scenario.blockSize / SimulatedRegion.granule)
        let rest = [UInt32](repeating: History.initial, count: scenario.blocks - device.blockCount)
        guard let coder else {
            guard let region = members.lazy.compactMap({ self.region($0) }).first else {
                return nil
            }
            return (0..<device.blockCount).map { UInt32(region.tags[$0 * granules]) } + rest
        }
        guard members.count(where: { region($0) != nil }) >= coder.stripes.dataShards else {
            return nil
        }
        let whole = ByteRange(start: ByteOffset(0), count: device.engine.size)
        let tags = self.contents(of: whole, from: members, coder, by: device)
        return (0..<device.blockCount).map { block in
            UInt32(StripedTag.write(tags[block * granules], block: block) ?? 0)
        } + rest
    }
}
