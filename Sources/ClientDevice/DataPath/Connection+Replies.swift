// Replies of one connection: queued in the form that was negotiated, sent by its turns.
//
//     simple                  header │ data
//     structured, extended    header │ run of data │ header of a hole │ header │ run of data …
//
// Holes are told apart by what of the region is allocated: they cost a header, whatever their length.

import BlockServer
import NBDProtocol
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport

/// What the header of a read's data needs to know.
struct ReadAnswer {
    var cookie: UInt64 = 0
    /// The request's, in bytes.
    var offset: UInt64 = 0
    /// All of the data is to be one chunk.
    var isWhole = false
}

extension Connection {
    /// Takes no more requests and sends nothing any more: whoever waits is to ask somebody else.
    func leaveUnanswered() {
        leaving = .disconnected
        isAbandoned = true
    }

    /// Answers a request that was submitted; the data of a read follows with `appendData`, in one chunk if
    /// it `isWhole`.
    @inline(__always)
    func answer(
        _ error: ErrorNumber, to kind: RequestKind, of range: ByteRange, cookie: UInt64,
        isWhole: Bool = false, releasing payload: UnsafeRawPointer? = nil
    ) {
        unanswered -= 1
        replies.redeem(
            ReplyQueue.mostPieces(kind, range, form), ReplyQueue.mostData(kind, range))
        if let payload = unsafe payload {
            unsafe input.release(payload)
            isFull = false
        }
        guard !isAbandoned else { return }
        if kind == .read, error == .none, form != .simple {
            answered = ReadAnswer(cookie: cookie, offset: range.start.bytes, isWhole: isWhole)
        } else {
            reply(error, cookie, at: range.start)
        }
    }

    /// Queues a reply without data.
    @inline(__always)
    func reply(_ error: ErrorNumber, _ cookie: UInt64, at offset: ByteOffset) {
        guard form != .simple else { return replies.append(ReplyHeader(error, cookie: cookie)) }
        let place = ChunkPlace(cookie: cookie, requestOffset: offset.bytes, isLast: true)
        guard error != .none else { return replies.append(ReplyHeader(done: place, form)) }
        let text = error.text
        replies.append(ReplyHeader(error, textCount: text.utf8CodeUnitCount, place, form))
        replies.append(text: text)
    }

    /// Queues the header of a run of a read's data, where each run has one; false when there is no data to
    /// follow.
    @inline(__always)
    private func appendHeader(_ run: ByteRange, isAllocated: Bool, isLast: Bool) -> Bool {
        guard form != .simple else { return true }
        let place = ChunkPlace(
            cookie: answered.cookie, requestOffset: answered.offset, isLast: isLast)
        let count = Int(run.count.bytes)
        guard isAllocated || answered.isWhole else {
            replies.append(
                ReplyHeader(hole: run.start.bytes, count: UInt32(count), place, form))
            return false
        }
        replies.append(ReplyHeader(data: run.start.bytes, count: count, place, form))
        return true
    }

    /// Queues a range of a region: what is allocated from its memory, the rest as zeroes.
    ///
    /// (Loading from what is not allocated would allocate it.)
    @inline(__always)
    func appendData(_ range: ByteRange, of view: RegionView, _ allocation: inout AllocationMap) {
        guard !isAbandoned else { return }
        if answered.isWhole, form != .simple {
            _ = appendHeader(range, isAllocated: true, isLast: true)
        }
        let mostRuns = ReplyQueue.mostRuns
        var runs = form == .simple || answered.isWhole ? mostRuns.simple : mostRuns.structured
        var rest = range
        while !rest.isEmpty {
            var (count, isAllocated) = allocation.firstRun(of: rest, in: view)
            runs -= 1
            if runs == 0 {
                count = rest.count
                isAllocated = true
            }
            let run = ByteRange(start: rest.start, count: count)
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
            guard
                answered.isWhole
                    || appendHeader(run, isAllocated: isAllocated, isLast: rest.isEmpty)
            else { continue }
            append(run, of: view, isAllocated: isAllocated)
        }
    }

    /// Announces the data of a read as one chunk; what is queued next is all of it.
    @inline(__always)
    func beginWhole(_ range: ByteRange) {
        guard !isAbandoned, form != .simple else { return }
        answered.isWhole = true
        _ = appendHeader(range, isAllocated: true, isLast: true)
    }

    /// Queues a part of what was announced, which may take as many pieces beside the first as `spare` says.
    @inline(__always)
    func appendPart(
        _ span: ByteRange, of view: RegionView, _ allocation: inout AllocationMap,
        _ spare: inout Int
    ) {
        guard !isAbandoned else { return }
        var rest = span
        while !rest.isEmpty {
            var (count, isAllocated) = allocation.firstRun(of: rest, in: view)
            if count < rest.count {
                if spare > 0 { spare -= 1 } else { (count, isAllocated) = (rest.count, true) }
            }
            let run = ByteRange(start: rest.start, count: count)
            append(run, of: view, isAllocated: isAllocated)
            rest = ByteRange(start: run.end, count: rest.count - count)
        }
    }

    @inline(__always)
    private func append(_ run: ByteRange, of view: RegionView, isAllocated: Bool) {
        if isAllocated {
            unsafe replies.append(
                region: UnsafeRawPointer(view.bytes(run)), count: Int(run.count.bytes))
        } else {
            replies.append(zeroes: Int(run.count.bytes))
        }
    }

    /// Queues the data of a read that came from afar; nil for zeroes.
    @inline(__always)
    func appendData(_ range: ByteRange, at data: UnsafeRawPointer?, isOwned: Bool) {
        let count = Int(range.count.bytes)
        guard !isAbandoned else {
            if isOwned { unsafe data?.deallocate() }
            return
        }
        guard appendHeader(range, isAllocated: unsafe data != nil, isLast: true) else { return }
        guard let data = unsafe data else { return replies.append(zeroes: count) }
        if isOwned {
            unsafe replies.append(owned: data, count: count)
        } else {
            unsafe replies.append(region: data, count: count)
        }
    }

    /// Copies what is on its way out of memory that is about to be unmapped, or used for something else.
    func detach(from memory: UnsafeRawBufferPointer) { unsafe replies.detach(from: memory) }

    /// Queues what is known of the extents of a range, a chunk for each context.
    func appendStatus(of range: ByteRange, _ cookie: UInt64, onlyFirst: Bool) {
        for (index, context) in contexts.enumerated() {
            let extents = status(of: range, in: context, atMost: onlyFirst ? 1 : Self.mostExtents)
            let place = ChunkPlace(
                cookie: cookie, requestOffset: range.start.bytes,
                isLast: index == contexts.count - 1)
            replies.append(
                ReplyHeader(
                    statusIn: context.id(at: index), extents: extents.count, place, form))
            var descriptors: [UInt8] = []
            descriptors.reserveCapacity(extents.count * 16)
            for extent in extents {
                if form == .extended {
                    descriptors.append(wire: extent.count.bytes)
                    descriptors.append(wire: UInt64(extent.status))
                } else {
                    descriptors.append(wire: UInt32(extent.count.bytes))
                    descriptors.append(wire: extent.status)
                }
            }
            let copy = UnsafeMutableRawPointer.allocate(
                byteCount: descriptors.count, alignment: 16)
            unsafe descriptors.withUnsafeBytes {
                unsafe copy.copyMemory(from: $0.baseAddress.unsafelyUnwrapped, byteCount: $0.count)
            }
            unsafe replies.append(owned: copy, count: descriptors.count)
        }
    }

    /// The most extents in a reply: a client that wants more asks again behind them.
    private static let mostExtents = 1 << 15

    private func status(
        of range: ByteRange, in context: MetaContext, atMost limit: Int
    ) -> [StatusExtent] {
        switch (context, target) {
        case (.allocation, .volume(let volume)): volume.allocation(of: range, atMost: limit)
        case (.allocation, .snapshot(let snapshot)): snapshot.allocation(of: range, atMost: limit)
        case (.resiliency, .volume(let volume)): volume.resiliency(of: range, atMost: limit)
        // (A snapshot is what it was made: nothing of it is missing that will come back.)
        case (.resiliency, .snapshot): [StatusExtent(count: range.count, status: 0)]
        case (.changes(let mark), .volume(let volume)):
            volume.changes(of: range, since: mark.cut, atMost: limit)
        case (.changes(let mark), .snapshot(let snapshot)):
            snapshot.origin.changes(of: range, since: mark.cut, atMost: limit)
        }
    }
}

extension ErrorNumber {
    /// What a person is told.
    fileprivate var text: StaticString {
        switch self {
        case .none: ""
        case .notPermitted: "this export is read-only"
        case .inputOutput: "too few members of the volume can be reached; see 'holdfast status'"
        case .outOfMemory: "there is no memory for it now"
        case .invalid:
            "the request goes beyond the end of the export, or is none that was negotiated"
        case .noSpace: "the request goes beyond the end of the export"
        case .overflow: "the request is too long"
        case .notSupported: "this would take as long as a write"
        case .shutdown: "the server is shutting down"
        }
    }
}
