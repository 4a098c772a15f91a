// In which order an access stores what into a region: written once, for every transport.
//
// A client device may die between any two stores, and its successor makes sense of what it finds by the
// rules of Repair/. Those rules rest on this order alone:
//
//     write      intent ─ marks ┊ data ─ landed
//     guarded    intent ─ marks ┊ [ data aside ┊ redo record ┊ data in place ┊ record cleared ] ┊ landed
//     zero       intent ─ marks ┊ zeroes ┊ landed
//     repair     landed cleared ┊ intent ┊ new data ┊ landed    or    old data ┊ intent withdrawn
//     redo       marks ─ new bytes aside ─ intent       (no order is needed: the intent has their check)
//     apply      new bytes, or zeroes, in place ┊ landed                            (of erasure sets)
//     map        header cleared ┊ words ┊ header
//
//     ┊  all that stands before it is in the region before anything behind it is
//
// A transport that keeps every store in order (shared memory, a message carried out from front to back)
// has nothing to do at ┊. One that places the bytes of a write in any order (RDMA) waits for what it has
// posted; there the landed mark of a write proves nothing, and the check of the data stands in for it. (An
// intent without a check tells that its mark was stored behind a barrier.)

/// Somewhere a region can be stored to and loaded from: mapped memory, or what stands in for it.
public protocol RegionAccess {
    /// Where the bytes of a write come from.
    associatedtype Payload

    func storeWord(_ word: UInt64, at place: ByteOffset)
    func loadWord(at place: ByteOffset) -> UInt64
    /// Stores the bytes of `payload` from `skipped` on at `range` of the volume's data.
    func storeData(_ payload: Payload, skipping skipped: ByteCount, at range: ByteRange)
    /// Stores as many bytes of `payload` from `skipped` on in the redo area.
    func storeAside(_ payload: Payload, skipping skipped: ByteCount, count: ByteCount)
    /// Stores what stands in the redo area at `range` of the volume's data.
    func restoreAside(at range: ByteRange)
    /// The size of the volume's data.
    var dataSize: ByteCount { get }
    /// What is stored from now on comes after all that was stored before.
    func barrier()
}

// MARK: Multi-writes

extension RegionAccess {
    /// Stores the intent, the data, and the landed mark, in this order.
    @inlinable @inline(__always)
    public func write(slot: UInt8, _ intent: Intent, from payload: Payload) {
        announce(slot: slot, intent)
        barrier()
        storeData(payload, skipping: .zero, at: intent.range)
        land(slot: slot, intent)
    }

    /// Stores the record of an upcoming multi-write.
    @inlinable @inline(__always)
    public func announce(slot: UInt8, _ intent: Intent) {
        let words = intent.words
        let place = RegionLayout.intentSlot(slot)
        // The old record stops checking with the first word that changes, and the new one checks only
        // with the last: a writer killed in between has announced nothing, and stored no data yet.
        for index in 0..<Intent.recordWords where index != Intent.completedWord {
            storeWord(words[index], at: place + ByteCount(UInt64(index) * 8))
        }
    }

    /// Stores the record of a multi-write that is repaired, whose data follows behind a barrier.
    ///
    /// A mark that came before the data, of the write that is repaired, must not count for the repair.
    public func announceRepair(slot: UInt8, _ intent: Intent) {
        let word = ByteCount(UInt64(Intent.landedWord) * 8)
        storeWord(0, at: RegionLayout.intentSlot(slot) + word)
        barrier()
        var intent = intent
        intent.dataCheck = 0
        announce(slot: slot, intent)
        barrier()
    }

    /// Takes an intent back whose data is what was there before: it reads as never seen.
    ///
    /// (A landed mark would be a lie, for a successor that finds the write whole on a member that this
    /// owner had lost.)
    public func withdraw(slot: UInt8) {
        let place = RegionLayout.intentSlot(slot)
        for word in [Intent.sequenceWord, Intent.landedWord] {
            storeWord(0, at: place + ByteCount(UInt64(word) * 8))
        }
        barrier()
    }

    /// Stores the mark that this member holds all of the multi-write.
    @inlinable @inline(__always)
    public func land(slot: UInt8, _ intent: Intent) {
        let word = ByteCount(UInt64(Intent.landedWord) * 8)
        storeWord(intent.sequence, at: RegionLayout.intentSlot(slot) + word)
    }

    /// Stores the mark that all members hold all of the multi-write.
    @inlinable
    public func complete(slot: UInt8, sequence: UInt64) {
        let word = ByteCount(UInt64(Intent.completedWord) * 8)
        storeWord(sequence, at: RegionLayout.intentSlot(slot) + word)
    }

    /// What stands in a slot of the observer area; nil for nothing whole.
    @inlinable
    public func intentSlot(_ slot: UInt8) -> IntentSlot? {
        let place = RegionLayout.intentSlot(slot)
        return IntentSlot(
            words: InlineArray<8, UInt64> { loadWord(at: place + ByteCount(UInt64($0) * 8)) })
    }
}

// MARK: Writes to the last copy

extension RegionAccess {
    /// Stores the intent, the data by way of the redo area, and the landed mark.
    ///
    /// With two members, one of them always has a block whole, before or after. With one, a writer
    /// killed in the middle of a block would leave it half old and half new, with nobody to copy it
    /// from. So the data goes aside first, piece by piece:
    ///
    ///     record whole  ⇒  the piece aside is whole: the next owner stores it in place again
    ///     no record     ⇒  the place was not touched yet, or is whole
    ///
    /// It costs a second copy, only while the set has a single member.
    @inlinable
    public func writeGuarded(slot: UInt8, _ intent: Intent, from payload: Payload) {
        announce(slot: slot, intent)
        barrier()
        var rest = intent.range
        while !rest.isEmpty {
            // Pieces end at block boundaries, so that each block is part of one.
            let block = RegionLayout.redoBlock.bytes
            let limit = (rest.start.bytes / block) * block + RegionLayout.redoData.count.bytes
            let count = ByteCount(min(rest.count.bytes, limit - rest.start.bytes))
            let piece = ByteRange(start: rest.start, count: count)
            let skipped = piece.start - intent.range.start
            putAside(piece, from: payload, skipping: skipped)
            storeData(payload, skipping: skipped, at: piece)
            barrier()
            clearRedo()
            rest = ByteRange(start: piece.end, count: rest.count - count)
        }
        land(slot: slot, intent)
    }

    /// Stores a piece in the redo area and then the record that makes it count.
    @inlinable
    package func putAside(
        _ piece: ByteRange, from payload: Payload, skipping skipped: ByteCount = .zero
    ) {
        precondition(piece.count <= RegionLayout.redoData.count, "a piece fits the redo area")
        storeAside(payload, skipping: skipped, count: piece.count)
        barrier()
        let words = RedoRecord(piece).words
        for index in 0..<RedoRecord.wordCount {
            storeWord(words[index], at: RegionLayout.redoWord(index))
        }
        barrier()
    }

    /// Finishes what a previous owner began to write to the last copy; returns how much that was.
    ///
    /// To be called before anything else is done with a region that was taken over.
    @discardableResult
    public func replayRedo() -> ByteCount {
        guard let piece = redoPiece else { return .zero }
        restoreAside(at: piece)
        barrier()
        clearRedo()
        return piece.count
    }

    /// Which piece of the data stands in the redo area, whole; nil for none.
    public var redoPiece: ByteRange? {
        let words = InlineArray<3, UInt64> { loadWord(at: RegionLayout.redoWord($0)) }
        guard let piece = RedoRecord(words: words)?.piece, piece.end.bytes <= dataSize.bytes,
            piece.count <= RegionLayout.redoData.count
        else { return nil }
        return piece
    }

    @inlinable
    func clearRedo() {
        // The check goes first: a record that is half cleared counts for nothing.
        for index in (0..<RedoRecord.wordCount).reversed() {
            storeWord(0, at: RegionLayout.redoWord(index))
        }
        barrier()
    }
}

// MARK: Erasure sets

extension RegionAccess {
    /// Stores new bytes in a redo slot, at `place` of the region's data, and the intent that tells of them.
    @inlinable @inline(__always)
    public func redo(slot: UInt8, _ intent: Intent, from payload: Payload, at place: ByteRange) {
        storeData(payload, skipping: .zero, at: place)
        announce(slot: slot, intent)
    }

    /// Stores a redo slot's bytes, `payload`, where they belong, and then the mark that they are there.
    @inlinable @inline(__always)
    public func apply(slot: UInt8, _ intent: Intent, from payload: Payload, at span: ByteRange) {
        storeData(payload, skipping: .zero, at: span)
        barrier()
        land(slot: slot, intent)
    }
}

// MARK: Labels and dirty maps

extension RegionAccess {
    /// Stores who this region is.
    public func writeLabel(_ label: RegionLabel) {
        let words = label.words
        for index in 0..<RegionLabel.wordCount {
            storeWord(words[index], at: RegionLayout.label.start + ByteCount(UInt64(index) * 8))
        }
        barrier()
    }

    /// Who this region says it is; nil when it was never labelled.
    public func readLabel() -> RegionLabel? {
        RegionLabel(
            words: InlineArray<9, UInt64> {
                loadWord(at: RegionLayout.label.start + ByteCount(UInt64($0) * 8))
            })
    }

    /// Stores the whole dirty map of a member whose region is `region`.
    ///
    /// It counts for nothing until its header is there, so a half-stored one is never believed.
    public func storeMap(of member: MemberIndex, region: RegionID, _ content: DirtyMapContent) {
        let header = DirtyMapHeader(
            region: region, wordCount: content.words.count, extentSize: content.extentSize)
        dropMap(of: member)
        for (index, word) in content.words.enumerated() { storeMapWord(word, index, of: member) }
        barrier()
        for index in 0..<DirtyMapHeader.wordCount {
            storeWord(header.words[index], at: RegionLayout.mapHeaderWord(index, of: member))
        }
        barrier()
    }

    /// Stores one word of the dirty map of a member.
    @inlinable
    public func storeMapWord(_ word: UInt64, _ index: Int, of member: MemberIndex) {
        storeWord(word, at: RegionLayout.mapWord(index, of: member))
    }

    /// Makes the dirty map of a member count for nothing.
    public func dropMap(of member: MemberIndex) {
        storeWord(
            0, at: RegionLayout.mapHeaderWord(DirtyMapHeader.checkWord, of: member))
        barrier()
    }

    /// The dirty map of a member whose region is `region`; nil when there is no whole one.
    public func loadMap(of member: MemberIndex, region: RegionID) -> DirtyMapContent? {
        let words = InlineArray<5, UInt64> {
            loadWord(at: RegionLayout.mapHeaderWord($0, of: member))
        }
        guard let header = DirtyMapHeader(words: words), header.region == region,
            header.mapWordCount <= RegionLayout.mapWordLimit
        else { return nil }
        return DirtyMapContent(
            extentSize: header.extentSize,
            words: (0..<header.mapWordCount).map {
                loadWord(at: RegionLayout.mapWord($0, of: member))
            })
    }
}
