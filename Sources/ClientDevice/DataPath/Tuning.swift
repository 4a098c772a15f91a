// How the engine is set up for members near and far.

import RemoteMemory
import ResiliencySet

extension Tuning {
    /// After how long a read is asked of another member at the earliest, in nanoseconds: some of the longest
    /// pauses that a busy processor makes.
    private static let usualHedgeFloor: UInt64 = 2_000_000

    /// For members that may be silent for `evictAfter` nanoseconds; 0 for memory that is mapped.
    ///
    /// A lease lasts three fifths of it: a member answers a probe every quarter, so that reads do not wait for
    /// its word, and an owner that hears from nobody stops to answer before its successor serves. Nobody owns
    /// what `isSnapshot`.
    static func usual(patience: UInt64, evictAfter: UInt64, isSnapshot: Bool = false) -> Tuning {
        var tuning = Tuning()
        tuning.patience = patience
        guard evictAfter != 0 else { return tuning }
        tuning.evictAfter = evictAfter
        if !isSnapshot { tuning.lease = lease(evictAfter) }
        tuning.hedgeFloor = usualHedgeFloor
        return tuning
    }

    /// For how long an answer confirms the owner of a set, in nanoseconds.
    static func lease(_ evictAfter: UInt64) -> UInt64 { evictAfter / 5 * 3 }
}
