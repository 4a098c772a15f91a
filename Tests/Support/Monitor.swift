// State shared by the harness's threads: a lock that can also be waited on.
//
// The harness blocks on purpose, in threads of its own: what it drives are processes and sockets,
// and a test that hangs is found by the bound every wait has.

import Foundation

/// A value behind a lock; every change wakes those who wait for a condition on it.
package final class Monitor<State>: @unchecked Sendable {
    private let condition = NSCondition()
    private var state: State

    package init(_ state: State) {
        self.state = state
    }

    /// Runs `body` alone with the state, then wakes whoever waits.
    package func withLock<Result, Failure: Error>(
        _ body: (inout State) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        condition.lock()
        defer {
            condition.broadcast()
            condition.unlock()
        }
        return try body(&state)
    }

    /// Waits until `body` gives a value, at most `limit`; nil when it did not in that time.
    package func wait<Result>(
        atMost limit: Duration, until body: (inout State) -> Result?
    ) -> Result? {
        let deadline = Date(timeIntervalSinceNow: limit / .seconds(1))
        condition.lock()
        defer { condition.unlock() }
        while true {
            if let result = body(&state) { return result }
            guard condition.wait(until: deadline) else { return body(&state) }
        }
    }
}

/// Asks `body` every few milliseconds until it gives a value, at most `limit`.
///
/// For conditions in other processes, which nobody announces.
package func eventually<Result>(
    atMost limit: Duration, every pause: Duration = .milliseconds(10), _ body: () throws -> Result?
) rethrows -> Result? {
    let deadline = ContinuousClock.now + limit
    while true {
        if let result = try body() { return result }
        guard ContinuousClock.now < deadline else { return nil }
        sleepFor(pause)
    }
}

/// Blocks the calling thread for `duration`.
package func sleepFor(_ duration: Duration) {
    Thread.sleep(forTimeInterval: duration / .seconds(1))
}
