// What the clients of a volume and those of its snapshots may use: one limit, held by all of them.
//
//     volume ────┐
//     snapshot ──┼──▶ Budget ──▶ RateLimiter
//     snapshot ──┘
//
// Snapshots are read from the same memory, by the same thread and over the same network as their volume, and whoever
// may use the one may use the other: with a limit of their own, or none, they would be a way round the volume's.
//
// Nobody overtakes: who finds the budget used up stands in line (WaitingLine), and as long as somebody does, whoever
// comes later is sent there too. Otherwise a client that asks for one thing after another would have whatever is
// free at that moment, and one that asked for much before would wait for ever.

package import RemoteMemory
package import ResiliencySet

/// The limit of a volume and its snapshots, on their data thread.
package final class Budget {
    private var limiter: RateLimiter?
    /// Somebody was refused in this round.
    private var isAwaited = false

    package init(_ limits: VolumeLimits) { limiter = RateLimiter(limits) }

    /// Limits what begins from now on.
    package func limit(to limits: VolumeLimits) {
        limiter = RateLimiter(limits)
        isAwaited = false
    }

    /// Takes the time, which is only asked for when it matters.
    @inline(__always)
    package func setTime(_ now: @autoclosure () -> UInt64) {
        if limiter != nil { limiter?.setTime(now()) }
    }

    /// Whether another request may begin; who is refused is expected to stand in line.
    @inline(__always)
    package func admits() -> Bool { limiter == nil || isLeft() }

    private func isLeft() -> Bool {
        if !isAwaited, limiter?.admits == true { return true }
        isAwaited = true
        return false
    }

    /// Books what a request takes that begins now.
    @inline(__always)
    package func charge(_ kind: RequestKind, _ count: ByteCount) { limiter?.charge(kind, count) }

    /// Those who stand in line are about to be asked again, from its head.
    package func beginRound() { isAwaited = false }

    /// When those who stand in line are to be asked again, in milliseconds; never, when nobody does.
    package var rest: Int32 {
        guard isAwaited, let limiter else { return .max }
        return Int32(clamping: max(1, (limiter.pause + 999_999) / 1_000_000))
    }
}

/// A budget, without the counting of references; whoever has this holds the budget as well.
@safe struct BudgetReference: BitwiseCopyable {
    private let budget: Unmanaged<Budget>

    init(_ budget: Budget) { unsafe self.budget = Unmanaged.passUnretained(budget) }

    @inline(__always)
    func use<Result>(_ body: (Budget) -> Result) -> Result {
        unsafe budget._withUnsafeGuaranteedRef { body($0) }
    }
}
