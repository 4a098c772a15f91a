// A budget refuses who comes while others wait, and tells when they are to be asked again.

import ClientDevice
import RemoteMemory
import ResiliencySet
import Testing

@Suite struct BudgetTests {
    private static let start: UInt64 = 5_000_000_000

    /// A budget of which nothing is left at `start`, nor for 50 ms.
    private func usedUp() -> Budget {
        let budget = Budget(VolumeLimits(iops: 1000))
        budget.setTime(Self.start)
        for _ in 0..<101 {
            budget.charge(.read, ByteCount(1))
        }
        return budget
    }

    @Test func `without limits it admits everybody, and asks nobody for the time`() {
        let budget = Budget(.none)
        func now() -> UInt64 {
            Issue.record("nobody needs the time")
            return 0
        }
        budget.setTime(now())
        for _ in 0..<1000 {
            #expect(budget.admits())
            budget.charge(.write, .mebibytes(32))
        }
        #expect(budget.rest == .max)
    }

    @Test func `who comes while somebody waits is refused until those have been asked`() {
        let budget = usedUp()
        #expect(budget.rest == .max, "nobody waits yet")
        #expect(!budget.admits())
        #expect(budget.rest == 51)
        // Time passes, but those in line come first.
        budget.setTime(Self.start + 60_000_000)
        #expect(!budget.admits())
        #expect(budget.rest == 1)
        budget.beginRound()
        #expect(budget.admits())
        #expect(budget.rest == .max, "nobody was refused in this round")
    }

    @Test func `other limits count at once, also for those who wait`() {
        let budget = usedUp()
        #expect(!budget.admits())
        budget.limit(to: .none)
        #expect(budget.admits())
        budget.limit(to: VolumeLimits(iops: 1))
        budget.setTime(Self.start)
        #expect(budget.admits())
        budget.charge(.read, ByteCount(1))
        #expect(!budget.admits())
    }
}
