// Slots bound what a takeover must repair.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct IntentSlotsTests {
    @Test(arguments: Ordering.allCases)
    func `the 65th concurrent write waits for a slot`(ordering: Ordering) throws {
        let set = ModelSet(copies: 2, ordering: ordering)
        let tokens = (0..<70).map { set.submit(.write, $0..<$0 + 1) }
        func slots() throws -> Set<UInt8> {
            Set(
                try set.inFlight.map { operation in
                    guard case .write(let slot, _, _, _, _) = operation.action else {
                        throw Unexpected(operation: operation)
                    }
                    return slot
                })
        }
        #expect(try slots() == Set(0..<64))
        let read = set.submit(.read, 100..<101)
        #expect(set.inFlight.last?.readsFrom.isEmpty == false, "reads need no slot")
        set.run()
        #expect(tokens.allSatisfy { set.outcome($0) == .done })
        #expect(set.outcome(read) == .done)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a slot in use is never written by another`() {
        let set = ModelSet(copies: 1)
        for block in 0..<100 { set.submit(.write, block..<block + 1) }
        var generator = SplitMix64(seed: 7)
        while !set.inFlight.isEmpty {
            var owners: [UInt8: UInt64] = [:]
            for operation in set.inFlight {
                guard case .write(let slot, let intent, _, _, _) = operation.action else {
                    continue
                }
                #expect(owners.updateValue(intent.sequence, forKey: slot) == nil)
            }
            #expect(set.inFlight.count <= 64)
            // (One member's channel is ordered, so only its first may complete.)
            set.step(0)
            if generator.oneIn(3) { set.submit(.write, 200..<201) }
            if set.submitted.count > 300 { break }
        }
        #expect(set.violations == [])
    }

    @Test func `markCompleted tells the observers of every member`() {
        let set = ModelSet(copies: 3)
        for block in 0..<10 { set.submit(.write, block..<block + 1) }
        set.run()
        set.markCompleted()
        #expect(set.inFlight.count == 30)
        set.run()
        for member in set.active {
            for slot in 0..<10 as Range<UInt8> {
                let found = set.memories[member]?.slot(slot)
                #expect(found?.completed == true && found?.landed == true)
            }
        }
        set.markCompleted()
        #expect(set.inFlight.isEmpty, "once is enough")
        #expect(set.restart() == .zero)
        #expect(set.inFlight.isEmpty)
        #expect(set.phase == .serving)
    }

    @Test func `nothing is marked while anything is in flight, or before the repair`() {
        let set = ModelSet(copies: 2)
        set.submit(.write, 0..<1)
        set.run()
        set.submit(.write, 1..<2)
        let count = set.inFlight.count
        set.markCompleted()
        #expect(set.inFlight.count == count)
        set.run()
        set.restart()
        set.markCompleted()
        #expect(set.inFlight.isEmpty, "slots of a previous owner are not this owner's to mark")
    }

    @Test func `a mark that is stored after the slot was used again says nothing`() {
        let set = ModelSet(copies: 2)
        set.submit(.write, 0..<1)
        set.run()
        set.markCompleted()
        let marks = set.inFlight
        set.inFlight = []
        set.submit(.write, 1..<2)
        set.run()
        for mark in marks { set.store(mark) }
        #expect(set.memories[MemberIndex(0)]?.slot(0)?.completed == false)
    }

    @Test func `sequences of a new owner go on behind the newest that any member saw`() throws {
        let set = ModelSet(copies: 2)
        for block in 0..<10 { set.submit(.write, block..<block + 1) }
        set.store(set.inFlight[19])  // Sequence 10, on member 1 alone.
        set.restart()
        set.run()
        set.adopt()
        set.submit(.write, 0..<1)
        guard case .write(_, let intent, _, _, _) = try #require(set.inFlight.first).action else {
            return
        }
        #expect(intent.sequence == 11)
        #expect(intent.epoch == set.registry.epoch)
    }
}
