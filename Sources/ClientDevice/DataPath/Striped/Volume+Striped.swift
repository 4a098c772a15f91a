// Client-side access of an erasure set to members whose memory is mapped.
//
//     redo      payload, or parity from the work area ──▶ redo slot ─ record
//     apply     redo slot ──▶ in place ─ landed
//
// As for a mirror, everything is done when the call returns.

import Glibc
import NBDProtocol
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport

/// Makes bytes zero.
func clear(_ place: UnsafeMutableRawPointer, _ count: Int) { unsafe memset(place, 0, count) }

extension Volume {
    /// What of a request the worker reckons with.
    @inline(__always)
    func bytes(of token: UInt32) -> RequestBytes {
        let request = pending[Int(token)]
        return unsafe RequestBytes(
            UnsafeMutableRawPointer(mutating: request.payload), of: request.range)
    }

    func encode(_ step: EncodeStep) {
        stripes?.worker.encode(step, from: bytes(of: step.request))
    }

    func decode(_ step: DecodeStep) {
        stripes?.worker.decode(step, into: buffer(of: step.request))
    }

    /// Where the data of a read is put together.
    func buffer(of token: UInt32) -> RequestBytes {
        let token = Int(token)
        let range = pending[token].range
        if !pending[token].ownsData {
            unsafe pending[token].data = UnsafeRawPointer(
                UnsafeMutableRawPointer.allocate(
                    byteCount: Int(range.count.bytes), alignment: 16))
            pending[token].ownsData = true
            pending[token].isFar = true
        }
        return unsafe RequestBytes(
            UnsafeMutableRawPointer(mutating: pending[token].data), of: range)
    }

    /// Keeps a fetch for `carryOutFetches`; false when it is something else.
    @inline(__always)
    func gatherFetch(_ operation: RemoteOperation) -> Bool {
        guard case .fetch(let span, let work) = operation.action,
            let view = views[operation.member.number]
        else { return false }
        if fetches.isFull, let stripes { carryOutFetches(stripes) }
        fetches.append(
            FetchGroup.Fetch(
                ticket: operation.ticket, member: operation.member, view: view, span: span,
                work: work))
        return true
    }

    /// Carries out the fetches that were gathered; false when there are none.
    @discardableResult
    func carryOutFetches(_ stripes: StripeAccess) -> Bool {
        guard !fetches.isEmpty else { return false }
        fetches.removeAll { fetch in
            unsafe stripes.load(
                fetch.span, of: fetch.member, fetch.view,
                into: stripes.worker.place(of: fetch.span, on: fetch.member, in: fetch.work))
            engine.complete(fetch.ticket, on: fetch.member, .done)
        }
        return true
    }

    /// Carries out what only erasure sets ask for; nil when it is something else.
    func perform(
        _ operation: RemoteOperation, _ view: RegionView, _ stripes: StripeAccess
    ) -> OperationOutcome? {
        let member = operation.member
        switch operation.action {
        case .gather(let range, let token):
            // (Where all is mapped, the reply follows at once, and the data is sent from the regions.)
            guard stripes.copiesReads || stripes.mustCopy(range) || pending[Int(token)].ownsData
            else { return .done }
            gather(range, token, on: member, view, stripes)
            return .done
        case .redo(let slot, let intent, let token, let marks):
            store(marks, of: intent.range, in: view)
            redo(slot, intent, token, on: member, view, stripes)
            return .done
        case .apply(let slot, let intent, let keepAllocated):
            return apply(slot, intent, keepAllocated, on: member, view, stripes)
        case .discard(let slot):
            view.withdraw(slot: slot)
            return .done
        case .rebuild(let window, let work, let sources):
            stripes.worker.rebuild(window, member, in: work, from: sources)
            return store(window, of: member, from: work, view, stripes)
        case .fold(let window, let work):
            fold(window, work, on: member, view, stripes)
            return .done
        case .verify(_, let work, let members):
            return stripes.worker.foldsBelongTogether(members, in: work) ? .done : .different
        default: return nil
        }
    }

    private func redo(
        _ slot: UInt8, _ intent: Intent, _ token: UInt32, on member: MemberIndex,
        _ view: RegionView, _ stripes: StripeAccess
    ) {
        let place = stripes.geometry.redoPlace(slot, count: stripes.geometry.redoSlotSize)
        unsafe stripes.worker.forEachNewPiece(
            of: intent, in: slot, on: member, from: bytes(of: token)
        ) { bytes, count, offset in
            // (They are copied in place next, and the slots used first are used again first.)
            unsafe view.storeCached(
                bytes, at: ByteRange(start: place.start + offset, count: count))
        }
        view.barrier()
        view.announce(slot: slot, intent)
    }

    private func apply(
        _ slot: UInt8, _ intent: Intent, _ keepAllocated: Bool, on member: MemberIndex,
        _ view: RegionView, _ stripes: StripeAccess
    ) -> OperationOutcome {
        let span = stripes.geometry.span(of: intent.range, on: member)
        let memory = stripes.memory(of: member)
        switch intent.kind {
        case .write:
            memory.map.insert(span)
            let source = unsafe view.bytes(stripes.geometry.redoPlace(slot, count: span.count))
            if stripes.geometry.isRun(intent.range) {
                unsafe view.storeData(source, at: span)
            } else {
                // (What was there was fetched for the parity: its lines are in the cache.)
                unsafe view.storeCached(source, at: span)
            }
        case .zero:
            guard view.zero(span, keepAllocated: keepAllocated) else { return .failed }
            if keepAllocated { memory.map.insert(span) } else { memory.map.remove(span) }
        }
        view.land(slot: slot, intent)
        return .done
    }

    /// Stores rows that were worked out; zeroes take no memory.
    private func store(
        _ window: ByteRange, of member: MemberIndex, from work: UInt8, _ view: RegionView,
        _ stripes: StripeAccess
    ) -> OperationOutcome {
        let bytes = unsafe stripes.worker.place(of: window, on: member, in: work)
        let memory = stripes.memory(of: member)
        guard unsafe Self.isZero(bytes, Int(window.count.bytes)) else {
            memory.map.insert(window)
            unsafe view.storeData(bytes, at: window)
            return .done
        }
        guard view.zero(window, keepAllocated: false) else { return .failed }
        memory.map.remove(window)
        return .done
    }

    /// Whether all of some bytes are zero.
    static func isZero(_ bytes: UnsafeRawPointer, _ count: Int) -> Bool {
        unsafe count == 0
            || (bytes.load(as: UInt8.self) == 0 && memcmp(bytes, bytes + 1, count - 1) == 0)
    }

    private func fold(
        _ window: ByteRange, _ work: UInt8, on member: MemberIndex, _ view: RegionView,
        _ stripes: StripeAccess
    ) {
        stripes.worker.clearFolds(of: member, in: work)
        stripes.forEachRun(of: window, of: member, view) { run, isAllocated in
            unsafe stripes.worker.addToFolds(
                isAllocated ? view.bytes(run) : nil, of: run, on: member, in: work)
        }
    }

    // MARK: Reads

    private func gather(
        _ range: ByteRange, _ token: UInt32, on member: MemberIndex, _ view: RegionView,
        _ stripes: StripeAccess
    ) {
        let target = buffer(of: token)
        stripes.geometry.forEachPiece(of: range, on: member) { piece, span in
            unsafe stripes.load(span, of: member, view, into: target.at(piece.start))
        }
    }

    /// Queues the data of a read, from the memory of all members that hold it.
    func appendStriped(
        _ range: ByteRange, to connection: Connection, _ stripes: StripeAccess
    ) {
        connection.beginWhole(range)
        var spare = stripes.spareRuns(of: range)
        var rest = range
        while !rest.isEmpty {
            let (member, span) = stripes.firstPart(of: rest)
            guard let view = views[member.number] else {
                preconditionFailure("what was read stays until it is answered")
            }
            connection.appendPart(span, of: view, &stripes.memory(of: member).map, &spare)
            rest = ByteRange(start: rest.start + span.count, count: rest.count - span.count)
        }
    }

    /// Which extents of `range` are allocated, from its start on; what cannot be asked now counts as such.
    func stripedAllocation(
        of range: ByteRange, atMost limit: Int, _ stripes: StripeAccess
    ) -> [StatusExtent] {
        var rest = ByteRange(
            start: range.start, count: min(range.count, AllocationMap.mostExamined))
        var extents: [StatusExtent] = []
        while !rest.isEmpty {
            let (member, span) = stripes.firstPart(of: rest)
            let (count, isAllocated) =
                views[member.number].map {
                    stripes.memory(of: member).map.firstRun(of: span, in: $0)
                } ?? (span.count, true)
            let status = AllocationStatus(isAllocated: isAllocated).rawValue
            if let last = extents.last, last.status == status {
                extents[extents.count - 1].count = last.count + count
            } else if extents.count < limit {
                extents.append(StatusExtent(count: count, status: status))
            } else {
                break
            }
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
        }
        return extents
    }

    // MARK: Members

    /// Mapped memory is always there: what failed on the last copies is tried again.
    func returnMapped() {
        guard let last = engine.absent.first, !engine.isFrozen else { return }
        guard stripes != nil else {
            guard let view = views[last.number] else { return }
            return engine.memberReturned(last, intents: Self.intents(in: view))
        }
        guard engine.active.allSatisfy({ views[$0.number] != nil }) else { return }
        _ = membersReturned([:])
    }

    /// Goes on with the members that are mapped and those that were opened anew, if they are enough.
    func membersReturned(_ memories: [MemberIndex: MemberMemory]) -> Bool {
        guard let stripes, !engine.absent.isEmpty, !engine.isPlaceOpen else { return false }
        var missing = MemberSet()
        var found: [(member: MemberIndex, slot: UInt8, content: IntentSlot)] = []
        for member in engine.active {
            var intents: [(slot: UInt8, content: IntentSlot)] = []
            if let view = views[member.number] {
                intents = Self.intents(in: view)
            } else if case .remote(let visit)? = memories[member] {
                intents = Self.intents(in: visit)
            } else {
                missing.insert(member)
            }
            found += intents.map { (member: member, slot: $0.slot, content: $0.content) }
        }
        guard engine.active.count - missing.count >= stripes.geometry.dataShards else {
            return false
        }
        // (A channel that still stands may have something on its way.)
        for member in engine.active where views[member.number] == nil {
            channelBroke(member)
            if let memory = memories[member] { hold(memory, as: member) }
        }
        engine.membersReturned(missing: missing, intents: found)
        drain()
        return true
    }
}

extension StripeAccess {
    /// The most pieces of data that a reply has, as `ReplyQueue` has it.
    private static let mostPieces = UInt64(ReplyQueue.mostRuns.simple)

    /// Whether the data of a read is to be copied: it would be too many pieces, or its blocks would.
    ///
    /// (A block that is sent in pieces could be sent half old, half new.)
    @inline(__always)
    func mustCopy(_ range: ByteRange) -> Bool {
        geometry.chunk.bytes < UInt64(ReplyQueue.block)
            || range.count.bytes / geometry.chunk.bytes + 2 > Self.mostPieces
    }

    /// The first part of `range` that stands in one place, and where.
    @inline(__always)
    func firstPart(of range: ByteRange) -> (member: MemberIndex, span: ByteRange) {
        let chunk = geometry.chunk.bytes
        let number = range.start.bytes / chunk
        let count = min(range.count.bytes, (number + 1) * chunk - range.start.bytes)
        let stripe = number / UInt64(geometry.dataShards)
        let member = geometry.member(of: Int(number % UInt64(geometry.dataShards)), in: stripe)
        let start = geometry.row(stripe).start + ByteCount(range.start.bytes % chunk)
        return (member, ByteRange(start: start, count: ByteCount(count)))
    }

    /// How many pieces there may be beside one for each chunk.
    @inline(__always)
    func spareRuns(of range: ByteRange) -> Int {
        let chunk = geometry.chunk.bytes
        let chunks = (range.end.bytes - 1) / chunk - range.start.bytes / chunk + 1
        let block = UInt64(ReplyQueue.block)
        let blocks = (range.end.bytes - 1) / block - range.start.bytes / block + 1
        return Int(min(blocks, Self.mostPieces)) - Int(chunks)
    }
}
