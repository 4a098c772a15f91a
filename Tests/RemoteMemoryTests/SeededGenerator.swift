// Randomness that a failing test can be replayed with, and words that can be compared.

/// SplitMix64: a different, repeatable sequence for every seed.
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

extension InlineArray where Element == UInt64 {
    var elements: [UInt64] { indices.map { self[$0] } }
}

/// What one word may turn into: a flipped bit, a neighbour, nothing, everything, another word.
func corruptions(of word: UInt64, with generator: inout SeededGenerator) -> [UInt64] {
    let flips = (0..<64).map { word ^ (1 << UInt64($0)) }
    let others = [0, UInt64.max, word &+ 1, word &- 1, ~word, word.byteSwapped, generator.next()]
    return (flips + others).filter { $0 != word }
}
