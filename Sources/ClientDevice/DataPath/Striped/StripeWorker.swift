// What the driver of an erasure set reckons: the engine says what of which step, here are the bytes.
//
//     encode    payload, and what was fetched ──▶ parity in the work area ──▶ redo slots
//     decode    windows of K members ──▶ the bytes of a read
//     rebuild   rows of K members ──▶ the rows of another
//     verify    folds of more than K members: do they belong together?
//
// Everything is done at once, on the thread of the volume, and nothing is allocated for it.

import ErasureCoding
import Glibc
import RemoteMemory
import ResiliencySet

/// Bytes of a request: where they begin in memory, and in the volume.
@safe
struct RequestBytes: BitwiseCopyable {
    /// Nil for zeroes.
    let start: UnsafeMutableRawPointer?
    let offset: ByteOffset

    init(_ start: UnsafeMutableRawPointer?, of range: ByteRange) {
        unsafe self.start = start
        offset = range.start
    }

    /// The bytes from a place in the volume on; as many as a redo slot holds are there if they are zeroes.
    @inline(__always)
    func at(_ place: ByteOffset) -> UnsafeMutableRawPointer {
        guard let start = unsafe start else {
            return unsafe UnsafeMutableRawPointer(mutating: Zeroes.bytes)
        }
        return unsafe start + Int((place - offset).bytes)
    }
}

/// Reckons with the stripes of one volume; lives on its thread.
@safe
final class StripeWorker {
    let geometry: StripeGeometry
    let memory: WorkMemory
    private let codec: ISALCodec
    private let shards = Shards()

    init(_ geometry: StripeGeometry) {
        self.geometry = geometry
        memory = WorkMemory(geometry)
        do throws(ErasureCodingError) {
            codec = ISALCodec(
                try ErasureCode(
                    dataShards: geometry.dataShards, parityShards: geometry.parityShards))
        } catch {
            preconditionFailure("a geometry is of a code that exists: \(error)")
        }
    }

    // MARK: Places

    func stripe(at place: ByteOffset) -> UInt64 {
        (place.bytes - geometry.redoArea.bytes) / geometry.chunk.bytes
    }

    /// How far behind the start of its row something stands.
    func column(of place: ByteOffset) -> ByteCount {
        ByteCount((place.bytes - geometry.redoArea.bytes) % geometry.chunk.bytes)
    }

    /// Where what a member has of `span` stands in a work area: its first row is the area's first.
    func place(of span: ByteRange, on member: MemberIndex, in work: UInt8)
        -> UnsafeMutableRawPointer
    {
        let column = column(of: span.start)
        precondition(column + span.count <= geometry.redoSlotSize, "a window fits a work area")
        return unsafe memory.place(work, member, column)
    }

    /// Names the places of all shards of a stripe, `offset` behind the start of the area's first row.
    func point(to stripe: UInt64, in work: UInt8, _ offset: ByteCount) {
        for shard in 0..<geometry.memberCount {
            unsafe shards[ShardIndex(shard)] = memory.place(
                work, geometry.member(of: shard, in: stripe), offset)
        }
    }

    /// The shards of a stripe that some members hold.
    private func shardSet(of members: MemberSet, in stripe: UInt64) -> ShardSet {
        var shards = ShardSet()
        for member in members {
            shards.insert(ShardIndex(geometry.shard(of: member, in: stripe)))
        }
        return shards
    }

    private func volumePlace(of stripe: UInt64, shard: Int) -> ByteOffset {
        ByteOffset(
            stripe * geometry.stripeSize.bytes + UInt64(shard) * geometry.chunk.bytes)
    }

    /// Puts a shard somewhere else.
    func replace(_ shard: ShardIndex, by place: UnsafeMutableRawPointer) {
        unsafe shards[shard] = place
    }

    /// Works out one shard from K others, all where they were said to be.
    func reconstruct(_ shard: ShardIndex, from survivors: ShardSet, count: Int) {
        codec.reconstruct(ShardSet(shard), from: survivors, in: shards, count: count)
    }

    // MARK: Changes

    /// Works out the parity of a step.
    func encode(_ step: EncodeStep, from request: RequestBytes) {
        let stripe = step.range.start.bytes / geometry.stripeSize.bytes
        switch step.path {
        case .whole: encodeRun(step, from: request)
        case .modify: modify(step, stripe, from: request)
        case .reconstruct: encodePart(step, stripe, from: request)
        case .degraded:
            completeData(of: stripe, step)
            encodePart(step, stripe, from: request)
        }
    }

    private func encodeRun(_ step: EncodeStep, from request: RequestBytes) {
        let stripes = geometry.stripes(of: step.range)
        for stripe in stripes {
            let row = ByteCount((stripe - stripes.lowerBound) * geometry.chunk.bytes)
            for shard in 0..<geometry.dataShards {
                unsafe shards[ShardIndex(shard)] = request.at(
                    volumePlace(of: stripe, shard: shard))
            }
            for shard in geometry.dataShards..<geometry.memberCount {
                unsafe shards[ShardIndex(shard)] = memory.place(
                    step.work, geometry.member(of: shard, in: stripe), row)
            }
            codec.encode(shards, count: Int(geometry.chunk.bytes))
        }
    }

    /// Adds the difference of old and new bytes to the old parity.
    private func modify(_ step: EncodeStep, _ stripe: UInt64, from request: RequestBytes) {
        for shard in geometry.dataShards(of: step.range) {
            let span = geometry.written(shard, by: step.range)
            let column = column(of: span.start)
            for parity in geometry.dataShards..<geometry.memberCount {
                let member = geometry.member(of: parity, in: stripe)
                unsafe shards[ShardIndex(parity)] =
                    step.parity.contains(member) ? memory.place(step.work, member, column) : nil
            }
            let old = unsafe memory.place(
                step.work, geometry.member(of: shard, in: stripe), column)
            let new = unsafe request.at(volumePlace(of: stripe, shard: shard) + column)
            unsafe codec.update(
                shards, changing: ShardIndex(shard), from: old, to: new,
                count: Int(span.count.bytes))
        }
    }

    /// Works out the data of the window that no member brought.
    private func completeData(of stripe: UInt64, _ step: EncodeStep) {
        let window = geometry.window(of: step.range)
        let survivors = shardSet(of: step.sources, in: stripe)
        let lost = ShardSet(0..<geometry.dataShards).subtracting(survivors)
        guard !lost.isEmpty else { return }
        point(to: stripe, in: step.work, column(of: window.start))
        codec.reconstruct(lost, from: survivors, in: shards, count: Int(window.count.bytes))
    }

    /// Lays the new bytes over the old data of the window, and encodes it.
    private func encodePart(_ step: EncodeStep, _ stripe: UInt64, from request: RequestBytes) {
        for shard in geometry.dataShards(of: step.range) {
            let span = geometry.written(shard, by: step.range)
            let column = column(of: span.start)
            let member = geometry.member(of: shard, in: stripe)
            unsafe memcpy(
                memory.place(step.work, member, column),
                request.at(volumePlace(of: stripe, shard: shard) + column),
                Int(span.count.bytes))
        }
        let window = geometry.window(of: step.range)
        point(to: stripe, in: step.work, column(of: window.start))
        codec.encode(shards, count: Int(window.count.bytes))
    }

    /// A member's new bytes of a step, piece by piece: where they are, how many, and how far behind the start
    /// of its redo slot they belong.
    @inline(__always)
    func forEachNewPiece(
        of intent: Intent, in work: UInt8, on member: MemberIndex, from request: RequestBytes,
        _ body: (UnsafeRawPointer, ByteCount, ByteCount) -> Void
    ) {
        guard intent.kind == .write else { return }
        let stripes = geometry.stripes(of: intent.range)
        guard geometry.isRun(intent.range) else {
            let span = geometry.span(of: intent.range, on: member)
            guard !span.isEmpty else { return }
            let shard = geometry.shard(of: member, in: stripes.lowerBound)
            let column = column(of: span.start)
            let bytes =
                unsafe shard < geometry.dataShards
                ? request.at(volumePlace(of: stripes.lowerBound, shard: shard) + column)
                : memory.place(work, member, column)
            return unsafe body(bytes, span.count, .zero)
        }
        for stripe in stripes {
            let row = ByteCount((stripe - stripes.lowerBound) * geometry.chunk.bytes)
            let shard = geometry.shard(of: member, in: stripe)
            let bytes =
                unsafe shard < geometry.dataShards
                ? request.at(volumePlace(of: stripe, shard: shard))
                : memory.place(work, member, row)
            unsafe body(bytes, geometry.chunk, row)
        }
    }

    // MARK: Reads and rebuilds

    /// Hands the bytes of a step to a read, with what is lost worked out.
    func decode(_ step: DecodeStep, into request: RequestBytes) {
        let stripes = geometry.stripes(of: step.range)
        for stripe in stripes {
            let row = (stripe - stripes.lowerBound) * geometry.chunk.bytes
            let survivors = shardSet(of: step.sources, in: stripe)
            for shard in 0..<geometry.dataShards {
                let chunk = ByteRange(
                    start: volumePlace(of: stripe, shard: shard), count: geometry.chunk)
                let piece = chunk.intersection(step.range)
                guard !piece.isEmpty else { continue }
                let offset = ByteCount(row + (piece.start - chunk.start).bytes)
                let target = unsafe request.at(piece.start)
                let count = Int(piece.count.bytes)
                let index = ShardIndex(shard)
                if survivors.contains(index) {
                    let member = geometry.member(of: shard, in: stripe)
                    unsafe memcpy(target, memory.place(step.work, member, offset), count)
                } else {
                    point(to: stripe, in: step.work, offset)
                    unsafe shards[index] = target
                    codec.reconstruct(ShardSet(index), from: survivors, in: shards, count: count)
                }
            }
        }
    }

    /// Works out a member's rows; they are in its part of the work area then.
    ///
    /// (What was fetched for a twin is there: its member has the same.)
    func rebuild(
        _ window: ByteRange, _ member: MemberIndex, in work: UInt8, from sources: MemberSet
    ) {
        guard !sources.contains(member.place) else { return }
        let first = stripe(at: window.start)
        for row in 0..<window.count.bytes / geometry.chunk.bytes {
            point(to: first + row, in: work, ByteCount(row * geometry.chunk.bytes))
            codec.reconstruct(
                ShardSet(ShardIndex(geometry.shard(of: member, in: first + row))),
                from: shardSet(of: sources, in: first + row), in: shards,
                count: Int(geometry.chunk.bytes))
        }
    }
}
