// Where a transport may tear a write, one member is kept whole until another has all of it.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct HeldBackTests {
    private func torn(copies: Int, ordering: Ordering = .parallel) -> ModelSet {
        ModelSet(
            copies: copies, ordering: ordering,
            tuning: ModelSet.tuning { $0.tearsWrites = true })
    }

    /// The members that are asked for a change now.
    private func asked(_ set: ModelSet) -> [Int] {
        set.inFlight.filter { $0.isChange }.map(\.member.number)
    }

    @Test(arguments: 2...4)
    func `the last member is asked when another has the write whole`(copies: Int) throws {
        for first in 0..<copies - 1 {
            let set = torn(copies: copies)
            let token = set.submit(.write, 0..<2)
            #expect(asked(set) == Array(0..<copies - 1))
            set.step(try #require(set.inFlight.firstIndex { $0.member.number == first }))
            #expect(asked(set).last == copies - 1)
            while !set.inFlight.isEmpty {
                #expect(set.outcome(token) == nil)
                set.step()
            }
            #expect(set.outcome(token) == .done)
            set.checkAtRest()
            #expect(set.violations == [])
        }
    }

    @Test(arguments: 2...4)
    func `when all others fail the last member is asked all the same`(copies: Int) {
        let set = torn(copies: copies)
        let token = set.submit(.write, 0..<2)
        for member in 0..<copies - 1 {
            #expect(!asked(set).contains(copies - 1))
            set.failNext(on: member, landed: 7)
        }
        #expect(asked(set) == [copies - 1])
        set.run(recording: true)
        #expect(set.outcome(token) == .done)
        set.checkAtRest()
        #expect(set.violations == [])
    }

    @Test func `a last member that is lost meanwhile is not asked`() {
        let set = torn(copies: 2)
        let token = set.submit(.write, 0..<2)
        set.lose(MemberIndex(1))
        set.run(recording: true)
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test func `a rebuilding member that has it is not enough`() throws {
        let set = torn(copies: 2)
        set.add(2)
        set.advance()
        set.run()
        let token = set.submit(.write, 0..<2)
        #expect(asked(set) == [0, 2])
        set.step(try #require(set.inFlight.firstIndex { $0.member.number == 2 }))
        #expect(asked(set) == [0], "it is no source for a repair")
        set.step()
        #expect(asked(set) == [1])
        set.run()
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test func `nothing is held back of zeroes, of a single copy, or in sequence`() {
        for kind in [RequestKind.zero, .discard] {
            let set = torn(copies: 3)
            set.submit(kind, 0..<2)
            #expect(asked(set) == [0, 1, 2])
        }
        let alone = torn(copies: 1)
        alone.submit(.write, 0..<2)
        #expect(asked(alone) == [0])
        let sequential = torn(copies: 3, ordering: .sequential)
        sequential.submit(.write, 0..<2)
        #expect(asked(sequential) == [0])
        sequential.step()
        #expect(asked(sequential) == [1])
    }

    @Test(arguments: 1...3)
    func `a write to the last copy is guarded, one to several is not`(copies: Int) {
        let set = torn(copies: copies)
        func guarded() -> [Bool] {
            set.inFlight.compactMap {
                if case .write(_, _, _, let isGuarded, _) = $0.action { isGuarded } else { nil }
            }
        }
        set.submit(.write, 0..<2)
        #expect(guarded().allSatisfy { $0 == (copies == 1) } && !guarded().isEmpty)
        set.run()
        for member in 0..<copies - 1 { set.lose(MemberIndex(member)) }
        set.submit(.write, 0..<2)
        #expect(guarded() == [true])
    }
}
