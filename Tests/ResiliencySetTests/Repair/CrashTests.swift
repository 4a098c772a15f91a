// The client device dies after every single store of every kind of change, and the repair after every
// store of its own: each block ends up old or new, the same on all members, for good (G3).

import RemoteMemory
import ResiliencySet
import Testing

/// A change and where it is interrupted: a store is the finest step a process can die after.
struct Crash: CustomTestStringConvertible, Sendable {
    var copies: Int
    var ordering: Ordering
    var kind: RequestKind

    var testDescription: String { "mirror:\(copies) \(ordering) \(kind)" }

    static let all = (1...3).flatMap { copies in
        Ordering.allCases.flatMap { ordering in
            OrderingTests.changes.map { Crash(copies: copies, ordering: ordering, kind: $0) }
        }
    }
}

extension ModelSet {
    /// Carries out at most `stores` stores, operation after operation; false when there are not so many.
    func run(stores limit: Int) -> Bool {
        var rest = limit
        while let operation = inFlight.first {
            let count = stores(of: operation).count
            // (Its last store done and its completion not told is a moment of its own.)
            guard rest > count else {
                store(operation, atMost: rest)
                return true
            }
            rest -= count + 1
            step()
        }
        return rest <= 0
    }
}

@Suite struct CrashTests {
    /// A set with something everywhere, and two overlapping older writes whose slots are still open.
    private func prepared(_ crash: Crash) -> ModelSet {
        let set = ModelSet(copies: crash.copies, ordering: crash.ordering)
        set.submit(.write, 0..<16)
        set.submit(.write, 3..<6)
        set.submit(.write, 20..<24)
        set.run()
        set.submit(crash.kind, 4..<7)
        return set
    }

    @Test(arguments: Crash.all)
    func `at every store of a change`(crash: Crash) {
        var stores = 0
        var goesOn = true
        while goesOn {
            let set = prepared(crash)
            goesOn = set.run(stores: stores)
            let settles = set.restart()
            #expect(settles <= ModelSet.range(4..<7).count, "bounded by what was in flight")
            set.run()
            #expect(set.phase == .serving)
            // (One copy has nobody to take a torn block's old or new contents from.)
            set.adopt(mayTear: crash.copies == 1)
            #expect(set.violations == [], "after \(stores) stores")
            set.restart()
            set.run()
            set.adopt()
            #expect(set.violations == [], "not for good, after \(stores) stores")
            stores += 1
        }
        #expect(stores > 7 * crash.copies)
    }

    @Test(arguments: Crash.all.filter { $0.copies > 1 })
    func `at every store of the repair`(crash: Crash) {
        for stores in 0..<60 {
            var repaired = 0
            var goesOn = true
            while goesOn {
                let set = prepared(crash)
                guard set.run(stores: stores) else { return }
                set.restart()
                goesOn = set.run(stores: repaired)
                set.restart()
                set.run()
                set.adopt()
                #expect(
                    set.violations == [], "after \(stores) stores, and \(repaired) of the repair")
                repaired += 1
            }
        }
    }

    @Test(arguments: [2, 3], OrderingTests.changes)
    func `with every member at another place, in parallel`(copies: Int, kind: RequestKind) {
        // A transport of several channels: each member has its own part of the same change.
        let crash = Crash(copies: copies, ordering: .parallel, kind: kind)
        let count = prepared(crash).inFlight.first.map { prepared(crash).stores(of: $0).count } ?? 0
        let places = (0...count).flatMap { first in (0...count).map { [first, $0] } }
        for place in places {
            for third in copies == 3 ? Array(0...count) : [0] {
                let set = prepared(crash)
                for operation in set.inFlight {
                    let member = operation.member.number
                    set.store(operation, atMost: member == 2 ? third : place[member])
                }
                set.restart()
                set.run()
                // Blocks that all members have half done, which only a CRC could tell, stay so.
                set.adopt(mayTear: place.allSatisfy { $0 >= 6 && $0 < count })
                #expect(set.violations == [], "\(place) \(third)")
            }
        }
    }

    @Test(arguments: OrderingTests.changes, [0, 1, 2])
    func `together with the loss of a member`(kind: RequestKind, lost: Int) {
        var stores = 0
        var goesOn = true
        while goesOn {
            let crash = Crash(copies: 3, ordering: .parallel, kind: kind)
            let set = prepared(crash)
            goesOn = set.run(stores: stores)
            set.recordDurably(.fail(MemberSet(MemberIndex(lost))))
            set.restart()
            set.run()
            set.adopt()
            #expect(set.violations == [], "after \(stores) stores")
            stores += 1
        }
    }

    @Test(arguments: 0..<3, 0..<6)
    func `a member that fails during the repair is recorded and left out`(member: Int, stores: Int)
    {
        let set = ModelSet(copies: 3)
        set.submit(.write, 0..<2)
        set.submit(.write, 8..<10)
        set.step()
        set.store(set.inFlight[0], atMost: 7 + stores)
        set.restart()
        var failed = false
        while !set.inFlight.isEmpty || !set.decisions.isEmpty {
            guard let operation = set.inFlight.first else {
                set.record()
                continue
            }
            let fails = operation.member.number == member && !failed
            failed = failed || fails
            set.step(fails: fails, landed: stores)
        }
        #expect(set.phase == .serving)
        set.adopt()
        #expect(set.violations == [])
    }

    @Test
    func `a source that is lost during the repair is not read again, however fast the registry`() {
        let set = ModelSet(copies: 3)
        set.submit(.write, 0..<2)
        set.submit(.write, 8..<10)
        set.step()
        set.step(set.inFlight.firstIndex { $0.member.number == 0 } ?? 0)
        set.restart()
        // Both writes are whole on member 0, and copied from there; it is lost during the first.
        #expect(set.inFlight.allSatisfy { $0.readsFrom == MemberSet(MemberIndex(0)) })
        set.lose(MemberIndex(0))
        set.record()
        set.run(recording: true)
        #expect(set.phase == .serving)
        #expect(set.active == MemberSet([MemberIndex(1), MemberIndex(2)]))
        set.adopt()
        #expect(set.violations == [])
    }

    @Test(arguments: 0..<200 as Range<UInt64>)
    func `many overlapping changes in flight`(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        let copies = 1 + generator.below(3)
        let set = ModelSet(copies: copies, ordering: generator.oneIn(2) ? .parallel : .sequential)
        for _ in 0..<5 {
            for _ in 0..<generator.below(120) {
                if set.hasRoom, !generator.oneIn(3) {
                    let start = generator.below(20)
                    set.submit(
                        OrderingTests.changes[generator.below(3)],
                        start..<start + 1 + generator.below(8))
                } else if let position = set.nextPositions.randomElement(using: &generator) {
                    set.step(position)
                }
            }
            // Every channel is cut somewhere, at the border of an operation or inside one block.
            for position in set.nextPositions {
                let operation = set.inFlight[position]
                let count = set.stores(of: operation).count
                var landed = generator.below(count + 1)
                if landed > 6, landed < count { landed -= landed % 2 }
                set.store(operation, atMost: landed)
            }
            repeat {
                set.restart()
            } while set.run(stores: generator.below(100)) && generator.oneIn(2)
            set.run()
            #expect(set.phase == .serving)
            set.adopt(mayTear: copies == 1)
            guard set.violations.isEmpty else { break }
        }
        #expect(set.violations == [], "seed \(seed)")
    }
}
