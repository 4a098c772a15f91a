// A snapshot being served: the memory of one region, which never changes any more.

import CLinux
import NBDProtocol
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport

/// A snapshot on its data thread.
@safe final class Snapshot {
    /// Somebody waits for this reply.
    @safe private struct PendingRead: BitwiseCopyable {
        var connection: Unmanaged<Connection>?
        var cookie: UInt64 = 0
        var range = ByteRange(start: ByteOffset(0), count: .zero)
        /// The data is to be one chunk.
        var isWhole = false
    }

    /// The most reads of a far region under way.
    private static let readLimit = 256

    let name: String
    let size: ByteCount
    var origin: SnapshotOrigin
    /// What its clients may use together with those of its volume.
    let budget: Budget
    private enum Memory {
        case mapped(MappedRegion)
        case far(RegionChannel)

        // (A visit is left behind: the header it holds is of no interest here, and large.)
        init(_ memory: MemberMemory) {
            self =
                switch memory {
                case .mapped(let region): .mapped(region)
                case .remote(let visit): .far(visit.channel)
                }
        }
    }

    private var memory: Memory
    /// How long reads wait for an appliance that is out of reach, in nanoseconds.
    private let patience: UInt64
    private var allocation: AllocationMap
    private let pending = FixedArray<PendingRead>(repeating: PendingRead(), count: readLimit)
    private var freeSlots = Array((0..<UInt16(readLimit)).reversed())
    /// Reads that are asked again when the region is open again.
    private var waiting: [UInt16] = []
    private var unsent: [Connection] = []
    /// Since when its channel has been broken.
    private var brokenSince: UInt64?

    init(
        name: String, size: ByteCount, of origin: SnapshotOrigin, sharing budget: Budget,
        memory: MemberMemory, patience: UInt64
    ) {
        self.name = name
        self.size = size
        self.origin = origin
        self.budget = budget
        self.memory = Memory(memory)
        self.patience = patience
        allocation = AllocationMap(deviceSize: size)
    }

    /// The channel to watch, if there is one.
    var channel: RegionChannel? {
        if case .far(let channel) = memory, !isBroken { channel } else { nil }
    }

    /// It is to be opened again.
    var isBroken: Bool { brokenSince != nil }

    var hasRoom: Bool { !freeSlots.isEmpty && budget.admits() }

    /// Tells the time before requests are taken, where their number matters.
    func beginTurn() { budget.setTime(clinux_monotonic_nanoseconds()) }

    /// Answers a read, at once or when the far appliance does.
    func read(
        _ range: ByteRange, cookie: UInt64, isWhole: Bool, for connection: Connection
    ) {
        budget.charge(.read, range.count)
        switch memory {
        case .mapped(let region):
            unsafe connection.answer(
                .none, to: .read, of: range, cookie: cookie, isWhole: isWhole)
            connection.appendData(range, of: region.view, &allocation)
        case .far:
            guard let slot = freeSlots.popLast() else {
                return unsafe connection.answer(
                    .inputOutput, to: .read, of: range, cookie: cookie)
            }
            unsafe pending[Int(slot)] = PendingRead(
                connection: Unmanaged.passUnretained(connection), cookie: cookie, range: range,
                isWhole: isWhole)
            ask(slot)
        }
    }

    /// Which extents of `range` are allocated, from its start on.
    func allocation(of range: ByteRange, atMost limit: Int) -> [StatusExtent] {
        let view: RegionView? = if case .mapped(let region) = memory { region.view } else { nil }
        return allocation.extents(of: range, in: view, atMost: limit)
    }

    private func ask(_ slot: UInt16) {
        guard let channel else { return waiting.append(slot) }
        channel.read(
            pending[Int(slot)].range,
            PendingAccess(cookie: UInt64(slot), purpose: AccessPurpose.read))
    }

    /// Goes on with its region opened anew.
    func adopt(_ memory: MemberMemory) {
        self.memory = Memory(memory)
        brokenSince = nil
        let slots = waiting
        waiting = []
        for slot in slots { ask(slot) }
    }

    /// Receives what the far appliance answered.
    func receive() {
        guard let channel else { return }
        if channel.isBlocked { channel.flush() }
        channel.receive()
        takeCompletions(channel)
    }

    private func takeCompletions(_ channel: RegionChannel) {
        while let completion = channel.nextCompletion() {
            let slot = UInt16(truncatingIfNeeded: completion.access.cookie)
            guard let status = completion.status else {
                waiting.append(slot)
                continue
            }
            answer(slot, status == .done ? completion : nil)
        }
    }

    private func answer(_ slot: UInt16, _ completion: AccessCompletion?) {
        let read = pending[Int(slot)]
        freeSlots.append(slot)
        guard let unmanaged = unsafe read.connection else { return }
        unsafe unmanaged._withUnsafeGuaranteedRef { connection in
            unsafe connection.answer(
                completion == nil ? .inputOutput : .none, to: .read, of: read.range,
                cookie: read.cookie, isWhole: read.isWhole)
            if let completion {
                unsafe connection.appendData(
                    read.range,
                    at: completion.content == .bytes ? completion.bytes.baseAddress : nil,
                    isOwned: false)
            }
            if connection.wantsSending, connection.claimTurn() { unsent.append(connection) }
        }
    }

    /// Sends what is queued; returns a channel that broke, which is to be forgotten.
    func flush(now: UInt64) -> RegionChannel? {
        budget.setTime(now)
        if let since = brokenSince, now > since + patience { failWaiting() }
        guard let channel else { return nil }
        if channel.hasUnsent, !channel.isBlocked { channel.flush() }
        guard channel.fault != nil else { return nil }
        brokenSince = now
        takeCompletions(channel)
        return channel
    }

    /// Answers every read that waits: nobody will.
    private func failWaiting() {
        let slots = waiting
        waiting = []
        for slot in slots { answer(slot, nil) }
    }

    /// Answers everybody, before it is let go of.
    func end() {
        if let channel {
            channel.fail(.dropped)
            takeCompletions(channel)
        }
        failWaiting()
    }

    /// Copies what is on its way from the region to a client that does not take it now; also when the channel
    /// broke meanwhile.
    func detach(_ connection: Connection) {
        guard case .far(let channel) = memory else { return }
        unsafe connection.detach(from: channel.received)
    }

    /// Hands out the connections that were answered outside of their turn.
    func forEachUnsent(_ body: (Connection) -> Void) {
        guard !unsent.isEmpty else { return }
        let answered = unsent
        unsent = []
        for connection in answered { body(connection) }
    }
}
