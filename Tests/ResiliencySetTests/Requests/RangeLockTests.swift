// Requests that touch the same bytes are carried out in the order of their arrival.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct RangeLockTests {
    static let kinds: [RequestKind] = [.read, .write, .zero, .discard]
    /// Where a second request lies, and whether it meets the first, at 8..<12.
    static let places: [(Range<Int>, Bool)] = [
        (0..<8, false), (0..<9, true), (8..<12, true), (9..<10, true), (11..<20, true),
        (12..<13, false), (0..<40, true),
    ]

    @Test(arguments: kinds, kinds)
    func `two requests run at once unless they meet and one changes data`(
        first: RequestKind, second: RequestKind
    ) {
        for (place, meets) in Self.places {
            let set = ModelSet(copies: 2)
            set.submit(first, 8..<12)
            let count = set.inFlight.count
            let token = set.submit(second, place)
            let waits = meets && (first != .read || second != .read)
            #expect((set.inFlight.count == count) == waits, "\(first) \(second) \(place)")
            set.run()
            #expect(set.outcome(token) == .done)
            #expect(set.violations == [])
        }
    }

    @Test func `nobody overtakes a conflicting elder`() {
        let set = ModelSet(copies: 2)
        let first = set.submit(.write, 0..<4)
        let waiting = set.submit(.write, 2..<8)
        // It meets only the one that waits: if it ran first, that one could wait for ever.
        let young = set.submit(.write, 6..<10)
        let reader = set.submit(.read, 7..<8)
        let free = set.submit(.read, 20..<21)
        set.run()
        let order = set.replied
        #expect(order.firstIndex(of: free).map { $0 < 4 } == true)
        #expect(order.filter { $0 != free } == [first, waiting, young, reader])
        #expect(set.violations == [])
    }

    @Test func `a writer is not starved by readers`() {
        let set = ModelSet(copies: 2)
        set.submit(.read, 0..<2)
        let writer = set.submit(.write, 0..<2)
        var steps = 0
        while set.outcome(writer) == nil, steps < 100 {
            set.submit(.read, 0..<2)
            set.step()
            steps += 1
        }
        #expect(steps <= 3)
        set.run()
        #expect(set.violations == [])
    }

    @Test(arguments: 0..<50 as Range<UInt64>)
    func `overlapping requests in any order of completion`(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        let set = ModelSet(copies: 3, ordering: generator.oneIn(2) ? .parallel : .sequential)
        for _ in 0..<400 {
            if set.hasRoom, generator.oneIn(2) {
                let start = generator.below(20)
                set.submit(
                    Self.kinds[generator.below(4)], start..<start + 1 + generator.below(6))
            } else if let position = set.nextPositions.randomElement(using: &generator) {
                set.step(position)
            }
        }
        set.run()
        #expect(set.replied.count == set.submitted.count)
        #expect(set.isQuiet)
        set.checkAtRest()
        #expect(set.violations == [], "seed \(seed)")
    }

    @Test(arguments: kinds)
    func `256 requests are in flight, more find no room`(kind: RequestKind) {
        let set = ModelSet(copies: 8, size: .mebibytes(2))
        var count = 0
        while set.hasRoom {
            set.submit(kind, count..<count + 1)
            count += 1
        }
        #expect(count == 256)
        set.run()
        #expect(set.replied.count == 256)
        #expect(set.hasRoom)
        #expect(set.isQuiet)
        #expect(set.violations == [])
    }

    @Test func `256 requests for one block are served one after the other`() {
        let set = ModelSet(copies: 2)
        while set.hasRoom { set.submit(.write, 0..<1) }
        set.run()
        #expect(set.replied == Array(0..<256))
        set.checkAtRest()
        #expect(set.violations == [])
    }
}
