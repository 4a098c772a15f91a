// Which operations a change becomes, in which order, and when it is answered.

import RemoteMemory
import ResiliencySet
import Testing

@Suite struct OrderingTests {
    static let changes: [RequestKind] = [.write, .zero, .discard]

    @Test(arguments: 1...8, changes)
    func `in parallel all members are asked at once`(copies: Int, kind: RequestKind) {
        let set = ModelSet(copies: copies)
        let token = set.submit(kind, 3..<5)
        #expect(set.inFlight.map(\.member.number) == Array(0..<copies))
        for _ in 0..<copies {
            #expect(set.outcome(token) == nil)
            set.step()
        }
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test(arguments: 1...8, changes)
    func `in sequence one member is asked after the other`(copies: Int, kind: RequestKind) {
        let set = ModelSet(copies: copies, ordering: .sequential)
        let token = set.submit(kind, 3..<5)
        for member in 0..<copies {
            #expect(set.inFlight.map(\.member.number) == [member])
            #expect(set.outcome(token) == nil)
            set.step()
        }
        #expect(set.inFlight.isEmpty)
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test(arguments: [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    func `whichever member is last gives the reply`(order: [Int]) throws {
        let set = ModelSet(copies: 3)
        let token = set.submit(.write, 0..<1)
        for number in order {
            #expect(set.outcome(token) == nil)
            set.step(try #require(set.inFlight.firstIndex { $0.member.number == number }))
        }
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test func `a write stores its intent, its data and the landed mark, in this order`() throws {
        let set = ModelSet(copies: 2)
        set.submit(.write, 7..<9)
        let intents = try set.inFlight.map { operation in
            guard case .write(let slot, let intent, let request, _, _) = operation.action else {
                throw Unexpected(operation: operation)
            }
            #expect(slot == 0 && request == 0)
            return intent
        }
        #expect(Set(intents).count == 1, "all members are told the same")
        #expect(intents.first?.range == ModelSet.range(7..<9))
        #expect(intents.first?.kind == .write)
        #expect(intents.first?.epoch == set.registry.epoch)
        #expect((intents.first?.sequence ?? 0) > 0)
    }

    @Test func `sequences grow by one with every change, whatever its slot`() throws {
        let set = ModelSet(copies: 1)
        for expected in 1...100 as ClosedRange<UInt64> {
            set.submit(.write, 0..<1)
            guard case .write(_, let intent, _, _, _) = try #require(set.inFlight.last).action
            else {
                throw Unexpected(operation: set.inFlight[0])
            }
            #expect(intent.sequence == expected)
            set.run()
        }
    }

    @Test(arguments: [RequestKind.zero, .discard], Ordering.allCases)
    func `a huge zeroing goes in steps, each done by all before the next`(
        kind: RequestKind, ordering: Ordering
    ) throws {
        let set = ModelSet(copies: 2, ordering: ordering, size: .mebibytes(192))
        let step = 16 << 10
        set.submit(.write, step..<step + 1)
        set.run()
        let token = set.submit(kind, 1..<2 * step + 2)
        var seen: [ByteRange] = []
        var flags: [String] = []
        while let operation = set.inFlight.first {
            guard
                case .zero(_, let intent, let part, let keep, let first, let last, _) = operation
                    .action
            else { throw Unexpected(operation: operation) }
            #expect(keep == (kind == .zero))
            #expect(intent.range == ModelSet.range(1..<2 * step + 2))
            #expect(intent.kind == .zero)
            #expect(Set(set.inFlight.map(\.range)).count == 1, "nobody runs ahead")
            if operation.member.number == 1 {
                seen.append(part)
                flags.append("\(first) \(last)")
            }
            #expect(set.outcome(token) == nil)
            set.step()
        }
        #expect(
            seen
                == [1..<step + 1, step + 1..<2 * step + 1, 2 * step + 1..<2 * step + 2].map {
                    ModelSet.range($0)
                })
        #expect(flags == ["true false", "false false", "false true"])
        #expect(set.outcome(token) == .done)
        #expect(set.violations == [])
    }

    @Test func `a zeroing of exactly one step is one step`() {
        let set = ModelSet(copies: 1, size: .mebibytes(128))
        set.submit(.discard, 0..<16 << 10)
        set.step()
        #expect(set.inFlight.isEmpty)
        #expect(set.outcome(0) == .done)
    }

    @Test func `a completion that nobody waits for changes nothing`() {
        let set = ModelSet(copies: 2)
        let token = set.submit(.write, 0..<1)
        let operation = set.inFlight[0]
        set.step()
        // Twice from one member is not once from each.
        set.engine.complete(operation.ticket, on: operation.member, .done)
        set.take()
        #expect(set.outcome(token) == nil)
        set.step()
        #expect(set.outcome(token) == .done)
        set.submit(.write, 0..<1)
        set.engine.complete(operation.ticket, on: MemberIndex(0), .failed)
        set.engine.complete(operation.ticket, on: MemberIndex(1), .done)
        set.take()
        #expect(set.active.count == 2, "an old ticket is worth nothing")
        #expect(set.replied == [token])
    }
}

/// An operation that a test did not expect.
struct Unexpected: Error {
    var operation: RemoteOperation
}
