// One volume on its thread: drives the engine, and carries out what it asks for in mapped memory.
//
//     Connection ──submit──▶ Volume ──▶ ResiliencySet ──perform──▶ RegionView (each member)
//          ▲                                │
//          └────────── answer ◀── reply ────┘          record ──▶ the control thread, the registry
//
// Accesses to shared memory complete at once, so a request usually runs from its first byte to its reply
// within one `drain`, alone or with a few others, on one thread, without a lock, an allocation or a system
// call.

import BlockServer
import CLinux
import NBDProtocol
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport

/// What the control side hears from a volume.
typealias DecisionSink = @Sendable (VolumeID, MembershipDecision) -> Void

/// What the clients of a volume asked for since it was taken over.
package struct VolumeCounters: Hashable, Sendable {
    package var reads = 0
    package var writes = 0
    package var flushes = 0
    package var discards = 0
    package var readBytes: UInt64 = 0
    package var writtenBytes: UInt64 = 0
    package var errors = 0
}

/// The data side of one volume; lives on its data thread.
@safe final class Volume {
    /// Somebody waits for this reply.
    @safe private struct PendingRequest: BitwiseCopyable {
        var connection: Unmanaged<Connection>?
        var cookie: UInt64 = 0
        var payload: UnsafeRawPointer?
        var range = ByteRange(start: ByteOffset(0), count: .zero)
        var kind = RequestKind.read
        /// The member that a read was carried out on.
        var source = MemberIndex(0)
    }

    /// The most requests that wait for their reply; the engine's own limit is a little lower.
    private static let requestLimit = 256

    let id: VolumeID
    let name: String
    let size: ByteCount
    var counters = VolumeCounters()
    /// When writes began to be held for a cut, in nanoseconds.
    private(set) var heldSince: UInt64 = 0

    var engine: ResiliencySet
    let views = FixedArray<RegionView?>(repeating: nil, count: MemberIndex.limit)
    private var regions: [MemberIndex: MappedRegion] = [:]
    /// Which regions members have or had: dirty maps name them.
    var identities: [MemberIndex: RegionID] = [:]
    var allocation: AllocationMap
    private let pending = FixedArray<PendingRequest>(
        repeating: PendingRequest(), count: Volume.requestLimit)
    private let freeTokens = FixedArray<UInt8>(repeating: 0, count: Volume.requestLimit)
    private var freeTokenCount = Volume.requestLimit
    private var gathered = WriteGroup()
    let scratch = ScratchBuffer()
    private let decisions: DecisionSink
    /// Answered outside of their own turn; to be sent at the end of it.
    private(set) var unsent: [Connection] = []
    private var nextTick: UInt64 = 0

    /// A volume whose members are mapped; it still has to be repaired.
    init(_ setup: VolumeSetup) {
        id = setup.id
        name = setup.name
        size = setup.size
        decisions = setup.decisions
        identities = setup.identities
        allocation = AllocationMap(deviceSize: size)
        var tuning = Tuning()
        tuning.patience = setup.patience
        engine = ResiliencySet(
            size: size, ordering: setup.ordering, epoch: setup.epoch,
            active: MemberSet(setup.active.keys), tuning: tuning)
        for token in 0..<Self.requestLimit {
            freeTokens[token] = UInt8(Self.requestLimit - 1 - token)
        }
        for (member, region) in setup.active { map(region, as: member) }
    }

    /// Finishes what the previous owner left half-done, its writes and its rebuilds; returns how many
    /// bytes of writes had to be settled.
    func repair(rebuilding: [MemberIndex: MappedRegion]) -> ByteCount {
        for (member, region) in regions {
            region.view.replayRedo()
            for (slot, content) in intents(in: region.view) {
                engine.foundIntent(content, slot: slot, on: member)
            }
            for other in rebuilding.keys {
                guard let identity = identities[other],
                    let words = region.view.loadMap(of: other, region: identity)
                else { continue }
                engine.foundMap(words, of: other)
            }
        }
        let settled = engine.repair()
        drain()
        for (member, region) in rebuilding {
            map(region, as: member)
            engine.add(
                member, epoch: engine.epoch, keepsData: true,
                intents: intents(in: region.view))
            drain()
        }
        return settled
    }

    private func intents(in view: RegionView) -> [(slot: UInt8, content: IntentSlot)] {
        (0..<UInt8(RegionLayout.intentSlotCount)).compactMap { slot in
            view.intentSlot(slot).map { (slot, $0) }
        }
    }

    private func map(_ region: MappedRegion, as member: MemberIndex) {
        regions[member] = region
        views[member.number] = region.view
    }

    // MARK: Requests

    var hasRoom: Bool { engine.hasRoom && freeTokenCount > 0 }

    /// Takes a valid request of a connection; `drain` carries it out, together with others.
    @inline(__always)
    func submit(
        _ kind: RequestKind, _ range: ByteRange, payload: UnsafeRawPointer?, cookie: UInt64,
        from connection: Connection
    ) {
        freeTokenCount -= 1
        let token = Int(freeTokens[freeTokenCount])
        unsafe pending[token] = PendingRequest(
            connection: Unmanaged.passUnretained(connection), cookie: cookie, payload: payload,
            range: range, kind: kind)
        engine.submit(kind, range, token: UInt32(token))
    }

    /// Carries out all that was set in motion.
    func drain() {
        repeat {
            while let effect = engine.nextEffect() {
                switch effect {
                case .perform(let operation):
                    if gather(operation) { continue }
                    // On each member, what was asked for first is done first.
                    carryOutWrites()
                    let outcome = perform(operation)
                    engine.complete(operation.ticket, on: operation.member, outcome)
                case .reply(let token, let outcome): answer(Int(token), outcome)
                case .record(let decision): decisions(id, decision)
                case .disconnect: break
                }
            }
        } while carryOutWrites()
    }

    /// Keeps an operation for `carryOutWrites`; false when it is something else than a usual write.
    @inline(__always)
    private func gather(_ operation: RemoteOperation) -> Bool {
        guard case .write(let slot, let intent, let token, false, let marks) = operation.action,
            let view = views[operation.member.number],
            let payload = unsafe pending[Int(token)].payload
        else { return false }
        if gathered.isFull { carryOutWrites() }
        allocation.insert(intent.range)
        // (Marks may come early: they only say that more is missed than is.)
        if !marks.isEmpty { store(marks, of: intent.range, in: view) }
        unsafe gathered.append(
            WriteGroup.Write(
                ticket: operation.ticket, member: operation.member, slot: slot, view: view,
                intent: intent, payload: payload))
        return true
    }

    /// Carries out the writes that were gathered; false when there are none.
    @discardableResult
    private func carryOutWrites() -> Bool {
        guard !gathered.isEmpty else { return false }
        gathered.carryOut()
        for index in 0..<gathered.count {
            let (ticket, member) = gathered.operation(index)
            engine.complete(ticket, on: member, .done)
        }
        gathered.removeAll()
        return true
    }

    @inline(__always)
    private func answer(_ token: Int, _ outcome: RequestOutcome) {
        let request = pending[token]
        freeTokens[freeTokenCount] = UInt8(token)
        freeTokenCount += 1
        guard let unmanaged = unsafe request.connection else { return }
        unsafe unmanaged._withUnsafeGuaranteedRef { connection in
            let isData = request.kind == .read && outcome == .done
            count(request.kind, request.range.count.bytes, outcome)
            // (Another owner has the set. An error would be final for the client; one that is
            // disconnected instead connects again, and finds that owner.)
            if outcome == .failed, engine.phase == .fenced { connection.leaveUnanswered() }
            unsafe connection.answer(
                outcome == .done ? .none : .inputOutput, to: request.kind, of: request.range,
                cookie: request.cookie, releasing: request.payload != nil)
            if isData {
                appendData(request.range, from: request.source, to: connection)
            } else if request.kind == .discard, outcome == .done {
                allocation.remove(request.range)
            }
            if connection.wantsSending { unsent.append(connection) }
        }
    }

    @inline(__always)
    private func appendData(_ range: ByteRange, from source: MemberIndex, to connection: Connection)
    {
        guard let view = views[source.number] else { return }
        connection.appendData(range, of: view, &allocation)
    }

    @inline(__always)
    private func count(_ kind: RequestKind, _ bytes: UInt64, _ outcome: RequestOutcome) {
        if outcome == .failed { counters.errors += 1 }
        switch kind {
        case .read:
            counters.reads += 1
            counters.readBytes += bytes
        case .write:
            counters.writes += 1
            counters.writtenBytes += bytes
        case .zero, .discard: counters.discards += 1
        }
    }

    // MARK: Client-side access

    @inline(__always)
    private func perform(_ operation: RemoteOperation) -> OperationOutcome {
        guard let view = views[operation.member.number] else { return .failed }
        switch operation.action {
        case .write(let slot, let intent, let token, let isGuarded, let marks):
            // (All others were gathered.)
            guard isGuarded, let payload = unsafe pending[Int(token)].payload else {
                return .failed
            }
            allocation.insert(intent.range)
            if !marks.isEmpty { store(marks, of: intent.range, in: view) }
            unsafe view.writeGuarded(slot: slot, intent, from: payload)
            return .done
        case .read(_, let token):
            pending[Int(token)].source = operation.member
            return .done
        default: return performRarely(operation, view)
        }
    }

    // MARK: Turns

    /// Takes the connections that were answered outside of their turn.
    func takeUnsent() -> [Connection] {
        defer { unsent.removeAll(keepingCapacity: true) }
        return unsent
    }

    /// One step of what goes on beside the I/O; false when there is nothing to do.
    func advance(now: UInt64) -> Bool {
        if now >= nextTick {
            nextTick = now + 50_000_000
            engine.tick(now)
            // (Mapped memory is always there: what failed on the last copy is tried again.)
            if let last = engine.absent.first, let view = views[last.number] {
                engine.memberReturned(last, intents: intents(in: view))
            }
            if engine.isQuiet { engine.markCompleted() }
            drain()
        }
        let more = engine.advanceBackground()
        if more { drain() }
        return more
    }

    /// Marks all multi-writes complete, so that the next owner has nothing to repair.
    func settle() {
        engine.markCompleted()
        drain()
    }

    // MARK: Membership, as the control side decides

    var epoch: Epoch { engine.epoch }
    var active: MemberSet { engine.active }
    var isQuiet: Bool { engine.isQuiet }

    func standing(of member: MemberIndex) -> RebuildStanding? { engine.rebuildStanding(of: member) }

    func add(
        _ region: MappedRegion, identity: RegionID, as member: MemberIndex, epoch: Epoch
    ) {
        identities[member] = identity
        map(region, as: member)
        engine.add(member, epoch: epoch)
        drain()
    }

    /// Returns whether the member is kept all the same, as the last copy.
    func lose(_ member: MemberIndex) -> Bool {
        engine.memberLost(member, isAccessible: true)
        drain()
        return engine.isForsaken(member)
    }

    func recorded(_ decision: MembershipDecision, epoch: Epoch) {
        engine.recorded(decision, epoch: epoch)
        drain()
    }

    func refuseCut() {
        engine.cutRefused()
        drain()
    }

    func beginCut(of member: MemberIndex) -> Bool {
        heldSince = clinux_monotonic_nanoseconds()
        guard engine.beginCut(of: member) else { return false }
        drain()
        return true
    }

    func isCutting(_ member: MemberIndex) -> Bool { engine.isCutting(member) }

    /// Lets go of a member's memory; nothing may be on its way out from it.
    func unmap(_ member: MemberIndex, connections: some Sequence<Connection>) {
        guard let region = regions.removeValue(forKey: member) else { return }
        views[member.number] = nil
        for connection in connections { connection.detach(from: region) }
    }

    func unmapAll(connections: [Connection]) {
        for member in Array(regions.keys) { unmap(member, connections: connections) }
    }

    func fence() {
        engine.fence()
        drain()
    }

    // MARK: Rebuild and scrub

    var rebuildLimit: ByteCount? { engine.rebuildLimit }
    func limitRebuilds(to rate: ByteCount?) { engine.limitRebuilds(to: rate) }

    func beginScrub() { engine.beginScrub() }
    var isScrubbing: Bool { engine.isScrubbing }
    var scrubStanding: ScrubStanding { engine.scrubStanding }
}
