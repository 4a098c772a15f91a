// Writes to the last copy of a set: first aside, then in place.
//
// With two members, one of them always has a block whole, before or after. With one, a writer killed in
// the middle of a block would leave it half old and half new, with nobody to copy it from. So a write to
// the last copy is stored in the redo area first, piece by piece:
//
//     data aside ──▶ record (start, count, check) ──▶ data in place ──▶ record cleared
//
//     record whole  ⇒  the piece aside is whole: the next owner stores it in place again
//     no record     ⇒  the place was not touched yet, or is whole
//
// It costs a second copy, only while the set has a single member.

import CLinux
import Glibc
public import RemoteMemory

extension RegionView {
    /// Stores the intent, the data by way of the redo area, and the landed mark.
    public func writeGuarded(slot: UInt8, _ intent: Intent, from payload: UnsafeRawPointer) {
        announce(slot: slot, intent)
        var rest = intent.range
        while !rest.isEmpty {
            // Pieces end at block boundaries, so that each block is part of one.
            let block = RegionLayout.redoBlock.bytes
            let limit = (rest.start.bytes / block) * block + RegionLayout.redoData.count.bytes
            let count = ByteCount(min(rest.count.bytes, limit - rest.start.bytes))
            let piece = ByteRange(start: rest.start, count: count)
            let source = unsafe payload + Int((piece.start - intent.range.start).bytes)
            unsafe putAside(piece, from: source)
            unsafe Self.store(source, at: bytes(piece), count: Int(count.bytes))
            clearRedo()
            rest = ByteRange(start: piece.end, count: rest.count - count)
        }
        land(slot: slot, intent)
    }

    /// Stores a piece in the redo area and then the record that makes it count.
    package func putAside(_ piece: ByteRange, from source: UnsafeRawPointer) {
        precondition(piece.count <= RegionLayout.redoData.count, "a piece fits the redo area")
        unsafe Self.store(
            source, at: base + Int(RegionLayout.redoData.start.bytes),
            count: Int(piece.count.bytes))
        let words = RedoRecord(piece).words
        for index in 0..<RedoRecord.wordCount {
            unsafe clinux_store_word(redoRecord + index * 8, words[index])
        }
    }

    /// Finishes what a previous owner began to write to the last copy; returns how much that was.
    ///
    /// To be called before anything else is done with a region that was taken over.
    @discardableResult
    public func replayRedo() -> ByteCount {
        var words = InlineArray<3, UInt64>(repeating: 0)
        for index in 0..<RedoRecord.wordCount {
            words[index] = unsafe clinux_load_word(redoRecord + index * 8)
        }
        guard let piece = RedoRecord(words: words)?.piece, piece.end.bytes <= dataSize.bytes,
            piece.count <= RegionLayout.redoData.count
        else { return .zero }
        unsafe memcpy(
            bytes(piece), base + Int(RegionLayout.redoData.start.bytes), Int(piece.count.bytes))
        clearRedo()
        return piece.count
    }

    private func clearRedo() {
        // The check goes first: a record that is half cleared counts for nothing.
        for index in (0..<RedoRecord.wordCount).reversed() {
            unsafe clinux_store_word(redoRecord + index * 8, 0)
        }
    }

    private var redoRecord: UnsafeMutableRawPointer {
        unsafe base + Int(RegionLayout.redoRecord.start.bytes)
    }
}
