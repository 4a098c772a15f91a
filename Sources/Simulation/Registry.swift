// The registry: the real records and their transitions, kept in a variable instead of rows; and the ways in
// which storage disappoints.

import Registry
import RemoteMemory

/// Where the truth about the set is.
final class SimulatedRegistry {
    unowned var world: World!
    let volumeID: VolumeID
    private(set) var record: VolumeRecord?
    private(set) var snapshots: [SnapshotRecord] = []
    /// What was changed since each, from an orderly stop at this epoch.
    private var savedChanges: (epoch: Epoch, changes: [SnapshotChanges])?
    /// Every call fails.
    var isDown = false
    /// The next commits are made, but nobody hears of it.
    var answersToLose = 0
    /// Added to every call, in nanoseconds.
    var slowness: UInt64 = 0
    private let scenario: Scenario

    init(_ scenario: Scenario, _ names: inout Chance) {
        self.scenario = scenario
        volumeID = VolumeID(.random(using: &names))
    }

    func create(members: [MemberRecord]) {
        do {
            record = try VolumeRecord(
                name: "vol0", id: volumeID, size: scenario.firstSize,
                layout: scenario.layout, ordering: scenario.ordering,
                members: members)
        } catch {
            world.violated("the volume could not be made: \(error)")
        }
    }

    /// Calls the registry from a device; `body` runs there unless it is down.
    func call<Answer>(
        from device: SimulatedDevice,
        _ body: @escaping (SimulatedRegistry) throws(RegistryError) -> Answer,
        then: @escaping (Result<Answer, RegistryError>) -> Void
    ) {
        let there = UInt64(world.network.within(20...200)) * 1000 + slowness
        world.after(there) { [self] in
            let back = UInt64(world.network.within(20...200)) * 1000
            var result: Result<Answer, RegistryError>
            if isDown {
                result = .failure(.storage(.busy, message: "the registry is down"))
            } else {
                let before = record
                do throws(RegistryError) {
                    result = .success(try body(self))
                    if record != before { committed(before) }
                    if record != before, answersToLose > 0 {
                        answersToLose -= 1
                        world.probes.hit(.registryAnswerLost)
                        world.note("the registry's answer is lost")
                        result = .failure(.storage(.inputOutput, message: "the answer is lost"))
                    }
                } catch {
                    result = .failure(error)
                }
            }
            world.after(back, at: .device(device)) { then(result) }
        }
    }

    // MARK: Transitions, each the real one

    func current() throws(RegistryError) -> VolumeRecord {
        guard let record else { throw .notFound(.volume, name: "vol0") }
        return record
    }

    func takeOver(by owner: OwnerID, expecting: Epoch) throws(RegistryError) -> VolumeRecord {
        let next = try current().takenOver(by: owner, expecting: expecting)
        record = next
        return next
    }

    func change(
        _ changes: [MembershipChange], owner: OwnerID, expecting: Epoch
    ) throws(RegistryError) -> VolumeRecord {
        let (next, snapshot) = try current().applying(changes, owner: owner, expecting: expecting)
        record = next
        if let snapshot {
            snapshots.append(snapshot)
            if let coder = world.coder { world.generationTaken(snapshot, coder) }
        }
        return next
    }

    func deleteSnapshot(named name: String) throws(RegistryError) -> SnapshotRecord {
        guard let index = snapshots.firstIndex(where: { $0.name == name }) else {
            throw .notFound(.snapshot, name: name)
        }
        return snapshots.remove(at: index)
    }

    /// An owner stops in order, and leaves behind what it knows of changes.
    func saveChanges(_ changes: [SnapshotChanges], by owner: OwnerID, at epoch: Epoch) {
        guard let record, record.owner == owner, record.epoch == epoch else { return }
        savedChanges = (epoch, changes)
    }

    /// Takes what was left at the epoch before the present one.
    func takeChanges(savedAt epoch: Epoch) -> [SnapshotChanges] {
        guard world.mutation != .believesOldChanges else { return savedChanges?.changes ?? [] }
        defer { savedChanges = nil }
        return savedChanges?.epoch == epoch ? savedChanges?.changes ?? [] : []
    }

    // MARK: Checks

    /// Checks every commit: legal, one epoch on, and no member active that is not whole.
    private func committed(_ before: VolumeRecord?) {
        guard let before, let record else { return }
        world.note(
            "registry: epoch \(record.epoch), "
                + record.members.map { "\($0.index)=\($0.state.rawValue)" }.joined(separator: " "))
        if record.epoch != before.epoch.next {
            world.violated("the epoch went from \(before.epoch) to \(record.epoch)")
        }
        for member in record.members where member.state == .active {
            let former = before.member(member.index)
            let isReplaced = former.map { $0.region != member.region } ?? true
            guard former?.state == .rebuilding || isReplaced else { continue }
            world.checkPromoted(member, in: record)
        }
        if record.isLost, !before.isLost {
            world.isVolumeLost = true
            world.probes.hit(.volumeLost)
        }
    }
}
