// Members that fail again soon after they came back, as on a bad path: each time they stay away for longer.
//
//     failed ─▶ back at once ─▶ failed ─▶ 250 ms ─▶ back ─▶ failed ─▶ 500 ms ─▶ … ─▶ 16 s
//
// Every return costs a change of membership and a rebuild of what was missed, every loss makes writers wait
// until it is found out; a path that carries a little and not enough would cost both each second. A pause
// longer than what the set waits for missing members has one more effect: another appliance takes the place.

/// How long a member that keeps failing stays away.
package struct Relapses {
    /// After the first relapse; doubled with each further one.
    package static let shortestPause = Duration.milliseconds(250)
    package static let longestPause = Duration.seconds(16)
    /// A member that was whole or being rebuilt for this long is trusted like any other again.
    package static let trustedAfter = Duration.seconds(30)

    private var pause = Duration.zero
    private var returned: ContinuousClock.Instant?
    private var notBefore: ContinuousClock.Instant?

    package init() {}

    /// Notes a failure, and returns how long the member stays away; zero when it may return at once.
    package mutating func failed(at now: ContinuousClock.Instant) -> Duration {
        let isRelapse = returned.map { now - $0 < Self.trustedAfter } ?? false
        pause =
            isRelapse
            ? min(max(pause * 2, Self.shortestPause), Self.longestPause) : .zero
        notBefore = now + pause
        return pause
    }

    /// Notes that the member is back.
    package mutating func cameBack(at now: ContinuousClock.Instant) { returned = now }

    /// Whether its time has come.
    package func mayReturn(at now: ContinuousClock.Instant) -> Bool {
        notBefore.map { now >= $0 } ?? true
    }
}
