// Whoever is connected to an appliance: a peer that opens, asks, or accesses.

import CLinux
import Glibc
import Reactor

/// One connection, as the appliance's loop sees it.
///
/// A peer never waits: it does what can be done now, and tells what to be woken for.
class Peer {
    /// What is to be done with a peer that was let go on.
    enum Outcome {
        /// It waits for what it `wants`.
        case waits
        /// It has more to do, once the others had their turn.
        case hasMore
        case ends
        /// It has opened; this one takes its place.
        case becomes(Peer)
    }

    /// What names it to the loop; set once by the server.
    var token: UInt64 = 0
    /// What the loop watches it for.
    var watched: Readiness = []
    /// When it is cut off, by the monotonic clock in nanoseconds.
    var deadline = UInt64.max

    var descriptor: Int32 { preconditionFailure("every kind of peer has a descriptor") }
    /// What to be woken for.
    var wants: Readiness { .readable }

    /// Does what can be done now.
    func advance(_ readiness: Readiness, _ server: ApplianceServer) -> Outcome { .ends }

    /// Starts the time that something may take, unless it runs.
    func startTime(_ nanoseconds: UInt64) {
        if deadline == .max { deadline = clinux_monotonic_nanoseconds() + nanoseconds }
    }

    /// There is nothing any more that is late.
    func stopTime() { deadline = .max }
}
