// One member's region, small enough to be thrown away after every step of a test.
//
// A cell stands for half a block of 4 KiB, so that a block can be torn, and holds what was written there
// and where it belongs, so that a copy to the wrong place is seen. Intents stand in real slots, word by
// word, as in a region.

import RemoteMemory

/// What one client-side access stores, in order: a process may die between any two.
enum Store {
    case word(slot: UInt8, Int, UInt64)
    case cell(Int, UInt64)
    case copiedCell(Int, from: MemberIndex)
    /// A dirty map: none while it is being stored.
    case map(of: MemberIndex, StoredMap?)
    case mapWord(of: MemberIndex, Int, UInt64)
}

/// A dirty map as it stands in a region: which region it is of, and what it holds.
struct StoredMap {
    var life: Int
    var content: DirtyMapContent

    var words: [UInt64] { content.words }

    func contains(_ extent: Int) -> Bool {
        words[extent / 64] & 1 << UInt64(extent % 64) != 0
    }
}

/// The memory of one member.
struct ModelMemory {
    static let cellSize: UInt64 = 2048

    var cells: [UInt64]
    var maps: [MemberIndex: StoredMap] = [:]
    private var words = [UInt64](repeating: 0, count: 64 * 8)

    init(size: ByteCount) {
        cells = Array(repeating: 0, count: Int(size.bytes / Self.cellSize))
    }

    /// Makes room for a larger set.
    mutating func grow(to size: ByteCount) {
        let count = Int(size.bytes / Self.cellSize) - cells.count
        if count > 0 { cells += Array(repeating: 0, count: count) }
    }

    static func cells(_ range: ByteRange) -> Range<Int> {
        precondition(range.start.bytes % cellSize == 0 && range.count.bytes % cellSize == 0)
        return Int(range.start.bytes / cellSize)..<Int(range.end.bytes / cellSize)
    }

    func slot(_ number: UInt8) -> IntentSlot? {
        IntentSlot(words: InlineArray<8, UInt64> { words[Int(number) * 8 + $0] })
    }

    mutating func store(word: Int, of slot: UInt8, _ value: UInt64) {
        words[Int(slot) * 8 + word] = value
    }
}

extension Store {
    /// The record of an upcoming multi-write: complete with its last word.
    static func announcing(_ intent: Intent, _ slot: UInt8) -> [Store] {
        let words = intent.words
        return (0..<Intent.recordWords).filter { $0 != Intent.completedWord }.map {
            .word(slot: slot, $0, words[$0])
        }
    }

    static func landing(_ intent: Intent, _ slot: UInt8) -> Store {
        .word(slot: slot, Intent.landedWord, intent.sequence)
    }
}
