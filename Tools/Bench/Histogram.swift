// Latencies, counted in a log-linear histogram (the idea of HdrHistogram): each power of two is cut
// into 64 equal buckets, so that every value is kept to within 1.6 % in a fixed 30 KiB, and recording
// one is a count-leading-zeros, a shift and an increment.
//
//     value    0 … 127       one bucket each
//              128 … 255     64 buckets of 2
//              256 … 511     64 buckets of 4     …     up to 2^64

/// A fixed-size histogram of nanoseconds.
struct Histogram: ~Copyable {
    /// log2 of the number of buckets per power of two; the relative error is at most 1 / 2^6.
    private static let precisionBits = 6
    private static let bucketsPerOctave = 1 << precisionBits
    private static let bucketCount = (64 - precisionBits + 1) * bucketsPerOctave

    private let buckets: UnsafeMutablePointer<UInt64>
    private(set) var count: UInt64 = 0

    init() {
        buckets = .allocate(capacity: Self.bucketCount)
        buckets.initialize(repeating: 0, count: Self.bucketCount)
    }

    deinit { buckets.deallocate() }

    @inline(__always)
    mutating func record(_ value: UInt64) {
        buckets[Self.index(of: value)] &+= 1
        count &+= 1
    }

    mutating func reset() {
        buckets.update(repeating: 0, count: Self.bucketCount)
        count = 0
    }

    /// The value that `fraction` (0…1) of all recorded values do not exceed, to within 1.6 %.
    ///
    /// Zero when nothing was recorded.
    func quantile(_ fraction: Double) -> UInt64 {
        guard count > 0 else { return 0 }
        let rank = max(1, UInt64((fraction * Double(count)).rounded(.up)))
        var seen: UInt64 = 0
        for index in 0..<Self.bucketCount {
            seen += buckets[index]
            if seen >= rank { return Self.middle(of: index) }
        }
        return 0
    }

    @inline(__always)
    static func index(of value: UInt64) -> Int {
        let octave = max(0, 63 &- (value | 1).leadingZeroBitCount &- precisionBits)
        return octave &* bucketsPerOctave &+ Int(truncatingIfNeeded: value >> UInt64(octave))
    }

    /// The value that stands for all values of a bucket.
    static func middle(of index: Int) -> UInt64 {
        guard index >= 2 * bucketsPerOctave else { return UInt64(index) }
        let octave = UInt64(index / bucketsPerOctave - 1)
        let lowest = UInt64(index % bucketsPerOctave + bucketsPerOctave) << octave
        return lowest + (1 << octave) / 2
    }
}
