// Client-side access to members that are reached by messages: what the engine asks for goes out, and what
// comes back is told to the engine.
//
//     perform ──▶ post ──▶ RegionChannel ─ … ─▶ appliance ─ … ─▶ nextCompletion ──▶ take ──▶ engine
//
// The data of a read stays in the channel's receive buffer and is sent to the client from there; what the
// client does not take in the same turn is copied aside.

import CLinux
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport

/// What a reply is for; the cookie of a request says which.
enum AccessPurpose {
    /// The cookie is a ticket.
    static let operation: UInt8 = 1
    /// The cookie is a ticket and the token of a client's request.
    static let read: UInt8 = 2
    /// The cookie is the number of a transfer, whose data comes.
    static let fetch: UInt8 = 3
    /// The cookie is the number of a transfer, whose data was stored.
    static let stored: UInt8 = 4
    /// Nobody waits.
    static let nothing: UInt8 = 5

    @inline(__always)
    static func cookie(_ ticket: OperationTicket, _ token: UInt32 = 0) -> UInt64 {
        UInt64(ticket.entry) | UInt64(ticket.generation) << 16 | UInt64(token) << 32
    }

    @inline(__always)
    static func ticket(_ cookie: UInt64) -> OperationTicket {
        OperationTicket(
            entry: UInt16(truncatingIfNeeded: cookie),
            generation: UInt16(truncatingIfNeeded: cookie >> 16))
    }
}

extension Volume {
    /// How many requests a member may owe an answer to before it is told no more of how rebuilds go: what
    /// nobody waits for must not fill the channel of an appliance that hangs.
    private static let mostUnheard = RegionChannel.mostPending / 2

    // MARK: Out

    /// Sends what the engine asks of a member; it is completed when the reply comes.
    @inline(__always)
    func post(_ operation: RemoteOperation, _ link: ChannelReference) {
        let ticket = operation.ticket
        switch operation.action {
        case .write(let slot, let intent, let token, let isGuarded, let marks):
            allocation.insert(intent.range)
            guard let payload = unsafe payload(of: token) else {
                return engine.complete(ticket, on: operation.member, .failed)
            }
            link.use { channel in
                record(marks, of: intent.range, on: channel)
                let bytes = unsafe RemotePayload(payload)
                if isGuarded {
                    channel.recorder.writeGuarded(slot: slot, intent, from: bytes)
                } else {
                    channel.recorder.write(slot: slot, intent, from: bytes)
                }
                channel.commitWrite(
                    PendingAccess(
                        cookie: AccessPurpose.cookie(ticket), purpose: AccessPurpose.operation))
            }
        case .read(let range, let token):
            link.use { channel in
                channel.read(
                    range,
                    PendingAccess(
                        cookie: AccessPurpose.cookie(ticket, token), purpose: AccessPurpose.read))
            }
        default: link.use { postRarely(operation, $0) }
        }
    }

    private func postRarely(_ operation: RemoteOperation, _ channel: RegionChannel) {
        let pending = PendingAccess(
            cookie: AccessPurpose.cookie(operation.ticket), purpose: AccessPurpose.operation)
        switch operation.action {
        case .write, .read: preconditionFailure("posted by the caller")
        case .zero(
            let slot, let intent, let step, let keepAllocated, let first, let last, let marks):
            if first {
                record(marks, of: intent.range, on: channel)
                channel.recorder.announce(slot: slot, intent)
            }
            channel.recordZeroes(step, keepAllocated: keepAllocated)
            if last { channel.recorder.land(slot: slot, intent) }
            channel.commitWrite(pending)
        case .copy, .restore, .withdraw, .compare: beginTransfer(operation)
        case .complete(let slot, let sequence):
            channel.recorder.complete(slot: slot, sequence: sequence)
            channel.commitWrite(PendingAccess(purpose: AccessPurpose.nothing))
        case .storeMap(let lost):
            if let identity = identities[lost] {
                channel.recorder.storeMap(
                    of: lost, region: identity, engine.mapContent(of: lost))
            }
            channel.commitWrite(pending)
        case .storeMapWord(let lost, let word):
            // (It tells what is missed no more. What is left out, a successor copies once more.)
            guard channel.pendingCount < Self.mostUnheard else { return }
            channel.recorder.storeMapWord(
                engine.mapWord(Int(word), of: lost), Int(word), of: lost)
            channel.commitWrite(PendingAccess(purpose: AccessPurpose.nothing))
        case .probe: channel.probe(pending)
        case .gather, .fetch, .redo, .apply, .discard, .rebuild, .fold, .verify:
            postStriped(operation, channel)
        }
    }

    /// Records what is new in the dirty maps of `lost`, before the data that makes it true.
    @inline(__always)
    func record(_ lost: MemberSet, of range: ByteRange, on channel: RegionChannel) {
        guard !lost.isEmpty else { return }
        for member in lost {
            for word in engine.mapWords(of: range) {
                channel.recorder.storeMapWord(engine.mapWord(word, of: member), word, of: member)
            }
        }
    }

    /// Cuts the channels that have not sent all they were given.
    ///
    /// A request was given up: it had waited too long for other members, or another owner has the set. What of it was
    /// given to these may stand there still, and is about to be memory that holds something else.
    func cutUnsent() {
        for member in remoteMembers {
            links[member.number]?.use { if $0.hasUnsent { $0.fail(.dropped) } }
        }
    }

    // MARK: In

    /// Receives what a member's appliance answered, and tells the engine.
    func receive(from member: MemberIndex) {
        guard let link = links[member.number] else { return }
        engine.setTime(clinux_monotonic_nanoseconds())
        link.use { channel in
            // (Why it is readable now may be that it takes more: under TLS that cannot be told apart.)
            if channel.isBlocked { channel.flush() }
            channel.receive()
            takeCompletions(of: member, channel)
        }
        drain()
        keepUnansweredReads()
    }

    /// Tells the engine of every request that is answered, or that nobody answers any more.
    func takeCompletions(of member: MemberIndex, _ channel: RegionChannel) {
        while let completion = channel.nextCompletion() {
            take(completion, of: member, channel)
        }
    }

    @inline(__always)
    private func take(
        _ completion: AccessCompletion, of member: MemberIndex, _ channel: RegionChannel
    ) {
        let cookie = completion.access.cookie
        switch completion.access.purpose {
        case AccessPurpose.operation:
            engine.complete(AccessPurpose.ticket(cookie), on: member, completion.outcome)
        case AccessPurpose.read:
            let ticket = AccessPurpose.ticket(cookie)
            guard engine.awaits(ticket, from: member) else { return }
            if completion.outcome == .done {
                take(completion, for: UInt32(truncatingIfNeeded: cookie >> 32))
            }
            engine.complete(ticket, on: member, completion.outcome)
        case AccessPurpose.fetch:
            fetched(UInt32(truncatingIfNeeded: cookie), completion, from: member)
        case AccessPurpose.stored: stored(UInt32(truncatingIfNeeded: cookie), completion)
        default:
            guard !takeStriped(completion, of: member) else { break }
            // (What nobody waits for is not refused alone: the member is of no use then.)
            if let status = completion.status, status != .done { channel.fail(.refused(status)) }
        }
        if completion.outcome == .fenced { engine.fence() }
    }

    // MARK: Turns

    /// Sends what is queued for every member; members whose channel broke are told to the engine.
    func flushChannels() {
        guard hasRemoteMembers else { return }
        for member in remoteMembers {
            guard let link = links[member.number] else { continue }
            let isBroken = link.use { channel in
                if channel.hasUnsent, !channel.isBlocked { channel.flush() }
                return channel.fault != nil
            }
            if isBroken { channelBroke(member) }
        }
    }

    /// Lets go of a channel that is of no more use; what waited for it fails.
    func channelBroke(_ member: MemberIndex) {
        guard let link = links[member.number] else { return }
        links[member.number] = nil
        let fault = link.use { channel in
            channel.fail(.dropped)
            takeCompletions(of: member, channel)
            return channel.fault
        }
        dropRemote(member)
        onBreak(id, member, fault ?? .dropped)
        drain()
    }

    /// Cuts the channels of members that the engine does not use any more: what is on its way there must not
    /// land later, and what waits to be sent may be gone soon.
    ///
    /// (All of a set that another owner has: its requests were answered, so their payloads are gone, and a
    /// member that the new owner has not opened yet would still take what stands there now.)
    func cutUnused() {
        let used = engine.phase == .fenced ? MemberSet() : engine.active.union(engine.rebuilding)
        let unused = remoteMembers.subtracting(used)
        for member in unused { channelBroke(member) }
    }
}

extension AccessCompletion {
    /// What the engine is told.
    @inline(__always)
    var outcome: OperationOutcome {
        switch status {
        case .done: .done
        case .fenced: .fenced
        case .noSuchRegion, .refused, .failed, .malformed, nil: .failed
        }
    }
}
