// Quantities: what operators may be asked to type and read, and spans against a model of plain sets.

import RemoteMemory
import Testing

@Suite struct ByteCountParsingTests {
    @Test(
        arguments: [
            ("0", 0), ("1", 1), ("4096", 4096), ("007", 7), ("0K", 0), ("64K", 65_536),
            ("64k", 65_536), ("512M", 536_870_912), ("512m", 536_870_912), ("1G", 1_073_741_824),
            ("1g", 1_073_741_824), ("2T", 2_199_023_255_552), ("2t", 2_199_023_255_552),
            ("9223372036854775808", 1 << 63), ("9007199254740992K", 1 << 63),
            ("8796093022208M", 1 << 63), ("8589934592G", 1 << 63), ("8388608T", 1 << 63),
        ] as [(String, UInt64)])
    func `a number with or without a suffix is read`(text: String, bytes: UInt64) {
        #expect(ByteCount(parsing: text) == ByteCount(bytes))
        #expect(ByteCount(parsing: Substring(text)) == ByteCount(bytes))
    }

    @Test(arguments: [
        "", " ", "K", "k", "T", "KK", "1KK", "1MK", "K1", "1KB", "1KiB", "1B", "1P", "1E", "1X",
        " 1", "1 ", "1 K", "1K ", "\t1", "1\n", "1K\n", "1\r\n", "1\u{0}", "1\u{0}K",
        "-1", "-0", "+1", "+1K", "-1K", "1-", "1+1", "--1",
        "1.5G", "1.0", ".5G", "1.", "1,5G", "1,000", "1_000", "1'000", "0x10", "0b1", "1e3",
        "١", "１", "１K", "1Ｋ", "½", "²", "1²K", "Ⅷ", "一", "1\u{301}", "1K\u{301}", "1\u{200b}",
        "\u{feff}1", "1µ", "four", "nan", "inf",
    ])
    func `anything else is refused`(text: String) {
        #expect(ByteCount(parsing: text) == nil)
    }

    @Test func `a letter that only looks like a suffix is refused`() {
        // U+212A KELVIN SIGN is canonically equivalent to K, so that Swift finds them equal.
        #expect(ByteCount(parsing: "1\u{212a}") == nil)
    }

    @Test(arguments: [
        "9223372036854775809", "18446744073709551615", "18446744073709551616",
        "9007199254740993K", "8796093022209M", "8589934593G", "8388609T",
        // These wrap around to something small when shifted without a check.
        "18014398509481984K", "17592186044416M", "17179869184G", "16777216T", "16777217T",
        "99999999999999999999999999999999T",
    ])
    func `more than 2^63 bytes are refused`(text: String) {
        #expect(ByteCount(parsing: text) == nil)
    }
}

@Suite struct ByteCountTests {
    @Test(
        arguments: [
            (0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (1536, "1.5 KiB"),
            (1 << 20, "1.0 MiB"), (3 << 19, "1.5 MiB"), (1 << 30, "1.0 GiB"), (3 << 29, "1.5 GiB"),
            (1023 << 30, "1023.0 GiB"), (1 << 40, "1.0 TiB"), (64 << 40, "64.0 TiB"),
            (2048 << 40, "2048.0 TiB"), (.max, "16777216.0 TiB"),
        ] as [(UInt64, String)])
    func `people read one decimal and a binary unit`(bytes: UInt64, text: String) {
        #expect(ByteCount(bytes).description == text)
    }

    @Test(
        arguments: [
            (1 << 20, "1.0 MiB"), (1 << 30, "1.0 GiB"), (1 << 40, "1.0 TiB"),
        ] as [(UInt64, String)])
    func `what rounds up to the next unit is written in it`(next: UInt64, text: String) {
        #expect(ByteCount(next - 1).description == text)
    }

    @Test func `units are powers of 1024`() {
        #expect(ByteCount.zero.bytes == 0)
        #expect(ByteCount.kibibytes(3).bytes == 3 * 1024)
        #expect(ByteCount.mebibytes(3).bytes == 3 * 1024 * 1024)
        #expect(ByteCount.gibibytes(3).bytes == 3 * 1024 * 1024 * 1024)
    }

    @Test func `counts and offsets add up`() {
        #expect(ByteCount(5) + ByteCount(7) == ByteCount(12))
        #expect(ByteCount(7) - ByteCount(5) == ByteCount(2))
        #expect(ByteOffset(5) + ByteCount(7) == ByteOffset(12))
        #expect(ByteOffset(7) - ByteOffset(5) == ByteCount(2))
        #expect(ByteCount(5) < ByteCount(7) && !(ByteCount(7) < ByteCount(7)))
        #expect(ByteOffset(5) < ByteOffset(7) && !(ByteOffset(7) < ByteOffset(7)))
        #expect(ByteOffset(1536).description == "1536")
    }

    @Test func `nothing wraps around`() async {
        await #expect(processExitsWith: .failure) { print(ByteCount(1) - ByteCount(2)) }
        await #expect(processExitsWith: .failure) { print(ByteCount(.max) + ByteCount(1)) }
        await #expect(processExitsWith: .failure) { print(ByteOffset(1) - ByteOffset(2)) }
        await #expect(processExitsWith: .failure) { print(ByteOffset(.max) + ByteCount(1)) }
    }
}

@Suite struct ByteRangeTests {
    static let small: [ByteRange] = (0...6).flatMap { start in
        (0...6).map { ByteRange(start: ByteOffset(start), count: ByteCount($0)) }
    }

    static func bytes(_ range: ByteRange) -> Set<UInt64> {
        Set(range.start.bytes..<range.end.bytes)
    }

    @Test(arguments: small)
    func `a range ends after its last byte`(range: ByteRange) {
        #expect(range.end.bytes == range.start.bytes + range.count.bytes)
        #expect(range.isEmpty == (range.count == .zero))
    }

    @Test(arguments: small)
    func `an intersection holds the bytes of both`(range: ByteRange) {
        for other in Self.small {
            let common = Self.bytes(range).intersection(Self.bytes(other))
            #expect(Self.bytes(range.intersection(other)) == common, "\(range) and \(other)")
            #expect(range.intersection(other).isEmpty == common.isEmpty, "\(range) and \(other)")
        }
    }

    @Test(arguments: small.filter { !$0.isEmpty })
    func `ranges overlap when they share a byte`(range: ByteRange) {
        for other in Self.small where !other.isEmpty {
            let shares = !Self.bytes(range).isDisjoint(with: Self.bytes(other))
            #expect(range.overlaps(other) == shares, "\(range) and \(other)")
        }
    }

    @Test func `an empty range overlaps nothing`() {
        let empty = ByteRange(start: ByteOffset(3), count: .zero)
        let around = ByteRange(start: ByteOffset(0), count: ByteCount(6))
        #expect(!empty.overlaps(around))
        #expect(!around.overlaps(empty))
        #expect(!empty.overlaps(empty))
    }

    @Test func `the end of the number space is no special place`() {
        let last = ByteRange(start: ByteOffset(.max - 4), count: ByteCount(4))
        let all = ByteRange(start: ByteOffset(0), count: ByteCount(.max))
        #expect(last.end == ByteOffset(.max))
        #expect(last.overlaps(all) && all.overlaps(last))
        #expect(all.intersection(last) == last)
    }

    @Test func `a range that ends past 2^64 has no end`() async {
        await #expect(processExitsWith: .failure) {
            print(ByteRange(start: ByteOffset(.max), count: ByteCount(1)).end)
        }
    }
}
