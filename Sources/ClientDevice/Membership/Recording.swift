// Making an engine's decisions durable: the registry's answer is what the engine waits for.

import Appliance
import Glibc
import Logging
import Registry
package import RemoteMemory
package import ResiliencySet

extension ClientDevice {
    /// How long to wait before the registry is asked again: at first, and at most, in milliseconds.
    private static let retryIntervals = (first: 50, longest: 2000)
    /// How often a change is tried that breaks a rule: another that is under way may make room for it, in a moment.
    private static let illegalTries = 5

    /// Records a decision and tells the engine; tries until the registry holds it, but for a cut and for what the
    /// registry will never hold.
    package func record(_ decision: MembershipDecision, of id: VolumeID) async {
        var interval = Self.retryIntervals.first
        var illegalTries = 0
        while let volume = volumes[id] {
            do throws(RegistryError) {
                let record = try commit(changes(for: decision, of: volume), to: id)
                await volume.thread.recorded(decision, of: id, epoch: record.epoch)
                await follow(decision, of: id, after: volume.record)
                return
            } catch {
                switch error {
                case .staleEpoch, .notOwner, .notFound, .superseded:
                    log.critical("volume \(volume.record.name) belongs to another owner: \(error)")
                    await volume.thread.fence(id)
                    await endIfSuperseded()
                    return
                default:
                    log.error("volume \(volume.record.name): \(error)")
                }
                // (A cut that may have been made must not be undone: then only the registry can tell.)
                if decision.isCut, isUnchanged(volume.record) {
                    await volume.thread.refuseCut(of: id)
                    finishCut(of: id, .failure(error))
                    await endTwins(of: id, because: .registry(error))
                    return
                }
                if case .illegalChange = error { illegalTries += 1 }
                guard illegalTries < Self.illegalTries else { return await halt(id, error) }
                try? await Task.sleep(for: .milliseconds(interval))
                interval = min(interval * 2, Self.retryIntervals.longest)
            }
        }
    }

    /// Ends serving a volume whose engine decided what the registry refuses.
    ///
    /// One of them is wrong about the members, and nothing that waits for the decision may be acknowledged. The next
    /// client device begins with what the registry says, and repairs the set.
    private func halt(_ id: VolumeID, _ error: RegistryError) async {
        guard let volume = volumes[id] else { return }
        let sentence =
            "it is not served any more, since its set decided what the registry refuses (\(error)): restart the client "
            + "device, which takes it over as the registry has it, and report this"
        log.critical("volume \(volume.record.name): \(sentence)")
        volumes[id]?.phase = .halted
        volumes[id]?.obstacle = sentence
        await volume.thread.fence(id)
        await publish()
        let promotions = volumes[id]?.promotions ?? [:]
        volumes[id]?.promotions = [:]
        for promotion in promotions.values { promotion.resume(returning: false) }
        finishCut(of: id, .failure(error))
        await endTwins(of: id, because: .registry(error))
    }

    /// Makes changes of a volume durable, and returns its record with them.
    ///
    /// A registry that reports a failure of its storage may hold the change all the same (the answer was
    /// lost, not the write): the epoch tells, now or at the next attempt.
    @discardableResult
    func commit(_ changes: [MembershipChange], to id: VolumeID) throws(RegistryError)
        -> VolumeRecord
    {
        guard let known = volumes[id]?.record else { throw .notFound(.volume, name: "\(id)") }
        do throws(RegistryError) {
            let record = try registry.change(id, changes, owner: owner, expecting: known.epoch)
            volumes[id]?.record = record
            return record
        } catch {
            switch error {
            case .storage, .staleEpoch: break
            default: throw error
            }
            guard let found = try? registry.volume(named: known.name),
                found.isNext(after: known, of: owner)
            else { throw error }
            volumes[id]?.record = found
            return found
        }
    }

    /// Whether the registry certainly holds nothing newer than `known`.
    private func isUnchanged(_ known: VolumeRecord) -> Bool {
        (try? registry.volume(named: known.name)) == known
    }

    private func changes(
        for decision: MembershipDecision, of volume: ManagedVolume
    ) -> [MembershipChange] {
        switch decision {
        case .fail(let members): return [.fail(Array(members))]
        case .promote(let member): return [.promote(member)]
        case .cut(let member):
            guard let cut = volume.cut else { return [] }
            return [
                .cut(member: member, snapshot: cut.snapshot, at: cut.createdAt, replacement: nil)
            ]
        case .replace, .cutGeneration: return changes(for: volume.twinning)
        case .grow(let size): return [.grow(to: size)]
        }
    }

    /// What else follows from a decision that is durable now; the volume was as in `former`.
    private func follow(
        _ decision: MembershipDecision, of id: VolumeID, after former: VolumeRecord
    ) async {
        guard let volume = volumes[id] else { return }
        let name = volume.record.name
        switch decision {
        case .fail(let members):
            for member in members {
                if volumes[id]?.retiring.remove(member) == nil {
                    log.warning(
                        "volume \(name): member \(member) failed; epoch \(volume.record.epoch)")
                    if let record = volume.record.member(member) { noteFailure(of: record, in: id) }
                }
                volumes[id]?.samples[member] = nil
                volumes[id]?.missingSince[member] = ContinuousClock.now
                volumes[id]?.promotions.removeValue(forKey: member)?.resume(returning: false)
            }
            if let cut = volume.cut, await !volume.thread.isCutting(cut.member, of: id) {
                finishCut(of: id, .failure(SnapshotError.memberFailed))
            }
        case .promote(let member):
            log.info("volume \(name): member \(member) is whole; epoch \(volume.record.epoch)")
            volumes[id]?.samples[member] = nil
            volumes[id]?.promotions.removeValue(forKey: member)?.resume(returning: true)
        case .cut:
            let held = await volume.thread.heldFor(id)
            volumes[id]?.snapshots = (try? registry.snapshots(of: id)) ?? volume.snapshots
            finishCut(of: id, .success(held))
        case .replace(let member):
            await placeTaken(member, from: former.member(member), of: id)
        case .cutGeneration: await generationCut(of: id)
        case .grow(let size):
            let held = await volume.thread.heldFor(id)
            log.info(
                "volume \(name) has \(size) now, \(former.size) before; writes were held \(held / 1000) µs"
            )
        }
        await enrolMembers(of: id)
        if case .fail = decision { await replaceMissingMembers(of: id) }
    }

    func finishCut(of id: VolumeID, _ result: Result<UInt64, any Error>) {
        guard let cut = volumes[id]?.cut else { return }
        volumes[id]?.cut = nil
        cut.finished.resume(with: result)
    }
}

extension MembershipDecision {
    /// Whether writes are held until it is recorded.
    fileprivate var isCut: Bool {
        switch self {
        case .cut, .replace, .cutGeneration, .grow: true
        case .fail, .promote: false
        }
    }
}
