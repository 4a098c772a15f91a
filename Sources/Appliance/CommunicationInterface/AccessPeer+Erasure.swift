// What an erasure set asks for beside reads and writes.
//
//     copy     from a redo slot to where the bytes belong: they travel once
//     fold     rows are added up where they are: a scrub moves bytes, not gigabytes
//
// What is not allocated counts as zeroes, and is not read. Folds are made in steps, as digests are.

import Glibc
import RemoteMemory
import SharedMemoryTransport
import TCPTransport

/// Folds under way.
@safe
final class FoldedRows {
    /// The most roles there are: as many as a set has members.
    static let mostRoles = MemberIndex.limit

    let data: ByteRange
    let chunk: UInt64
    let roles: Int
    private let first: Int
    /// How many bytes have been added.
    private(set) var done: UInt64 = 0
    /// The sums; whoever queues them owns them then.
    private(set) var sums: UnsafeMutableRawBufferPointer?

    /// Nil when `parameters` make no sense beside `data`.
    init?(_ data: ByteRange, parameters: UInt64) {
        self.data = data
        chunk = parameters & 0xffff_ffff
        roles = Int(parameters >> 32 & 0xffff)
        first = Int(parameters >> 48)
        // (Memory that is allocated ends at pages, in whole blocks only of what starts at a block.)
        guard chunk > 0, chunk % UInt64(Fold.block) == 0, data.count.bytes % chunk == 0,
            data.start.bytes % UInt64(Fold.block) == 0,
            (1...Self.mostRoles).contains(roles), first < roles
        else { return nil }
        let sums = UnsafeMutableRawBufferPointer.allocate(
            byteCount: roles * Fold.size, alignment: 16)
        unsafe sums.initializeMemory(as: UInt8.self, repeating: 0)
        unsafe self.sums = sums
    }

    deinit { unsafe sums?.deallocate() }

    var isDone: Bool { done == data.count.bytes }

    /// Adds up to `step` bytes of the region.
    func advance(by step: UInt64, in region: ServedRegion) {
        let end = min(done + step, data.count.bytes)
        while done < end {
            let inChunk = chunk - done % chunk
            let rest = ByteRange(
                start: data.start + ByteCount(done),
                count: ByteCount(min(inChunk, data.count.bytes - done)))
            add(rest, in: region)
            done += rest.count.bytes
        }
    }

    /// Adds a part of one chunk that starts and ends at a fold.
    private func add(_ part: ByteRange, in region: ServedRegion) {
        guard let base = unsafe sums?.baseAddress else { return }
        let role = (first + Int(done / chunk)) % roles
        let sum = unsafe base + role * Fold.size
        var rest = part
        while !rest.isEmpty {
            let (count, isAllocated) = region.firstRun(of: rest)
            if isAllocated {
                unsafe Fold.add(
                    region.view.bytes(ByteRange(start: rest.start, count: count)),
                    count: Int(count.bytes), to: sum)
            } else {
                unsafe Fold.addZeroes(count: Int(count.bytes), to: sum)
            }
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
        }
    }

    /// Hands the sums over.
    func take() -> UnsafeMutableRawBufferPointer? {
        defer { unsafe sums = nil }
        return unsafe sums
    }
}

extension AccessPeer {
    /// How much is folded before the others have their turn, in bytes.
    static var foldStep: UInt64 { 1 << 20 }

    /// What a segment of kind `copy` is to become; nil when the request ends before it, or it lies before the
    /// data.
    static func source(
        of segment: AccessSegment, _ bytes: UnsafeRawBufferPointer, _ payload: Int
    ) -> ByteRange? {
        guard payload + 8 <= bytes.count else { return nil }
        let place = UInt64(
            littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: payload, as: UInt64.self))
        return data(AccessSegment(place: place, count: segment.count, kind: .bytes))
    }

    /// Both places of a copy lie in the data, beside each other.
    func mayCopy(
        _ segment: AccessSegment, _ bytes: UnsafeRawBufferPointer, _ payload: Int,
        _ region: ServedRegion
    ) -> Bool {
        guard let target = Self.data(segment),
            let source = unsafe Self.source(of: segment, bytes, payload)
        else { return false }
        let size = region.view.dataSize.bytes
        return source.start.bytes <= size && source.count.bytes <= size - source.start.bytes
            && !source.overlaps(target)
    }

    /// Answers with the folds of a segment.
    func fold(
        _ header: AccessRequestHeader, _ bytes: UnsafeRawBufferPointer, _ region: ServedRegion
    ) -> Handling {
        let folds: FoldedRows
        if case .fold(let begun) = progress {
            folds = begun
        } else {
            let place = AccessWire.headerSize + AccessWire.segmentSize
            guard header.segmentCount == 1, Int(header.bodySize) == AccessWire.segmentSize + 8,
                case let segment = unsafe segment(0, bytes), segment.kind == .bytes
            else { return refuse(.malformed, header) }
            let parameters = UInt64(
                littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: place, as: UInt64.self))
            guard Self.lies(segment, in: region), let data = Self.data(segment),
                segment.count <= AccessWire.largestRead
            else { return refuse(.refused, header) }
            guard let new = FoldedRows(data, parameters: parameters) else {
                return refuse(.malformed, header)
            }
            folds = new
        }
        folds.advance(by: Self.foldStep, in: region)
        guard folds.isDone else {
            progress = .fold(folds)
            return .notYet
        }
        guard let sums = unsafe folds.take() else { return reply(.failed, header) }
        replies.append(
            AccessReplyHeader(
                bodySize: UInt32(sums.count), status: .done, content: .bytes, tag: header.tag))
        unsafe replies.append(owned: sums)
        return .done
    }
}
