// Where all chance of a simulation comes from: SplitMix64, by Steele, Lea and Flood ("Fast splittable
// pseudorandom number generators", OOPSLA 2014), with the constants of their Java implementation.
//
// One seed feeds many streams, each with a name. What draws from one stream leaves the others as they
// are: with one kind of fault switched off, the rest of a run still has the same chances, and a
// shrunk scenario stays close to the one it came from.

/// A stream of pseudorandom numbers; the same seed and stream always give the same numbers.
package struct Chance: RandomNumberGenerator, Sendable {
    /// The step of the counter: 2^64 divided by the golden ratio, made odd.
    private static let gamma: UInt64 = 0x9e37_79b9_7f4a_7c15

    private var state: UInt64

    /// The plain generator, whose numbers can be compared with other implementations.
    package init(seed: UInt64) { state = seed }

    /// Stream number `stream` of `seed`.
    package init(seed: UInt64, stream: UInt64) {
        // Two rounds, so that neighbouring seeds and streams start far apart in the one long cycle.
        state = Self.mixed(Self.mixed(seed &+ Self.gamma) ^ stream)
    }

    /// The stream of `seed` with the name `stream`, such as "crashes".
    package init(seed: UInt64, stream: String) {
        // FNV-1a, 64 bits: Swift's own hash differs from run to run.
        let number = stream.utf8.reduce(0xcbf2_9ce4_8422_2325 as UInt64) { hash, byte in
            (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
        }
        self.init(seed: seed, stream: number)
    }

    /// The next 64 bits.
    @inline(__always)
    package mutating func next() -> UInt64 {
        state &+= Self.gamma
        return Self.mixed(state)
    }

    /// A number from 0 up to, not including, `bound`; at least 1.
    ///
    /// The numbers are equally likely to within `bound` / 2^64 (the high word of a product; Lemire,
    /// "Fast random integer generation in an interval", 2019, without its rejection).
    @inline(__always)
    package mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0, "nothing lies below \(bound)")
        return Int(truncatingIfNeeded: next().multipliedFullWidth(by: UInt64(bound)).high)
    }

    /// True once in `count` times on average; never for 0, always for 1.
    ///
    /// Takes one number from the stream whatever `count` is.
    @inline(__always)
    package mutating func oneIn(_ count: Int) -> Bool {
        precondition(count >= 0, "once in less than no times")
        return next().multipliedFullWidth(by: UInt64(count)).high == 0 && count > 0
    }

    /// A number of `range`, both ends included; the range holds fewer than 2^63 numbers.
    @inline(__always)
    package mutating func within(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + below(range.upperBound - range.lowerBound + 1)
    }

    /// One of `choices`, which is not empty.
    @inline(__always)
    package mutating func pick<Choice>(from choices: [Choice]) -> Choice {
        choices[below(choices.count)]
    }

    @inline(__always)
    private static func mixed(_ number: UInt64) -> UInt64 {
        var bits = number
        bits = (bits ^ (bits >> 30)) &* 0xbf58_476d_1ce4_e5b9
        bits = (bits ^ (bits >> 27)) &* 0x94d0_49bb_1331_11eb
        return bits ^ (bits >> 31)
    }
}
