import Simulation
import Testing

/// A set of numbers that can lose one, or half.
private struct Numbers: Simplifiable {
    var members: Set<Int>

    func simplifications() -> [Numbers] {
        guard members.count > 0 else { return [] }
        let sorted = members.sorted()
        let halves =
            sorted.count > 1
            ? [sorted.prefix(sorted.count / 2), sorted.suffix(sorted.count / 2)] : []
        return (halves + sorted.map { number in sorted.filter { $0 != number }[...] })
            .map { Numbers(members: Set($0)) }
    }
}

@Suite struct ShrinkerTests {
    private let hundred = Numbers(members: Set(0..<100))

    @Test func `only what the failure needs is left`() {
        let smallest = Shrinker().shrink(hundred) { $0.members.isSuperset(of: [3, 58, 77]) }
        #expect(smallest.members == [3, 58, 77])
    }

    @Test func `what always fails shrinks to nothing`() {
        #expect(Shrinker().shrink(hundred) { _ in true }.members.isEmpty)
    }

    @Test func `what cannot be smaller stays`() {
        #expect(Shrinker().shrink(hundred) { _ in false } == hundred)
    }

    @Test func `nothing is tried twice`() {
        var tried: Set<Numbers> = []
        _ = Shrinker().shrink(hundred) { candidate in
            #expect(tried.insert(candidate).inserted)
            return candidate.members.isSuperset(of: [1, 2])
        }
    }

    @Test(arguments: [0, 1, 20])
    func `tries are limited, and the result still fails`(limit: Int) {
        var tries = 0
        let fails = { (numbers: Numbers) in numbers.members.contains(99) }
        let smallest = Shrinker(tryLimit: limit).shrink(hundred) { candidate in
            tries += 1
            return fails(candidate)
        }
        #expect(tries <= limit)
        #expect(fails(smallest))
        #expect(limit > 0 || smallest == hundred)
    }

    @Test func `progress counts tries and cuts`() {
        var seen: [Shrinker.Progress] = []
        _ = Shrinker().shrink(hundred, progress: { seen.append($0) }) { $0.members.contains(0) }
        #expect(seen.map(\.tries) == Array(1...seen.count))
        #expect(zip(seen, seen.dropFirst()).allSatisfy { $0.cuts <= $1.cuts })
        #expect(seen.last.map { $0.cuts > 0 } == true)
    }
}
