// Carrying out what the engine asks for, with the meaning each transport gives it.
//
//     shared memory   at once, on the device's own processor: it can die between any two stores
//     message         a message there, carried out from front to back, and a message back
//     verbs           a NIC places the bytes between two barriers in any order, also of a dead sender

import Registry
import RemoteMemory
import ResiliencySet

extension SimulatedDevice {
    func perform(_ operation: RemoteOperation) {
        world.messages += 1
        if case .probe = operation.action {
        } else {
            world.note("device \(number) → member \(operation.member): \(operation.brief)")
        }
        if case .read(_, let token) = operation.action, requests[Int(token)].firstAsked == nil {
            requests[Int(token)].firstAsked = operation.member
        }
        probe(operation)
        if case .operation(world.messages, let lands) = world.scenario.script?.cut {
            return failScripted(operation, lands: lands)
        }
        guard let channel = channels[operation.member.number], channel.isOpen else {
            return fail(operation)
        }
        switch transport {
        case .sharedMemory: performInPlace(operation, channel)
        case .message, .verbs: performRemotely(operation, channel)
        }
    }

    /// There is no channel: the outcome comes as an event of its own, as any other.
    private func fail(_ operation: RemoteOperation) {
        world.after(1000, at: .device(self)) { [self] in complete(operation, .failed) }
    }

    /// An operation fails once, before it is carried out or after; its channel is gone with it.
    private func failScripted(_ operation: RemoteOperation, lands: Bool) {
        guard let channel = channels[operation.member.number] else { return fail(operation) }
        if lands, let region = channel.mapping {
            let source = operation.sourceMember.flatMap { channels[$0.number]?.mapping }
            _ = capture(operation, region: region, source: source)(
                OrderedAccess(region: region, budget: StoreBudget()))
        }
        fail(operation)
        if transport != .sharedMemory { reset(channel) }
    }

    // MARK: Shared memory

    private func performInPlace(_ operation: RemoteOperation, _ channel: Channel) {
        guard let region = mapped(channel) else { return fail(operation) }
        if mutation(.completesEarly), operation.isPlacement {
            let late = capture(operation, region: region, source: nil)
            engine.complete(operation.ticket, on: operation.member, .done)
            world.after(50_000) { [self] in _ = late(OrderedAccess(region: region, budget: budget))
            }
            return
        }
        var source: SimulatedRegion?
        if let origin = operation.sourceMember {
            source = channels[origin.number].flatMap { mapped($0) }
            guard source != nil else {
                world.after(1000, at: .device(self)) { [self] in
                    complete(operation, .sourceFailed)
                }
                return
            }
        }
        let access = OrderedAccess(region: region, budget: budget)
        let outcome = capture(operation, region: region, source: source)(access)
        if budget.isSpent { return kill() }
        takeData(operation, region)
        brought(operation, region)?()
        engine.complete(operation.ticket, on: operation.member, outcome)
    }

    /// The memory of a region stays reachable once it is mapped, whatever becomes of its appliance.
    private func mapped(_ channel: Channel) -> SimulatedRegion? { channel.mapping }

    // MARK: Messages and NICs

    private func performRemotely(_ operation: RemoteOperation, _ channel: Channel) {
        guard let origin = operation.sourceMember else {
            return post(operation, channel, copied: nil)
        }
        guard let source = channels[origin.number], source.isOpen else {
            world.after(1000, at: .device(self)) { [self] in complete(operation, .sourceFailed) }
            return
        }
        // The bytes travel by way of this device.
        fetch(operation, from: source) { [self] tags in
            guard engine.awaits(operation.ticket, from: operation.member) else { return }
            guard let tags else { return complete(operation, .sourceFailed) }
            guard channel.isOpen else { return complete(operation, .failed) }
            post(operation, channel, copied: tags)
        }
    }

    private func fetch(
        _ operation: RemoteOperation, from source: Channel, then: @escaping ([UInt64]?) -> Void
    ) {
        let key = source.await(OutstandingOperation(fail: { then(nil) }))
        world.send(source, from: self) { [self] in
            guard let region = source.appliance.regions[source.region],
                region.grants(source, mutation: world.mutation)
            else {
                return world.answer(source, to: self) { source.resolve(key) { then(nil) } }
            }
            let tags = operation.range.map { Array(region.read($0)) } ?? []
            world.answer(source, to: self) { source.resolve(key) { then(tags) } }
        }
    }

    private func post(_ operation: RemoteOperation, _ channel: Channel, copied: [UInt64]?) {
        let key = channel.await(
            OutstandingOperation(fail: { [self] in complete(operation, .failed, by: channel) }))
        if mutation(.completesEarly), operation.isPlacement {
            world.after(2000, at: .device(self)) { [self] in
                channel.resolve(key) { [self] in complete(operation, .done) }
            }
        }
        let carryOut = capture(operation, copied: copied)
        world.send(channel, from: self) { [self] in
            guard let region = channel.appliance.regions[channel.region] else {
                return world.answer(channel, to: self) { [self] in
                    channel.resolve(key) { [self] in complete(operation, .failed, by: channel) }
                }
            }
            guard region.grants(channel, mutation: world.mutation) else {
                return refuse(operation, channel, key)
            }
            switch transport {
            case .sharedMemory, .message:
                let budget = channel.appliance.budget
                let outcome = carryOut(OrderedAccess(region: region, budget: budget))
                if budget.isSpent {
                    channel.appliance.kill()
                    return
                }
                deliver(operation, channel, key, outcome, region)
            case .verbs: place(operation, channel, key, region, carryOut)
            }
        }
    }

    private func refuse(_ operation: RemoteOperation, _ channel: Channel, _ key: Int) {
        // (A new process of the appliance knows nothing of this connection, which proves nothing.)
        guard !channel.isStale else { return reset(channel) }
        world.answer(channel, to: self) { [self] in
            channel.resolve(key) { [self] in
                if operation.isChange { world.probes.hit(.zombieWriteRefused) }
                world.note("device \(number) is refused by \(channel.appliance.name)")
                complete(operation, .fenced, by: channel)
            }
        }
    }

    private func deliver(
        _ operation: RemoteOperation, _ channel: Channel, _ key: Int,
        _ outcome: OperationOutcome, _ region: SimulatedRegion
    ) {
        let isRead =
            if case .read(let range, _) = operation.action { range } else { ByteRange?.none }
        let tags = isRead.map { Array(region.read($0)) }
        let take = brought(operation, region)
        world.answer(channel, to: self) { [self] in
            channel.resolve(key) { [self] in
                if let tags, engine.awaits(operation.ticket, from: operation.member),
                    case .read(_, let token) = operation.action
                {
                    if requests[Int(token)].firstAsked != operation.member {
                        world.probes.hit(.hedgedReadWon)
                    }
                    requests[Int(token)].data = tags
                }
                // (A work area may be somebody else's by now.)
                if engine.awaits(operation.ticket, from: operation.member) { take?() }
                complete(operation, outcome, by: channel)
            }
        }
    }

    /// Places an access phase by phase, in any order between two barriers.
    private func place(
        _ operation: RemoteOperation, _ channel: Channel, _ key: Int, _ region: SimulatedRegion,
        _ carryOut: @escaping (any SimulatedAccess) -> OperationOutcome
    ) {
        let scattered = ScatteredAccess(region: region)
        let outcome = carryOut(scattered)
        let phases = scattered.phases.filter { !$0.isEmpty }
        var start = max(world.now, channel.lastPhase)
        let isSpread = world.network.oneIn(4) || world.scenario.spreadsAlways
        for (index, phase) in phases.enumerated() {
            var stores = phase
            channel.lastPhase = start
            var end = start
            let chunks = isSpread ? world.network.within(1...3) : 1
            if chunks > 1 { stores.shuffle(using: &world.network) }
            let size = (stores.count + chunks - 1) / chunks
            for chunk in 0..<chunks {
                let part = Array(stores.dropFirst(chunk * size).prefix(size))
                guard !part.isEmpty else { continue }
                let time = end + (chunk == 0 ? 0 : UInt64(world.network.within(1...60)) * 1000)
                end = time
                // (What follows a barrier is posted by the sender, who may be dead by then.)
                let needsSender = index > 0 && chunk == 0
                let state = phaseState(key, channel)
                world.at(time, .world) { [self] in
                    if needsSender, life == .dead { state.isStopped = true }
                    guard !state.isStopped, !isLost(channel), channel.appliance.life != .dead,
                        channel.appliance.regions[channel.region] === region,
                        region.grants(channel, mutation: world.mutation)
                    else { return }
                    if life == .dead { world.probes.hit(.landedAfterSenderDied) }
                    for store in part { store.place(in: region) }
                }
            }
            start = end + (index + 1 < phases.count && isSpread ? 10_000 : 0)
        }
        world.at(start, .world) { [self] in
            guard channel.appliance.life != .dead else { return }
            guard region.grants(channel, mutation: world.mutation) else {
                return refuse(operation, channel, key)
            }
            deliver(operation, channel, key, outcome, region)
        }
    }

    /// This device's host went down, and what it had sent did not get there.
    func isLost(_ channel: Channel) -> Bool { life == .dead && world.now > channel.lostAfter }

    private func phaseState(_ key: Int, _ channel: Channel) -> PhaseState {
        if let state = channel.phaseStates[key] { return state }
        let state = PhaseState()
        channel.phaseStates[key] = state
        return state
    }

    /// Every operation that waits for a channel that is gone fails.
    func failOutstanding(_ channel: Channel) {
        for operation in channel.takeOutstanding() { operation.fail() }
        // (Nothing may be on its way: then its members are noticed by their probes.)
    }
}

extension RemoteOperation {
    /// Whether clients' data is in place when it is done.
    fileprivate var isPlacement: Bool {
        switch action {
        case .write, .apply: true
        default: false
        }
    }
}

/// Names a multi-write of zeroes across owners.
struct ZeroKey: Hashable {
    var epoch: Epoch
    var sequence: UInt64
}

/// Whether the rest of an access still comes.
final class PhaseState {
    var isStopped = false
}

/// An operation whose outcome a device waits for.
struct OutstandingOperation {
    var fail: () -> Void
}
