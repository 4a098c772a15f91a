// What a channel asks its appliance for, as it stands on the wire.

import Glibc
public import RemoteMemory

extension RegionChannel {
    // MARK: Recording

    /// What stores through `RegionAccess` come to on this channel: segments of the next write.
    @inline(__always)
    public var recorder: ChannelRecorder { ChannelRecorder(self) }

    @inline(__always)
    func record(_ word: UInt64, at place: UInt64) {
        if lastIsWords {
            let last = segmentCount - 1
            if unsafe segments[last].place + UInt64(segments[last].count) == place {
                unsafe segments[last].count += 8
                return append(word)
            }
        }
        addSegment(AccessSegment(place: place, count: 8, kind: .bytes))
        lastIsWords = true
        append(word)
    }

    @inline(__always)
    private func append(_ word: UInt64) {
        if wordCount == wordCapacity { growWords() }
        unsafe words[wordCount] = word.littleEndian
        wordCount += 1
    }

    private func growWords() {
        let grown = UnsafeMutablePointer<UInt64>.allocate(capacity: wordCapacity * 4)
        unsafe grown.update(from: words, count: wordCount)
        unsafe words.deallocate()
        unsafe words = grown
        wordCapacity *= 4
    }

    /// Bytes that stay where they are until the write is answered.
    @inline(__always)
    func record(bytes: UnsafeRawPointer, count: Int, at place: UInt64) {
        guard count > 0 else { return }
        // (The write of a last copy carries its data twice.)
        if payloadSize + count > Self.mostPayload {
            commitWrite(PendingAccess(purpose: Self.noPurpose))
        }
        addSegment(AccessSegment(place: place, count: UInt32(count), kind: .bytes))
        unsafe payloads[payloadCount] = unsafe Payload(
            wordsBefore: wordCount, start: bytes, count: count)
        payloadCount += 1
        payloadSize += count
    }

    /// Zeroes, and memory given back unless it stays allocated.
    public func recordZeroes(_ range: ByteRange, keepAllocated: Bool) {
        guard !range.isEmpty else { return }
        precondition(range.end.bytes <= dataSize.bytes, "an access stays within its region")
        addSegment(
            AccessSegment(
                place: RegionLayout.dataStart.bytes + range.start.bytes,
                count: UInt32(range.count.bytes), kind: keepAllocated ? .zeroes : .hole))
    }

    /// Bytes that stand in the region already, elsewhere in the data.
    public func recordCopy(of source: ByteRange, to range: ByteRange) {
        precondition(
            source.count == range.count && !source.overlaps(range)
                && max(source.end, range.end).bytes <= dataSize.bytes, "a copy stays in its region")
        guard !range.isEmpty else { return }
        addSegment(
            AccessSegment(
                place: RegionLayout.dataStart.bytes + range.start.bytes,
                count: UInt32(range.count.bytes), kind: .copy))
        append(RegionLayout.dataStart.bytes + source.start.bytes)
    }

    @inline(__always)
    private func addSegment(_ segment: AccessSegment) {
        // (What is over is sent ahead: requests of a channel are carried out in order.)
        if segmentCount == AccessWire.mostSegments {
            commitWrite(PendingAccess(purpose: Self.noPurpose))
        }
        unsafe segments[segmentCount] = segment
        segmentCount += 1
        lastIsWords = false
    }

    /// Of parts of a write that was too long for one request: no completion is handed out for them unless they
    /// fail.
    static var noPurpose: UInt8 { .max }

    /// Queues what was recorded as one request.
    @inline(__always)
    public func commitWrite(_ access: PendingAccess) {
        let small = (segmentCount * 2 + 2 + wordCount) * 8
        let place = unsafe reserve(small)
        let body = segmentCount * AccessWire.segmentSize + wordCount * 8 + payloadSize
        let header = AccessRequestHeader(
            bodySize: UInt32(body), operation: .write, segmentCount: UInt16(segmentCount),
            tag: enqueue(access))
        var cursor = unsafe place.assumingMemoryBound(to: UInt64.self)
        unsafe (cursor[0], cursor[1]) = header.words
        for index in 0..<segmentCount {
            unsafe cursor += 2
            unsafe (cursor[0], cursor[1]) = segments[index].words
        }
        unsafe cursor += 2
        var start = UnsafeRawPointer(place)
        var copied = 0
        for index in 0..<payloadCount {
            let payload = unsafe payloads[index]
            let count = payload.wordsBefore - copied
            unsafe cursor.update(from: words + copied, count: count)
            unsafe cursor += count
            copied += count
            unsafe push(start, UnsafeRawPointer(cursor) - start)
            unsafe push(payload.start, payload.count)
            unsafe start = UnsafeRawPointer(cursor)
        }
        unsafe cursor.update(from: words + copied, count: wordCount - copied)
        unsafe cursor += wordCount - copied
        unsafe push(start, UnsafeRawPointer(cursor) - start)
        segmentCount = 0
        wordCount = 0
        payloadCount = 0
        payloadSize = 0
        lastIsWords = false
    }

    // MARK: Other requests

    /// Asks for bytes of the region; `place` counts from its start.
    @inline(__always)
    public func read(_ place: ByteOffset, _ count: ByteCount, _ access: PendingAccess) {
        request(.read, place.bytes, count, access)
    }

    /// Asks for a range of the volume's data.
    @inline(__always)
    public func read(_ range: ByteRange, _ access: PendingAccess) {
        request(.read, RegionLayout.dataStart.bytes + range.start.bytes, range.count, access)
    }

    /// Asks for what is allocated of a range of at most `AccessWire.largestSpan` that starts at a block.
    public func readAllocated(_ range: ByteRange, _ access: PendingAccess) {
        request(
            .readAllocated, RegionLayout.dataStart.bytes + range.start.bytes, range.count, access)
    }

    /// Asks for the digest of a range of the volume's data.
    public func digest(_ range: ByteRange, _ access: PendingAccess) {
        request(.digest, RegionLayout.dataStart.bytes + range.start.bytes, range.count, access)
    }

    @inline(__always)
    private func request(
        _ operation: AccessOperation, _ place: UInt64, _ count: ByteCount, _ access: PendingAccess
    ) {
        var access = access
        access.count = UInt32(count.bytes)
        access.isRead = operation == .read
        let header = AccessRequestHeader(
            bodySize: UInt32(AccessWire.segmentSize), operation: operation, segmentCount: 1,
            tag: enqueue(access))
        let segment = AccessSegment(place: place, count: UInt32(count.bytes), kind: .bytes)
        let place = unsafe reserve(32)
        let cursor = unsafe place.assumingMemoryBound(to: UInt64.self)
        unsafe (cursor[0], cursor[1]) = header.words
        unsafe (cursor[2], cursor[3]) = segment.words
        unsafe push(UnsafeRawPointer(place), 32)
    }

    /// Asks for the folds of a range of the region's data that holds whole chunks; `first` is the role of its
    /// first.
    public func fold(
        _ range: ByteRange, chunk: ByteCount, roles: Int, first: Int, _ access: PendingAccess
    ) {
        var access = access
        access.count = UInt32(roles * Fold.size)
        access.isRead = true
        let header = AccessRequestHeader(
            bodySize: UInt32(AccessWire.segmentSize + 8), operation: .fold, segmentCount: 1,
            tag: enqueue(access))
        let segment = AccessSegment(
            place: RegionLayout.dataStart.bytes + range.start.bytes,
            count: UInt32(range.count.bytes), kind: .bytes)
        let place = unsafe reserve(40)
        let cursor = unsafe place.assumingMemoryBound(to: UInt64.self)
        unsafe (cursor[0], cursor[1]) = header.words
        unsafe (cursor[2], cursor[3]) = segment.words
        unsafe cursor[4] = (chunk.bytes | UInt64(roles) << 32 | UInt64(first) << 48).littleEndian
        unsafe push(UnsafeRawPointer(place), 40)
    }

    /// Asks for nothing but a reply.
    public func probe(_ access: PendingAccess) {
        let header = AccessRequestHeader(
            bodySize: 0, operation: .probe, segmentCount: 0, tag: enqueue(access))
        let place = unsafe reserve(16)
        let cursor = unsafe place.assumingMemoryBound(to: UInt64.self)
        unsafe (cursor[0], cursor[1]) = header.words
        unsafe push(UnsafeRawPointer(place), 16)
    }

    @inline(__always)
    private func enqueue(_ access: PendingAccess) -> UInt64 {
        precondition(pendingCount < Self.mostPending, "the engine bounds what is in flight")
        pending[Int(next % UInt64(Self.mostPending))] = access
        defer { next &+= 1 }
        return next
    }
}
