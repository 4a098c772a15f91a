// Intent records in memory that other machines write: whole ones are read back, half ones never.

import RemoteMemory
import Testing

@Suite struct IntentTests {
    static let example = Intent(
        epoch: Epoch(3), sequence: 41,
        range: ByteRange(start: ByteOffset(0x10000), count: ByteCount(0x2000)), kind: .write)

    static func random(_ generator: inout SeededGenerator) -> Intent {
        let sequence = generator.next() >> UInt64.random(in: 0..<60, using: &generator)
        return Intent(
            epoch: Epoch(.random(in: 0...5, using: &generator)), sequence: sequence | 1,
            range: ByteRange(
                start: ByteOffset(.random(in: 0..<1 << 46, using: &generator)),
                count: ByteCount(.random(in: 0...1 << 25, using: &generator))),
            kind: Bool.random(using: &generator) ? .write : .zero,
            dataCheck: Bool.random(using: &generator)
                ? 0 : UInt32(truncatingIfNeeded: generator.next()))
    }

    /// A slot with this record and this landed mark.
    static func slot(_ intent: Intent, landed: UInt64 = 0, completed: UInt64 = 0) -> [UInt64] {
        var words = intent.words.elements + [landed]
        words[Intent.completedWord] = completed
        return words
    }

    static func read(_ words: [UInt64]) -> IntentSlot? {
        IntentSlot(words: InlineArray<8, UInt64> { words[$0] })
    }

    @Test func `a record stands in memory as documented`() {
        #expect(
            Self.example.words.elements == [3, 41, 0x10000, 0x2000, 1, 0, 0x5789_2c24_2e9f_3a42])
        #expect(Intent.recordWords == 7)
        #expect(Intent.completedWord == 5)
        #expect(Intent.landedWord == 7)
        #expect(RegionLayout.intentSlotSize == 8 * (Intent.landedWord + 1))
    }

    @Test(arguments: [Intent.Kind.write, .zero], [0, 1, 0x8000_0000, UInt32.max])
    func `the check of the data stands above the kind`(kind: Intent.Kind, check: UInt32) {
        var intent = Self.example
        intent.kind = kind
        intent.dataCheck = check
        let words = Self.slot(intent)
        #expect(words[4] == kind.rawValue | UInt64(check) << 32)
        #expect(Self.read(words)?.intent == intent)
        // Another check of the data is not the one that was announced.
        var other = words
        other[4] ^= 1 << 32
        #expect(Self.read(other) == nil)
    }

    @Test func `what is written is read back`() {
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<1000 {
            let intent = Self.random(&generator)
            let slot = Self.read(Self.slot(intent))
            #expect(slot == IntentSlot(intent: intent, landed: false, completed: false))
        }
    }

    @Test func `marks count when they hold the sequence`() {
        let sequence = Self.example.sequence
        // Marks of the record before, of the one after, and of nothing: all are somebody else's.
        for other in [0, 1, sequence - 1, sequence + 1, UInt64.max] {
            let landed = Self.read(Self.slot(Self.example, landed: sequence, completed: other))
            #expect(landed == IntentSlot(intent: Self.example, landed: true, completed: false))
            let completed = Self.read(Self.slot(Self.example, landed: other, completed: sequence))
            #expect(completed == IntentSlot(intent: Self.example, landed: false, completed: true))
            let neither = Self.read(Self.slot(Self.example, landed: other, completed: other))
            #expect(neither == IntentSlot(intent: Self.example, landed: false, completed: false))
        }
        let both = Self.read(Self.slot(Self.example, landed: sequence, completed: sequence))
        #expect(both == IntentSlot(intent: Self.example, landed: true, completed: true))
    }

    @Test func `a slot that was never used holds nothing`() {
        #expect(Self.read(Array(repeating: 0, count: 8)) == nil)
        #expect(Self.read(Array(repeating: .max, count: 8)) == nil)
        var unnumbered = Self.example
        unnumbered.sequence = 0
        #expect(Self.read(Self.slot(unnumbered)) == nil)
    }

    @Test(arguments: [0, 1, 2, 3, 4, 6])
    func `a single wrong word is noticed`(word: Int) {
        var generator = SeededGenerator(seed: 4)
        for _ in 0..<100 {
            let words = Self.slot(Self.random(&generator))
            for wrong in corruptions(of: words[word], with: &generator) {
                var corrupted = words
                corrupted[word] = wrong
                #expect(Self.read(corrupted) == nil, "\(words[word]) became \(wrong)")
            }
        }
    }

    @Test func `two words that changed places are noticed`() {
        var generator = SeededGenerator(seed: 5)
        for _ in 0..<200 {
            let words = Self.slot(Self.random(&generator))
            for first in 0..<4 {
                for second in first + 1..<5 where words[first] != words[second] {
                    var swapped = words
                    swapped.swapAt(first, second)
                    #expect(Self.read(swapped) == nil, "\(first) and \(second) of \(words)")
                }
            }
        }
    }

    @Test func `a half-written record is never read as the new one`() {
        var generator = SeededGenerator(seed: 6)
        for round in 0..<1000 {
            let old = Self.random(&generator)
            var new = Self.random(&generator)
            // Mostly as in life: the slot's next record differs in its sequence and little else.
            if round % 2 == 0 {
                new = old
                new.sequence = old.sequence &+ 64 | 1
            }
            guard new.sequence != old.sequence else { continue }
            let before = Self.slot(old, landed: old.sequence, completed: old.sequence)
            for written in 0...Intent.recordWords {
                let words = Array(new.words.elements.prefix(written)) + before.dropFirst(written)
                let slot = Self.read(words)
                if written == Intent.recordWords {
                    // Whole, and the marks of the old record are not its own.
                    #expect(slot == IntentSlot(intent: new, landed: false, completed: false))
                } else {
                    #expect(slot == nil || slot?.intent == old, "\(written) words written")
                }
            }
        }
    }

    @Test func `a record written over nothing is unseen until it is whole`() {
        let whole = Self.example.words.elements
        for written in 0..<Intent.recordWords {
            let words = Array(whole.prefix(written)) + Array(repeating: 0, count: 8 - written)
            #expect(Self.read(words) == nil, "\(written) words written")
        }
        #expect(Self.read(whole + [0])?.intent == Self.example)
    }
}
