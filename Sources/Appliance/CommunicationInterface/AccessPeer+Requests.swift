// What each request of a peer does to its region.
//
// Every rule is checked before anything is touched. What would keep the other peers waiting (zeroing,
// digests) is done in steps, one a turn; the peer's next requests wait for it.

import CLinux
import Glibc
import RemoteMemory
import SharedMemoryTransport
import TCPTransport

extension AccessPeer {
    /// How a request was dealt with.
    enum Handling {
        /// Its reply is queued.
        case done
        /// It goes on in the next turn.
        case notYet
        /// It may change what waits to be sent; that goes first.
        case afterSending
    }

    /// What is begun of a request.
    enum Progress {
        /// The segments before this one are stored, and so many bytes of it and of what is behind them all.
        case write(segment: Int, done: UInt64, payload: Int)
        /// So many bytes are queued, or sent.
        case read(done: UInt64)
        case digest(Digest)
        case fold(FoldedRows)
    }

    /// How much is zeroed before the others have their turn, in bytes: some two milliseconds' worth.
    static var zeroStep: UInt64 { 8 << 20 }
    /// The same of memory that is given back.
    static var holeStep: UInt64 { 64 << 20 }
    /// How much of a reply is queued before that is sent, in bytes; a multiple of the block.
    static var readStep: UInt64 { 512 << 10 }
    /// The same of a digest.
    static var digestStep: Int { 1 << 20 }
    /// Up to how many bytes before the data are stored word by word.
    static var mostWordBytes: UInt32 { 64 }

    /// Does what one whole request asks for.
    func carryOut(
        _ header: AccessRequestHeader, _ bytes: UnsafeRawBufferPointer, _ server: ApplianceServer
    ) -> Handling {
        let body = Int(header.bodySize)
        let segments = Int(header.segmentCount)
        guard body <= AccessWire.largestBody, segments <= AccessWire.mostSegments,
            segments * AccessWire.segmentSize <= body, unsafe bytes[5] == 0,
            let operation = AccessOperation(rawValue: header.operation)
        else { return refuse(.malformed, header) }
        guard let grant else {
            guard operation == .attach, segments == 0, body == 32 else {
                return refuse(.malformed, header)
            }
            return unsafe attach(header, bytes, server)
        }
        switch operation {
        case .attach: return refuse(.malformed, header)
        case .probe:
            guard body == 0 else { return refuse(.malformed, header) }
            return reply(.done, header)
        case .write: return unsafe write(header, bytes, grant)
        case .fold: return unsafe fold(header, bytes, grant.region)
        case .read, .readAllocated, .digest:
            guard segments == 1, body == AccessWire.segmentSize,
                case let segment = unsafe self.segment(0, bytes), segment.kind == .bytes
            else { return refuse(.malformed, header) }
            guard Self.lies(segment, in: grant.region) else { return refuse(.refused, header) }
            switch operation {
            case .read: return read(segment, header, grant.region)
            case .readAllocated: return readAllocated(segment, header, grant.region)
            default: return digest(segment, header, grant.region)
            }
        }
    }

    func segment(_ index: Int, _ bytes: UnsafeRawBufferPointer) -> AccessSegment {
        let start = AccessWire.headerSize + index * AccessWire.segmentSize
        return unsafe AccessSegment(
            RawSpan(_unsafeBytes: bytes[start..<start + AccessWire.segmentSize]))
    }

    /// A segment lies before the data or within it, and not across the seam.
    @inline(__always)
    static func lies(_ segment: AccessSegment, in region: ServedRegion) -> Bool {
        guard segment.place <= region.end, UInt64(segment.count) <= region.end - segment.place
        else { return false }
        let seam = RegionLayout.dataStart.bytes
        return segment.place >= seam || segment.place + UInt64(segment.count) <= seam
    }

    /// A segment's range of the data; nil when it lies before that.
    @inline(__always)
    static func data(_ segment: AccessSegment) -> ByteRange? {
        let seam = RegionLayout.dataStart.bytes
        guard segment.place >= seam else { return nil }
        return ByteRange(
            start: ByteOffset(segment.place - seam), count: ByteCount(UInt64(segment.count)))
    }

    func reply(_ status: AccessStatus, _ header: AccessRequestHeader) -> Handling {
        replies.append(AccessReplyHeader(status: status, tag: header.tag))
        return .done
    }

    /// Says no; after what makes no sense, or comes too late, nothing more is listened to.
    func refuse(_ status: AccessStatus, _ header: AccessRequestHeader) -> Handling {
        switch status {
        case .malformed, .fenced, .noSuchRegion: isEnding = true
        case .done, .refused, .failed: break
        }
        return reply(status, header)
    }

    // MARK: Attaching

    private func attach(
        _ header: AccessRequestHeader, _ bytes: UnsafeRawBufferPointer, _ server: ApplianceServer
    ) -> Handling {
        let words = (0..<4).map { index in
            UInt64(
                littleEndian: unsafe bytes.loadUnaligned(
                    fromByteOffset: AccessWire.headerSize + index * 8, as: UInt64.self))
        }
        let region = RegionID(Identifier(high: words[0], low: words[1]))
        do throws(AccessStatus) {
            let grant = try server.attach(
                to: region, key: Identifier(high: words[2], low: words[3]))
            self.grant = grant
            stopTime()
            replies.append(
                AccessReplyHeader(
                    bodySize: 8, status: .done, content: .bytes, tag: header.tag),
                word: grant.region.view.dataSize.bytes)
            return .done
        } catch {
            server.statistics.refused += 1
            return refuse(error, header)
        }
    }

    // MARK: Writing

    private func write(
        _ header: AccessRequestHeader, _ bytes: UnsafeRawBufferPointer, _ grant: AccessGrant
    ) -> Handling {
        let count = Int(header.segmentCount)
        var (next, done, payload) = (
            0, UInt64(0), AccessWire.headerSize + count * AccessWire.segmentSize
        )
        if case .write(let segment, let already, let place) = progress {
            (next, done, payload) = (segment, already, place)
        } else if let problem = unsafe problem(of: count, bytes, grant) {
            return refuse(problem, header)
        }
        while next < count {
            let segment = unsafe segment(next, bytes)
            guard let base = bytes.baseAddress, let data = Self.data(segment) else {
                if let base = bytes.baseAddress {
                    unsafe storeBeforeData(segment, base + payload, grant.region.view)
                }
                payload += Int(segment.count)
                next += 1
                continue
            }
            if done == 0, unsafe replies.overlaps(grant.region.view.bytes(data), Int(segment.count))
            {
                progress = .write(segment: next, done: 0, payload: payload)
                return .afterSending
            }
            switch segment.kind {
            case .bytes:
                guard grant.region.prepare(data) else { return fail(header) }
                unsafe grant.region.view.storeData(base + payload, at: data)
                payload += Int(segment.count)
            case .copy:
                guard grant.region.prepare(data) else { return fail(header) }
                unsafe grant.region.view.storeData(
                    grant.region.view.bytes(
                        Self.source(of: segment, bytes, payload) ?? data), at: data)
                payload += 8
            case .zeroes, .hole:
                let keeps = segment.kind == .zeroes
                let part = Self.part(of: data, from: done, keeps ? Self.zeroStep : Self.holeStep)
                guard grant.region.zero(part, keepAllocated: keeps) else { return fail(header) }
                done += part.count.bytes
                if done < data.count.bytes {
                    progress = .write(segment: next, done: done, payload: payload)
                    return .notYet
                }
                done = 0
            case nil: preconditionFailure("kinds are checked before anything is stored")
            }
            next += 1
        }
        return reply(.done, header)
    }

    private func fail(_ header: AccessRequestHeader) -> Handling { reply(.failed, header) }

    /// The next step within `range`: up to a boundary, so that whole pages are given back.
    private static func part(of range: ByteRange, from done: UInt64, _ step: UInt64) -> ByteRange {
        let start = range.start.bytes + done
        let unit = min(step, 2 << 20)
        let boundary = (start + step) / unit * unit
        let end = min(boundary, range.end.bytes)
        return ByteRange(start: ByteOffset(start), count: ByteCount(end - start))
    }

    /// What is wrong with the segments of a write; nil for nothing.
    @inline(__always)
    private func problem(
        of count: Int, _ bytes: UnsafeRawBufferPointer, _ grant: AccessGrant
    ) -> AccessStatus? {
        var total = AccessWire.headerSize + count * AccessWire.segmentSize
        var isWithin = grant.isWritable
        for index in 0..<count {
            let segment = unsafe segment(index, bytes)
            guard let kind = segment.kind else { return .malformed }
            if !Self.lies(segment, in: grant.region) { isWithin = false }
            switch kind {
            case .bytes: total += Int(segment.count)
            case .copy:
                if unsafe !mayCopy(segment, bytes, total, grant.region) { isWithin = false }
                total += 8
            case .zeroes, .hole: break
            }
            if kind != .bytes, segment.place < RegionLayout.dataStart.bytes { isWithin = false }
        }
        guard total == bytes.count else { return .malformed }
        return isWithin ? nil : .refused
    }

    /// Stores what stands before the data: few words one by one, each after all that was stored before.
    @inline(__always)
    private func storeBeforeData(
        _ segment: AccessSegment, _ bytes: UnsafeRawPointer, _ view: RegionView
    ) {
        guard segment.count <= Self.mostWordBytes, (segment.place | UInt64(segment.count)) & 7 == 0
        else {
            return unsafe view.storeBeforeData(
                bytes, at: ByteOffset(segment.place), count: Int(segment.count))
        }
        for position in stride(from: 0, to: Int(segment.count), by: 8) {
            let word = unsafe bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self)
            view.storeWord(word, at: ByteOffset(segment.place + UInt64(position)))
        }
    }

    // MARK: Reading

    /// Queues a read's reply, of a long one a part at a time: the next when that has gone.
    ///
    /// So nobody holds much memory by not taking a reply. Each block of a reply is of one moment between
    /// request and reply, as G2 has it.
    private func read(
        _ segment: AccessSegment, _ header: AccessRequestHeader, _ region: ServedRegion
    ) -> Handling {
        guard segment.count <= AccessWire.largestRead else { return refuse(.refused, header) }
        let answer = AccessReplyHeader(
            bodySize: segment.count, status: .done, content: .bytes, tag: header.tag)
        guard let data = Self.data(segment), segment.count > 0 else {
            return copy(segment, answer, header, region)
        }
        var done: UInt64 = 0
        if case .read(let already) = progress {
            done = already
        } else {
            let (count, isAllocated) = region.firstRun(of: data)
            if !isAllocated, count == data.count {
                replies.append(
                    AccessReplyHeader(status: .done, content: .zeroes, tag: header.tag))
                return .done
            }
            replies.append(answer)
        }
        var rest = Self.part(of: data, from: done, Self.readStep)
        for _ in 0..<AccessReplies.mostRuns where !rest.isEmpty {
            let (count, isAllocated) = region.firstRun(of: rest)
            let run = ByteRange(start: rest.start, count: count)
            if isAllocated {
                unsafe replies.append(region: region.view.bytes(run), count: Int(count.bytes))
            } else {
                replies.append(zeroes: Int(count.bytes))
            }
            rest = ByteRange(start: run.end, count: rest.count - count)
            done += count.bytes
        }
        guard done < data.count.bytes else { return .done }
        progress = .read(done: done)
        return .afterSending
    }

    /// Answers with a copy: what stands before the data is small, and nobody knows what of it is allocated.
    private func copy(
        _ segment: AccessSegment, _ answer: AccessReplyHeader, _ header: AccessRequestHeader,
        _ region: ServedRegion
    ) -> Handling {
        let block = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Int(segment.count), alignment: 16)
        guard unsafe region.copy(from: segment.place, to: block) else {
            unsafe block.deallocate()
            return reply(.failed, header)
        }
        replies.append(answer)
        unsafe replies.append(owned: block)
        return .done
    }

    private func readAllocated(
        _ segment: AccessSegment, _ header: AccessRequestHeader, _ region: ServedRegion
    ) -> Handling {
        let block = RegionLayout.redoBlock.bytes
        guard let data = Self.data(segment), data.start.bytes % block == 0,
            segment.count <= AccessWire.largestSpan
        else { return refuse(.refused, header) }
        var mask: UInt64 = 0
        var size: UInt64 = 0
        var rest = data
        while !rest.isEmpty {
            let (count, isAllocated) = region.firstRun(of: rest)
            if isAllocated {
                size += count.bytes
                let first = (rest.start - data.start).bytes / block
                let blocks = (count.bytes + block - 1) / block
                mask |= (UInt64.max >> (64 - blocks)) << first
            }
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
        }
        replies.append(
            AccessReplyHeader(
                bodySize: UInt32(8 + size), status: .done, content: .blocks, tag: header.tag),
            word: mask)
        rest = data
        while !rest.isEmpty {
            let (count, isAllocated) = region.firstRun(of: rest)
            let part = ByteRange(start: rest.start, count: count)
            if isAllocated {
                unsafe replies.append(region: region.view.bytes(part), count: Int(count.bytes))
            }
            rest = ByteRange(start: part.end, count: rest.count - count)
        }
        return .done
    }

    private func digest(
        _ segment: AccessSegment, _ header: AccessRequestHeader, _ region: ServedRegion
    ) -> Handling {
        guard segment.count <= AccessWire.largestRead else { return refuse(.refused, header) }
        let digest: Digest
        if case .digest(let begun) = progress {
            digest = begun
        } else {
            guard let new = Digest() else { return reply(.failed, header) }
            digest = new
        }
        let count = min(Self.digestStep, Int(UInt64(segment.count) - digest.count))
        let place = segment.place + digest.count
        let isDone = unsafe withUnsafeTemporaryAllocation(byteCount: count, alignment: 16) {
            unsafe region.copy(from: place, to: $0) && digest.add(UnsafeRawBufferPointer($0))
        }
        guard isDone else { return reply(.failed, header) }
        guard digest.count == UInt64(segment.count) else {
            progress = .digest(digest)
            return .notYet
        }
        let result = UnsafeMutableRawBufferPointer.allocate(
            byteCount: Digest.size, alignment: 16)
        guard let base = result.baseAddress, unsafe digest.finish(base) else {
            unsafe result.deallocate()
            return reply(.failed, header)
        }
        replies.append(
            AccessReplyHeader(
                bodySize: UInt32(Digest.size), status: .done, content: .bytes, tag: header.tag))
        unsafe replies.append(owned: result)
        return .done
    }
}
