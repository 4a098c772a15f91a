// One volume on its thread: drives the engine, and carries out what it asks for on each member.
//
//     Connection ──submit──▶ Volume ──▶ ResiliencySet ──perform──▶ RegionView     (mapped: done at once)
//          ▲                   ▲            │      └─────post────▶ RegionChannel  (far: done when answered)
//          │                   └── take ◀───┼─────────────────────────┘
//          └────────── answer ◀── reply ────┘          record ──▶ the control thread, the registry
//
// Accesses to shared memory complete at once, so a request usually runs from its first byte to its reply
// within one `drain`, alone or with a few others, on one thread, without a lock, an allocation or a system
// call. What goes to far members is sent at the end of a turn, with one system call each.

import BlockServer
import CLinux
import NBDProtocol
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport

/// What the control side hears from a volume.
typealias DecisionSink = @Sendable (VolumeID, MembershipDecision) -> Void
/// The same of a member whose channel broke.
typealias BreakSink = @Sendable (VolumeID, MemberIndex, ChannelFault) -> Void
/// The same of a twin that is of no more use, by its region.
typealias DropSink = @Sendable (VolumeID, RegionID) -> Void

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
    /// The most requests that wait for their reply; the engine's own limit is a little lower.
    static let requestLimit = 256
    /// The grain of waiting and of idle marks; and of late answers while any is due; in milliseconds.
    private static let usualTick: Int32 = 50
    private static let busyTick: Int32 = 2

    let id: VolumeID
    let name: String
    /// It may grow.
    var size: ByteCount
    var counters = VolumeCounters()
    /// When writes began to be held for a cut, in nanoseconds.
    var heldSince: UInt64 = 0

    /// What its clients may use; of a snapshot, together with those of its volume.
    let budget: Budget
    private let limit: BudgetReference
    var engine: ResiliencySet
    let views = FixedArray<RegionView?>(repeating: nil, count: MemberIndex.count)
    var regions: [MemberIndex: MappedRegion] = [:]
    let links = FixedArray<ChannelReference?>(repeating: nil, count: MemberIndex.count)
    var channels: [MemberIndex: RegionChannel] = [:]
    /// Members that are reached by messages.
    var remoteMembers = MemberSet()
    var transfers: [UInt32: Transfer] = [:]
    var transferNumber: UInt32 = 0
    /// Reads whose data came since it was last looked after.
    let freshReads = FixedArray<UInt32>(repeating: 0, count: Volume.requestLimit)
    var freshReadCount = 0
    let evictAfter: UInt64
    /// How many members the layout has.
    var memberCount: Int
    /// Of a snapshot: what it is a moment of.
    var origin: SnapshotOrigin?
    let patience: UInt64
    /// Which regions members have or had: dirty maps name them.
    var identities: [MemberIndex: RegionID] = [:]
    var allocation: AllocationMap
    /// What an erasure set needs beside; nil for a mirror.
    let stripes: StripeAccess?
    let pending = FixedArray<PendingRequest>(
        repeating: PendingRequest(), count: Volume.requestLimit)
    private let freeTokens = FixedArray<UInt8>(repeating: 0, count: Volume.requestLimit)
    private var freeTokenCount = Volume.requestLimit
    private var gathered = WriteGroup()
    var fetches = FetchGroup()
    let scratch = ScratchBuffer()
    private let decisions: DecisionSink
    let onBreak: BreakSink
    private let onDrop: DropSink
    /// Answered outside of their own turn; to be sent at the end of it.
    private var unsent: [Connection] = []
    private var sending: [Connection] = []
    var released: [RegionChannel] = []
    private var nextTick: UInt64 = 0

    /// A volume whose members are open; it still has to be repaired.
    init(_ setup: VolumeSetup, _ budget: Budget) {
        self.budget = budget
        limit = BudgetReference(budget)
        id = setup.id
        name = setup.name
        size = setup.size
        decisions = setup.decisions
        identities = setup.identities
        stripes = setup.stripes.map { StripeAccess($0) }
        allocation = AllocationMap(deviceSize: stripes == nil ? size : .zero)
        onBreak = setup.breaks
        onDrop = setup.drops
        evictAfter = setup.evictAfter
        memberCount = setup.memberCount ?? setup.active.count
        let isRemote = setup.active.values.contains { $0.isRemote }
        let active = MemberSet(setup.active.keys)
        if let origin = setup.origin, let stripes = setup.stripes {
            self.origin = SnapshotOrigin(id: origin, cut: setup.epoch)
            engine = ResiliencySet(
                reading: stripes, present: active,
                tuning: Tuning.usual(
                    patience: setup.patience, evictAfter: isRemote ? setup.evictAfter : 0,
                    isSnapshot: true))
        } else {
            engine = ResiliencySet(
                size: size, ordering: setup.ordering, epoch: setup.epoch, active: active,
                stripes: setup.stripes,
                tuning: Tuning.usual(
                    patience: setup.patience, evictAfter: isRemote ? setup.evictAfter : 0))
            engine.restoreChanges(since: setup.cuts, saved: setup.changes)
        }
        patience = setup.patience
        engine.setTime(clinux_monotonic_nanoseconds())
        for token in 0..<Self.requestLimit {
            freeTokens[token] = UInt8(Self.requestLimit - 1 - token)
        }
        for (member, memory) in setup.active { hold(memory, as: member) }
    }

    // MARK: Requests

    var hasRoom: Bool { engine.hasRoom && freeTokenCount > 0 && limit.use { $0.admits() } }

    /// Takes a valid request of a connection; `drain` carries it out, together with others.
    @inline(__always)
    func submit(
        _ kind: RequestKind, _ range: ByteRange, payload: UnsafeRawPointer?, cookie: UInt64,
        isWhole: Bool, from connection: Connection
    ) {
        limit.use { $0.charge(kind, range.count) }
        freeTokenCount -= 1
        let token = Int(freeTokens[freeTokenCount])
        unsafe pending[token] = PendingRequest(
            connection: Unmanaged.passUnretained(connection), cookie: cookie, payload: payload,
            range: range, kind: kind, isWhole: isWhole)
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
                    carryOutGathered()
                    carryOut(operation)
                case .encode(let step): encode(step)
                case .decode(let step): decode(step)
                case .reply(let token, let outcome): answer(Int(token), outcome)
                case .record(let decision): decisions(id, decision)
                case .disconnect(let member): cut(member)
                case .dropTwin(let twin): drop(twin)
                }
            }
        } while carryOutGathered()
        if hasRemoteMembers { cutUnused() }
    }

    @inline(__always)
    private func carryOut(_ operation: RemoteOperation) {
        if hasRemoteMembers {
            if let link = links[operation.member.number] { return post(operation, link) }
            if let source = operation.sourceMember, remoteMembers.contains(source) {
                return beginTransfer(operation)
            }
        }
        let outcome = perform(operation)
        engine.complete(operation.ticket, on: operation.member, outcome)
    }

    /// Cuts the channel to a silent member; it is let go of at the end of the turn.
    private func cut(_ member: MemberIndex) {
        links[member.number]?.use { $0.fail(.silent) }
    }

    /// Tells the control side, which frees the region.
    private func drop(_ twin: MemberIndex) {
        if let region = identities[twin] { onDrop(id, region) }
    }

    var hasRemoteMembers: Bool { !remoteMembers.isEmpty }
    /// A snapshot of an erasure set: what is served never changes.
    var isReadOnly: Bool { engine.isFrozen }

    /// Where the bytes of a client's write are.
    @inline(__always)
    func payload(of token: UInt32) -> UnsafeRawPointer? { unsafe pending[Int(token)].payload }

    /// Keeps an operation for `carryOutGathered`; false when it is to be carried out by itself.
    @inline(__always)
    private func gather(_ operation: RemoteOperation) -> Bool {
        if stripes != nil { return gatherFetch(operation) }
        guard case .write(let slot, let intent, let token, false, let marks) = operation.action,
            let view = views[operation.member.number],
            let payload = unsafe pending[Int(token)].payload
        else { return false }
        if gathered.isFull { carryOutGathered() }
        allocation.insert(intent.range)
        // (Marks may come early: they only say that more is missed than is.)
        if !marks.isEmpty { store(marks, of: intent.range, in: view) }
        unsafe gathered.append(
            WriteGroup.Write(
                ticket: operation.ticket, member: operation.member, slot: slot, view: view,
                intent: intent, payload: payload))
        return true
    }

    /// Carries out what was gathered; false when there is nothing.
    @discardableResult
    private func carryOutGathered() -> Bool {
        if let stripes { return carryOutFetches(stripes) }
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
        unsafe pending[token].data = nil
        pending[token].source = nil
        freeTokens[freeTokenCount] = UInt8(token)
        freeTokenCount += 1
        guard let unmanaged = unsafe request.connection else { return }
        unsafe unmanaged._withUnsafeGuaranteedRef { connection in
            let isData = request.kind == .read && outcome == .done
            count(request.kind, request.range.count.bytes, outcome)
            // (Another owner has the set. An error would be final for the client; one that is
            // disconnected instead connects again, and finds that owner.)
            if outcome == .failed, engine.phase == .fenced { connection.leaveUnanswered() }
            if outcome == .failed { cutUnsent() }
            unsafe connection.answer(
                outcome == .done ? .none : .inputOutput, to: request.kind, of: request.range,
                cookie: request.cookie, isWhole: request.isWhole, releasing: request.payload)
            if isData {
                appendData(of: request, to: connection)
            } else if request.kind == .discard, outcome == .done, stripes == nil {
                allocation.remove(request.range)
            }
            if !isData, request.ownsData { unsafe request.data?.deallocate() }
            if connection.wantsSending, connection.claimTurn() { unsent.append(connection) }
        }
    }

    @inline(__always)
    private func appendData(of request: PendingRequest, to connection: Connection) {
        guard !request.isFar else {
            return unsafe connection.appendData(
                request.range, at: request.data, isOwned: request.ownsData)
        }
        if let stripes { return appendStriped(request.range, to: connection, stripes) }
        guard let source = request.source, let view = views[source.number] else {
            preconditionFailure("what was read stays until it is answered")
        }
        connection.appendData(request.range, of: view, &allocation)
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
            pending[Int(token)].isFar = false
            return .done
        default:
            if let stripes, let outcome = perform(operation, view, stripes) { return outcome }
            return performRarely(operation, view)
        }
    }

    // MARK: Turns

    /// Hands out the connections that were answered outside of their turn.
    @inline(__always)
    func forEachUnsent(_ body: (Connection) -> Void) {
        guard !unsent.isEmpty else { return }
        swap(&unsent, &sending)
        for connection in sending { body(connection) }
        sending.removeAll(keepingCapacity: true)
    }

    /// Copies what is on its way from a far member to a client that does not take it now.
    func detach(_ connection: Connection) {
        for member in remoteMembers {
            links[member.number]?.use { unsafe connection.detach(from: $0.received) }
        }
        for channel in released { unsafe connection.detach(from: channel.received) }
    }

    /// Takes the channels that are of no more use; they are closed when nobody holds them any more.
    func takeReleased() -> [RegionChannel] {
        guard !released.isEmpty else { return [] }
        defer { released = [] }
        return released
    }

    /// How long the engine may go without being told the time, in milliseconds.
    ///
    /// Reads that are late are asked of another member, and silent members are given up: that needs a finer
    /// clock than memory that is always there.
    var tickInterval: Int32 {
        guard hasRemoteMembers else { return Self.usualTick }
        return engine.isQuiet
            ? Int32(min(UInt64(Self.usualTick), max(1, evictAfter / 20_000_000))) : Self.busyTick
    }

    /// Tells the time before requests are taken, where their age or number matters.
    @inline(__always)
    func beginTurn() {
        if hasRemoteMembers { engine.setTime(clinux_monotonic_nanoseconds()) }
        limit.use { $0.setTime(clinux_monotonic_nanoseconds()) }
    }

    /// One step of what goes on beside the I/O; false when there is nothing to do.
    func advance(now: UInt64) -> Bool {
        limit.use { $0.setTime(now) }
        if now >= nextTick {
            nextTick = now + UInt64(tickInterval) * 1_000_000
            engine.tick(now)
            // (Mapped memory is always there: what failed on the last copy is tried again.)
            returnMapped()
            if engine.isQuiet { engine.markCompleted() }
            drain()
        }
        let more = engine.advanceBackground()
        if more { drain() }
        flushChannels()
        return more
    }

    /// Marks all multi-writes complete, so that the next owner has nothing to repair.
    func settle() {
        engine.markCompleted()
        drain()
    }
}
