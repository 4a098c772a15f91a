// Where the bytes of an erasure set stand: which member holds which part of which stripe.
//
//     volume    │ stripe 0                  │ stripe 1                  │ …       K chunks each
//               │ chunk 0 │ chunk 1 │ …     │ chunk 0 │ …
//
//     member    0      1      2      3                (2+2; d: data, p: parity)
//     row 0     d0     d1     p0     p1
//     row 1     p1     d0     d1     p0               roles move on by one member a row,
//     row 2     p0     p1     d0     d1               so that parity is no member's burden alone
//
//     region    │ redo slots │ row 0 │ row 1 │ …      ranges of a region's data, as accesses name them
//
// A member's place in the set is its index: whoever replaces it takes the same. A change runs as steps:
// a run of whole stripes, or a part of one stripe. In either, every member's share is one span of its
// region, within one window that is the same for all:
//
//     part      column     0    lo        hi    C
//               d0         ·····░░░░░░░░░░·····       written; its span is what is written
//               d1         ·····          ·····
//               p0, p1     ·····▒▒▒▒▒▒▒▒▒▒·····       their span is the window
//
// Stripes are whole blocks, and steps end where stripes end: so each block belongs to one step, and is old or
// new when the step is.

/// The arithmetic of one erasure set.
public struct StripeGeometry: Hashable, Sendable, BitwiseCopyable {
    /// The chunk sizes a volume may have: a block of 4 KiB over eight members, up to a redo slot.
    public static let chunks = ByteCount(512)...ByteCount.kibibytes(128)
    /// What chunks are unless told otherwise: reads of up to 16 KiB stay on one member, and the 64 KiB that 4+2
    /// are written with most are a whole stripe (measured from 1 to 128 KiB).
    public static let usualChunk = ByteCount.kibibytes(16)
    /// What one step may change on each member, where nothing else is said.
    public static let usualRedoSlotSize = ByteCount.kibibytes(128)
    /// How many steps of a set may be in flight, where nothing else is said.
    public static let usualRedoSlotCount = 32
    /// Work areas for reads, rebuilds and scrubs, beside those of the redo slots.
    ///
    /// Reads only need one while a member is missing; more of them would wait for the same members.
    public static let sharedWorkAreas = 16
    /// What a scrub folds each chunk to: the smallest there is.
    public static let foldSize = ByteCount(512)
    /// What is old or new, never both, after a writer was killed.
    static let block: UInt64 = 4096

    /// K: how many shards of a stripe are data.
    public let dataShards: Int
    /// M: how many are parity.
    public let parityShards: Int
    public let chunk: ByteCount
    public private(set) var volumeSize: ByteCount
    public let redoSlotSize: ByteCount
    public let redoSlotCount: Int

    /// The geometry of a volume of `size` with `erasure:K+M`, whose numbers are in the layout's limits.
    public init(
        dataShards: Int, parityShards: Int, chunk: ByteCount = usualChunk, size: ByteCount,
        redoSlotSize: ByteCount = usualRedoSlotSize, redoSlotCount: Int = usualRedoSlotCount
    ) throws(StripeGeometryError) {
        precondition(
            Layout.erasureData.contains(dataShards) && Layout.erasureParity.contains(parityShards)
                && dataShards + parityShards <= MemberIndex.limit, "a layout checks its numbers")
        precondition(
            (1...RegionLayout.intentSlotCount).contains(redoSlotCount),
            "a redo slot has an intent slot")
        guard Self.chunks.contains(chunk), chunk.bytes.nonzeroBitCount == 1 else {
            throw .chunkOutOfRange(chunk)
        }
        guard UInt64(dataShards) * chunk.bytes % Self.block == 0 else {
            throw .stripeOfBrokenBlocks(chunk: chunk, dataShards: dataShards)
        }
        precondition(redoSlotSize >= chunk, "a redo slot holds a chunk")
        self.dataShards = dataShards
        self.parityShards = parityShards
        self.chunk = chunk
        self.redoSlotSize = redoSlotSize
        self.redoSlotCount = redoSlotCount
        volumeSize = size
    }

    /// The geometry of the same volume when it has grown: every row keeps its place, and more follow.
    public func grown(to size: ByteCount) -> StripeGeometry {
        precondition(size >= volumeSize, "a volume only grows")
        var geometry = self
        geometry.volumeSize = size
        return geometry
    }

    /// N = K+M.
    @inlinable public var memberCount: Int { dataShards + parityShards }
    /// How much of the volume a stripe holds.
    @inlinable public var stripeSize: ByteCount { ByteCount(UInt64(dataShards) * chunk.bytes) }
    /// How many stripes the volume has; the last may reach beyond its end, with zeroes.
    @inlinable public var stripeCount: UInt64 {
        (volumeSize.bytes + stripeSize.bytes - 1) / stripeSize.bytes
    }
    /// How many whole stripes one step may change.
    @inlinable public var runLimit: UInt64 { redoSlotSize.bytes / chunk.bytes }
    /// Where the rows begin in a region's data.
    @inlinable public var redoArea: ByteCount {
        ByteCount(redoSlotSize.bytes * UInt64(redoSlotCount))
    }
    /// The size of a member's data: redo slots and rows.
    public var regionDataSize: ByteCount {
        ByteCount(redoArea.bytes + stripeCount * chunk.bytes)
    }
    /// How many work areas a driver has to have: one a redo slot, and the shared ones.
    public var workAreaCount: Int { redoSlotCount + Self.sharedWorkAreas }
    /// The granule of rebuild and dirty tracking, of the volume: whole stripes.
    public var extentSize: ByteCount {
        let share = ByteCount(volumeSize.bytes / UInt64(dataShards) + 1)
        return ByteCount(
            UInt64(dataShards)
                * max(RegionLayout.extentSize(forDataOf: share).bytes, chunk.bytes))
    }
}

// MARK: Roles

extension StripeGeometry {
    /// Which shard of a stripe a member holds, and its twin: data from 0, then parity.
    @inlinable public func shard(of member: MemberIndex, in stripe: UInt64) -> Int {
        let shift = Int(stripe % UInt64(memberCount))
        let shard = member.place.number - shift
        return shard < 0 ? shard + memberCount : shard
    }

    /// Which member holds a shard of a stripe.
    @inlinable public func member(of shard: Int, in stripe: UInt64) -> MemberIndex {
        let place = shard + Int(stripe % UInt64(memberCount))
        return MemberIndex(place < memberCount ? place : place - memberCount)
    }

    /// All members of a healthy set.
    public var members: MemberSet { MemberSet((0..<memberCount).map { MemberIndex($0) }) }

    /// The members that hold parity of a stripe.
    @inlinable public func parityMembers(of stripe: UInt64) -> MemberSet {
        var members = MemberSet()
        for shard in dataShards..<memberCount { members.insert(member(of: shard, in: stripe)) }
        return members
    }

    /// Where a stripe's chunk stands in each region's data.
    @inlinable public func row(_ stripe: UInt64) -> ByteRange {
        ByteRange(start: ByteOffset(redoArea.bytes + stripe * chunk.bytes), count: chunk)
    }

    /// Where the payload of a slot stands in a region's data.
    @inlinable public func redoPlace(_ slot: UInt8, count: ByteCount) -> ByteRange {
        precondition(Int(slot) < redoSlotCount && count <= redoSlotSize, "a payload fits its slot")
        return ByteRange(start: ByteOffset(UInt64(slot) * redoSlotSize.bytes), count: count)
    }

    /// The stripes that `range` of the volume touches.
    @inlinable public func stripes(of range: ByteRange) -> Range<UInt64> {
        let size = stripeSize.bytes
        return range.start.bytes / size..<(range.end.bytes + size - 1) / size
    }

    /// `range` of the volume, made whole stripes.
    @inlinable public func wholeStripes(_ range: ByteRange) -> ByteRange {
        let stripes = stripes(of: range)
        return ByteRange(
            start: ByteOffset(stripes.lowerBound * stripeSize.bytes),
            count: ByteCount(UInt64(stripes.count) * stripeSize.bytes))
    }
}

// MARK: Steps

extension StripeGeometry {
    /// The first step of `rest`: as many whole stripes as there are, up to `limit`; else what is in the
    /// first stripe.
    @inlinable public func step(of rest: ByteRange, runLimit limit: UInt64) -> ByteRange {
        let size = stripeSize.bytes
        let offset = rest.start.bytes % size
        let whole = rest.count.bytes / size
        let count =
            offset == 0 && whole > 0
            ? min(whole, limit) * size : min(rest.count.bytes, size - offset)
        return ByteRange(start: rest.start, count: ByteCount(count))
    }

    /// Whether a step is of whole stripes.
    @inlinable public func isRun(_ step: ByteRange) -> Bool {
        step.start.bytes % stripeSize.bytes == 0 && step.count.bytes % stripeSize.bytes == 0
    }

    /// The span of each region that a step works on.
    @inlinable public func window(of step: ByteRange) -> ByteRange {
        let stripes = stripes(of: step)
        let row = row(stripes.lowerBound)
        guard !isRun(step) else {
            return ByteRange(
                start: row.start, count: ByteCount(UInt64(stripes.count) * chunk.bytes))
        }
        precondition(stripes.count == 1, "a part is of one stripe")
        let offset = step.start.bytes % stripeSize.bytes
        let column = offset % chunk.bytes
        // (More than one chunk: the columns of the first and the last together are all, or nearly.)
        guard column + step.count.bytes <= chunk.bytes else { return row }
        return ByteRange(start: row.start + ByteCount(column), count: step.count)
    }

    /// The rows that `range` of the volume touches, whole.
    @inlinable public func rows(of range: ByteRange) -> ByteRange {
        window(of: wholeStripes(range))
    }

    /// What data shard `shard` of the part's stripe has of it, as a span; empty for nothing.
    @inlinable public func written(_ shard: Int, by part: ByteRange) -> ByteRange {
        let stripe = part.start.bytes / stripeSize.bytes
        let place = ByteOffset(stripe * stripeSize.bytes + UInt64(shard) * chunk.bytes)
        let piece = part.intersection(ByteRange(start: place, count: chunk))
        guard !piece.isEmpty else { return ByteRange(start: row(stripe).start, count: .zero) }
        return ByteRange(start: row(stripe).start + (piece.start - place), count: piece.count)
    }

    /// The span that a step changes on a member; empty for nothing.
    @inlinable public func span(of step: ByteRange, on member: MemberIndex) -> ByteRange {
        guard !isRun(step) else { return window(of: step) }
        let shard = shard(of: member, in: step.start.bytes / stripeSize.bytes)
        return shard < dataShards ? written(shard, by: step) : window(of: step)
    }

    /// The members that a step changes.
    @inlinable public func touched(by step: ByteRange) -> MemberSet {
        guard !isRun(step) else { return members }
        let stripe = step.start.bytes / stripeSize.bytes
        var touched = parityMembers(of: stripe)
        for shard in dataShards(of: step) { touched.insert(member(of: shard, in: stripe)) }
        return touched
    }

    /// The data shards that a part is on.
    @inlinable public func dataShards(of part: ByteRange) -> ClosedRange<Int> {
        let offset = part.start.bytes % stripeSize.bytes
        return Int(offset / chunk.bytes)...Int((offset + part.count.bytes - 1) / chunk.bytes)
    }
}

// MARK: Reads

extension StripeGeometry {
    /// The members that hold the bytes of `range` themselves.
    @inlinable public func holders(of range: ByteRange) -> MemberSet {
        var holders = MemberSet()
        var place = range.start.bytes / chunk.bytes
        let last = (range.end.bytes - 1) / chunk.bytes
        while place <= last, holders.count < memberCount {
            let stripe = place / UInt64(dataShards)
            holders.insert(member(of: Int(place % UInt64(dataShards)), in: stripe))
            place += 1
        }
        return holders
    }

    /// The first step of a read of `rest` that reconstructs: what is in as many stripes as a work area holds.
    public func readStep(of rest: ByteRange) -> ByteRange {
        let limit = (rest.start.bytes / stripeSize.bytes + runLimit) * stripeSize.bytes
        return ByteRange(
            start: rest.start, count: ByteCount(min(rest.count.bytes, limit - rest.start.bytes)))
    }

    /// The span of each region that such a step needs.
    public func readWindow(of step: ByteRange) -> ByteRange {
        stripes(of: step).count == 1 ? window(of: step) : rows(of: step)
    }

    /// Calls `body` with each piece of `range` that stands on `member`, in order: where it is in the volume,
    /// and in the region's data.
    @inlinable public func forEachPiece(
        of range: ByteRange, on member: MemberIndex,
        _ body: (_ volume: ByteRange, _ span: ByteRange) -> Void
    ) {
        for stripe in stripes(of: range) {
            let shard = shard(of: member, in: stripe)
            guard shard < dataShards else { continue }
            let place = ByteOffset(stripe * stripeSize.bytes + UInt64(shard) * chunk.bytes)
            let piece = range.intersection(ByteRange(start: place, count: chunk))
            guard !piece.isEmpty else { continue }
            let span = ByteRange(
                start: row(stripe).start + (piece.start - place), count: piece.count)
            body(piece, span)
        }
    }
}

/// Why a volume cannot have the chunks that were asked for.
public enum StripeGeometryError: Error, Hashable, Sendable, CustomStringConvertible {
    case chunkOutOfRange(ByteCount)
    case stripeOfBrokenBlocks(chunk: ByteCount, dataShards: Int)

    public var description: String {
        switch self {
        case .chunkOutOfRange(let chunk):
            "Chunks of \(chunk) are not possible: choose a power of two from "
                + "\(StripeGeometry.chunks.lowerBound) to \(StripeGeometry.chunks.upperBound)."
        case .stripeOfBrokenBlocks(let chunk, let dataShards):
            "\(dataShards) chunks of \(chunk) do not hold whole blocks of 4 KiB: choose larger chunks."
        }
    }
}
