// A snapshot being served: the memory of one region, which never changes any more.

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
    }

    /// The most reads of a far region under way.
    private static let readLimit = 256

    let name: String
    let size: ByteCount
    private let memory: MemberMemory
    private var allocation: AllocationMap
    private let pending = FixedArray<PendingRead>(repeating: PendingRead(), count: readLimit)
    private var freeSlots = Array((0..<UInt16(readLimit)).reversed())
    private var unsent: [Connection] = []
    /// Its channel broke: it is to be opened again.
    private(set) var isBroken = false

    init(name: String, size: ByteCount, memory: MemberMemory) {
        self.name = name
        self.size = size
        self.memory = memory
        allocation = AllocationMap(deviceSize: size)
    }

    /// The channel to watch, if there is one.
    var channel: RegionChannel? {
        if case .remote(let visit) = memory { visit.channel } else { nil }
    }

    var hasRoom: Bool { !freeSlots.isEmpty }

    /// Answers a read, at once or when the far appliance does.
    func read(_ range: ByteRange, cookie: UInt64, for connection: Connection) {
        switch memory {
        case .mapped(let region):
            unsafe connection.answer(
                .none, to: .read, of: range, cookie: cookie)
            connection.appendData(range, of: region.view, &allocation)
        case .remote(let visit):
            guard !isBroken, let slot = freeSlots.popLast() else {
                return unsafe connection.answer(
                    .inputOutput, to: .read, of: range, cookie: cookie)
            }
            unsafe pending[Int(slot)] = PendingRead(
                connection: Unmanaged.passUnretained(connection), cookie: cookie, range: range)
            visit.channel.read(
                range, PendingAccess(cookie: UInt64(slot), purpose: AccessPurpose.read))
        }
    }

    /// Receives what the far appliance answered.
    func receive() {
        guard let channel else { return }
        channel.receive()
        takeCompletions(channel)
    }

    private func takeCompletions(_ channel: RegionChannel) {
        while let completion = channel.nextCompletion() {
            let slot = Int(completion.access.cookie)
            let read = pending[slot]
            freeSlots.append(UInt16(slot))
            guard let unmanaged = unsafe read.connection else { continue }
            unsafe unmanaged._withUnsafeGuaranteedRef { connection in
                let isDone = completion.status == .done
                unsafe connection.answer(
                    isDone ? .none : .inputOutput, to: .read, of: read.range, cookie: read.cookie)
                if isDone {
                    unsafe connection.appendData(
                        read.range,
                        at: completion.content == .bytes ? completion.bytes.baseAddress : nil,
                        isOwned: false)
                }
                if connection.wantsSending, connection.claimTurn() { unsent.append(connection) }
            }
        }
    }

    /// Sends what is queued; answers everybody when the channel broke.
    func flush() {
        guard let channel, !isBroken else { return }
        if channel.hasUnsent, !channel.isBlocked { channel.flush() }
        guard channel.fault != nil else { return }
        isBroken = true
        takeCompletions(channel)
    }

    /// Hands out the connections that were answered outside of their turn.
    func forEachUnsent(_ body: (Connection) -> Void) {
        guard !unsent.isEmpty else { return }
        let answered = unsent
        unsent = []
        for connection in answered { body(connection) }
    }
}
