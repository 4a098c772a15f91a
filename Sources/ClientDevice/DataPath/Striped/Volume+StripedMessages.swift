// Client-side access of an erasure set to members that are reached by messages.
//
//     gather    a read for each chunk ──▶ the request's buffer
//     fetch     one read ──▶ the work area
//     redo      new bytes and record, one write
//     apply     the appliance copies from the redo slot, and sets the landed mark: the bytes travel once
//
// Every request of an operation is answered; the last answer completes it.

import Glibc
import RemoteMemory
import ResiliencySet
import TCPTransport

extension AccessPurpose {
    /// The cookie is a ticket, a work area and where in it: a window comes.
    static let window: UInt8 = 6
    /// The cookie is a ticket, the token of a client's read and which of its chunks: that comes.
    static let chunk: UInt8 = 7
    /// The same of the last chunk that a member has of it.
    static let lastChunk: UInt8 = 8

    /// A ticket with a small number (of a work area or a request) and a place.
    @inline(__always)
    static func cookie(_ ticket: OperationTicket, _ number: UInt8, at place: UInt64) -> UInt64 {
        precondition(place < 1 << 24, "a place fits its 24 bits")
        return cookie(ticket) | UInt64(number) << 32 | place << 40
    }

    @inline(__always)
    static func number(_ cookie: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: cookie >> 32) }
    @inline(__always)
    static func place(_ cookie: UInt64) -> UInt64 { cookie >> 40 }
}

extension Volume {
    // MARK: Out

    /// Sends what the engine asks of a member of an erasure set.
    func postStriped(_ operation: RemoteOperation, _ channel: RegionChannel) {
        guard let stripes else {
            return engine.complete(operation.ticket, on: operation.member, .failed)
        }
        let member = operation.member
        let pending = PendingAccess(
            cookie: AccessPurpose.cookie(operation.ticket), purpose: AccessPurpose.operation)
        switch operation.action {
        case .gather(let range, let token):
            requestChunks(of: range, token, operation, channel, stripes)
        case .fetch(let span, let work):
            let cookie = AccessPurpose.cookie(
                operation.ticket, work, at: stripes.worker.column(of: span.start).bytes)
            channel.read(span, PendingAccess(cookie: cookie, purpose: AccessPurpose.window))
        case .redo(let slot, let intent, let token, let marks):
            record(marks, of: intent.range, on: channel)
            record(newBytesOf: intent, slot, token, on: member, channel, stripes)
            channel.recorder.announce(slot: slot, intent)
            channel.commitWrite(pending)
        case .apply(let slot, let intent, let keepAllocated):
            let span = stripes.geometry.span(of: intent.range, on: member)
            switch intent.kind {
            case .write:
                channel.recordCopy(
                    of: stripes.geometry.redoPlace(slot, count: span.count), to: span)
            case .zero: channel.recordZeroes(span, keepAllocated: keepAllocated)
            }
            channel.recorder.land(slot: slot, intent)
            channel.commitWrite(pending)
        case .discard(let slot):
            channel.recorder.withdraw(slot: slot)
            channel.commitWrite(pending)
        case .rebuild(let window, let work, let sources):
            stripes.worker.rebuild(window, member, in: work, from: sources)
            let bytes = unsafe stripes.worker.place(of: window, on: member, in: work)
            if unsafe Self.isZero(bytes, Int(window.count.bytes)) {
                channel.recordZeroes(window, keepAllocated: false)
            } else {
                unsafe channel.recorder.storeData(
                    RemotePayload(bytes), skipping: .zero, at: window)
            }
            channel.commitWrite(pending)
        case .fold(let window, let work):
            requestFolds(of: window, work, operation, channel, stripes)
        case .verify(_, let work, let members):
            let agree = stripes.worker.foldsBelongTogether(members, in: work)
            engine.complete(operation.ticket, on: member, agree ? .done : .different)
        default: preconditionFailure("posted by the caller")
        }
    }

    private func record(
        newBytesOf intent: Intent, _ slot: UInt8, _ token: UInt32, on member: MemberIndex,
        _ channel: RegionChannel, _ stripes: StripeAccess
    ) {
        let place = stripes.geometry.redoPlace(slot, count: stripes.geometry.redoSlotSize)
        unsafe stripes.worker.forEachNewPiece(
            of: intent, in: slot, on: member, from: bytes(of: token)
        ) { bytes, count, offset in
            unsafe channel.recorder.storeData(
                RemotePayload(bytes), skipping: .zero,
                at: ByteRange(start: place.start + offset, count: count))
        }
    }

    private func requestChunks(
        of range: ByteRange, _ token: UInt32, _ operation: RemoteOperation,
        _ channel: RegionChannel, _ stripes: StripeAccess
    ) {
        let chunk = stripes.geometry.chunk.bytes
        let first = range.start.bytes / chunk
        if range.end.bytes <= (first + 1) * chunk, !pending[Int(token)].ownsData {
            // (All of it comes at once, and is sent from where it is received.)
            stripes.geometry.forEachPiece(of: range, on: operation.member) { _, span in
                channel.read(
                    span,
                    PendingAccess(
                        cookie: AccessPurpose.cookie(operation.ticket, token),
                        purpose: AccessPurpose.read))
            }
            return
        }
        var last: (place: UInt64, span: ByteRange)?
        func ask(_ place: UInt64, _ span: ByteRange, _ purpose: UInt8) {
            let cookie = AccessPurpose.cookie(
                operation.ticket, UInt8(truncatingIfNeeded: token), at: place)
            channel.read(span, PendingAccess(cookie: cookie, purpose: purpose))
        }
        stripes.geometry.forEachPiece(of: range, on: operation.member) { piece, span in
            if let last { ask(last.place, last.span, AccessPurpose.chunk) }
            last = (piece.start.bytes / chunk - first, span)
        }
        guard let last else { preconditionFailure("who is asked holds some of it") }
        ask(last.place, last.span, AccessPurpose.lastChunk)
    }

    // MARK: In

    /// Takes the answer to a request of an erasure set; false when it is none.
    func takeStriped(_ completion: AccessCompletion, of member: MemberIndex) -> Bool {
        let cookie = completion.access.cookie
        let ticket = AccessPurpose.ticket(cookie)
        switch completion.access.purpose {
        case AccessPurpose.window, AccessPurpose.chunk, AccessPurpose.lastChunk: break
        default: return false
        }
        guard let stripes, engine.awaits(ticket, from: member) else { return true }
        let isWindow = completion.access.purpose == AccessPurpose.window
        if completion.outcome == .done {
            if isWindow {
                let place = unsafe stripes.worker.memory.place(
                    AccessPurpose.number(cookie), member,
                    ByteCount(AccessPurpose.place(cookie)))
                unsafe Self.take(completion, to: place, Int(completion.access.count))
            } else {
                takeChunk(completion, stripes)
            }
        }
        // (A chunk that failed fails all of them: the entry starts over.)
        if completion.outcome != .done || completion.access.purpose != AccessPurpose.chunk {
            engine.complete(ticket, on: member, completion.outcome)
        }
        return true
    }

    private func takeChunk(_ completion: AccessCompletion, _ stripes: StripeAccess) {
        let cookie = completion.access.cookie
        let token = UInt32(AccessPurpose.number(cookie))
        let range = pending[Int(token)].range
        let chunk = stripes.geometry.chunk.bytes
        let first = range.start.bytes / chunk
        let start = max(range.start.bytes, (first + AccessPurpose.place(cookie)) * chunk)
        unsafe Self.take(
            completion, to: buffer(of: token).at(ByteOffset(start)),
            Int(completion.access.count))
    }

    private static func take(
        _ completion: AccessCompletion, to place: UnsafeMutableRawPointer, _ count: Int
    ) {
        guard completion.content == .bytes, let bytes = unsafe completion.bytes.baseAddress else {
            return unsafe clear(place, count)
        }
        unsafe memcpy(place, bytes, count)
    }
}

// MARK: Scrubs

extension Volume {
    /// The most bytes of a member's rows that one request folds.
    private static let mostFolded = UInt64(AccessWire.largestRead)

    fileprivate func requestFolds(
        of window: ByteRange, _ work: UInt8, _ operation: RemoteOperation,
        _ channel: RegionChannel, _ stripes: StripeAccess
    ) {
        precondition(window.count.bytes <= Self.mostFolded, "an extent's rows are folded at once")
        let geometry = stripes.geometry
        channel.fold(
            window, chunk: geometry.chunk, roles: geometry.memberCount,
            first: Int(stripes.worker.stripe(at: window.start) % UInt64(geometry.memberCount)),
            PendingAccess(
                cookie: AccessPurpose.cookie(operation.ticket, work, at: 0),
                purpose: AccessPurpose.window))
    }
}
