import Simulation
import Testing

@Suite struct ChanceTests {
    /// The first numbers of SplitMix64, as Java's SplittableRandom and others give them.
    @Test func `numbers are those of SplitMix64`() {
        var chance = Chance(seed: 1_234_567)
        let numbers = (0..<5).map { _ in chance.next() }
        #expect(
            numbers == [
                6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423,
                4_593_380_528_125_082_431, 16_408_922_859_458_223_821,
            ])
        var zero = Chance(seed: 0)
        #expect(zero.next() == 0xe220_a839_7b1d_cdaf)
    }

    @Test func `the same seed and stream give the same numbers`() {
        var one = Chance(seed: 7, stream: "crashes")
        var other = Chance(seed: 7, stream: "crashes")
        for _ in 0..<100 { #expect(one.next() == other.next()) }
    }

    @Test func `different seeds and streams give different numbers`() {
        var firsts: Set<UInt64> = []
        for seed in 0..<100 as Range<UInt64> {
            for stream in 0..<100 as Range<UInt64> {
                var chance = Chance(seed: seed, stream: stream)
                firsts.insert(chance.next())
            }
            for name in ["crashes", "clients", ""] {
                var chance = Chance(seed: seed, stream: name)
                firsts.insert(chance.next())
            }
        }
        #expect(firsts.count == 100 * 103)
    }

    @Test func `the name of a stream means the same in every run of the program`() {
        var chance = Chance(seed: 1, stream: "crashes")
        #expect(chance.next() == 2_157_100_918_363_820_465)
    }

    @Test(arguments: [1, 2, 3, 10, 1_000, Int.max])
    func `below stays below`(bound: Int) {
        var chance = Chance(seed: 1)
        for _ in 0..<1_000 { #expect((0..<bound).contains(chance.below(bound))) }
    }

    @Test func `below gives all numbers about equally often`() {
        var chance = Chance(seed: 2)
        var counts = [Int](repeating: 0, count: 10)
        for _ in 0..<100_000 { counts[chance.below(10)] += 1 }
        #expect(counts.allSatisfy { (9_600...10_400).contains($0) }, "\(counts)")
    }

    @Test func `within includes both ends`() {
        var chance = Chance(seed: 3)
        let found = Set((0..<1_000).map { _ in chance.within(-2...2) })
        #expect(found == [-2, -1, 0, 1, 2])
        #expect(chance.within(5...5) == 5)
    }

    @Test func `one in none is never, one in one always`() {
        var chance = Chance(seed: 4)
        for _ in 0..<1_000 {
            let never = chance.oneIn(0)
            let always = chance.oneIn(1)
            #expect(!never && always)
        }
        let hits = (0..<100_000).filter { _ in chance.oneIn(50) }.count
        #expect((1_800...2_200).contains(hits))
    }

    @Test func `one in takes one number, whatever its count`() {
        var one = Chance(seed: 5)
        var other = Chance(seed: 5)
        for _ in 0..<100 {
            _ = one.oneIn(0)
            _ = other.oneIn(3)
        }
        #expect(one.next() == other.next())
    }

    @Test func `pick finds every choice`() {
        var chance = Chance(seed: 6)
        #expect(Set((0..<100).map { _ in chance.pick(from: ["a", "b", "c"]) }) == ["a", "b", "c"])
    }

    @Test func `nothing lies below zero, and there is no choice among none`() async {
        await #expect(processExitsWith: .failure) {
            var chance = Chance(seed: 1)
            _ = chance.below(0)
        }
        await #expect(processExitsWith: .failure) {
            var chance = Chance(seed: 1)
            _ = chance.pick(from: [Int]())
        }
    }
}
