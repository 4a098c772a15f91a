// A member that keeps failing stays away for longer each time, within a bound, until it has been sound for long.

import ClientDevice
import Testing

@Suite struct RelapsesTests {
    private let start = ContinuousClock.now

    @Test func `who fails for the first time may return at once`() {
        var relapses = Relapses()
        #expect(relapses.mayReturn(at: start))
        #expect(relapses.failed(at: start) == .zero)
        #expect(relapses.mayReturn(at: start))
    }

    @Test func `each relapse doubles the pause, up to the longest`() {
        var relapses = Relapses()
        var now = start
        _ = relapses.failed(at: now)
        var expected = Relapses.shortestPause
        for _ in 0..<12 {
            relapses.cameBack(at: now)
            now += .milliseconds(1)
            #expect(relapses.failed(at: now) == expected)
            #expect(!relapses.mayReturn(at: now))
            #expect(!relapses.mayReturn(at: now + expected - .nanoseconds(1)))
            now += expected
            #expect(relapses.mayReturn(at: now))
            expected = min(expected * 2, Relapses.longestPause)
        }
        #expect(expected == Relapses.longestPause)
    }

    @Test func `who was sound for long is trusted again`() {
        var relapses = Relapses()
        for _ in 0..<5 {
            _ = relapses.failed(at: start)
            relapses.cameBack(at: start)
        }
        #expect(relapses.failed(at: start + Relapses.trustedAfter - .nanoseconds(1)) > .zero)
        relapses.cameBack(at: start)
        #expect(relapses.failed(at: start + Relapses.trustedAfter) == .zero)
    }

    @Test func `a return that fails is a relapse only after a return that did not`() {
        var relapses = Relapses()
        // (Never back, so never relapsed: as an appliance that is being restarted.)
        for second in 0..<10 { #expect(relapses.failed(at: start + .seconds(second)) == .zero) }
    }
}
