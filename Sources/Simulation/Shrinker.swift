// From a scenario that fails to a small one that still does. Every scenario offers smaller ones, the
// biggest cut first; the first of them that fails takes its place, until none of them fails any more.
// The result need not be the smallest, but no single cut makes it smaller.

/// What can be made smaller.
package protocol Simplifiable: Hashable {
    /// Smaller values, biggest cut first; following them always comes to an end.
    func simplifications() -> [Self]
}

extension Scenario: Simplifiable {}

/// Makes what fails smaller.
package struct Shrinker: Sendable {
    /// How far shrinking is.
    package struct Progress: Hashable, Sendable {
        /// Candidates tried so far.
        package var tries = 0
        /// Candidates that failed too, and so took the place of the larger one.
        package var cuts = 0
    }

    /// Candidates tried at most; then the smallest so far is the result.
    package var tryLimit: Int

    /// A shrinker that tries at most `tryLimit` candidates, at least 0.
    package init(tryLimit: Int = 1_000) {
        precondition(tryLimit >= 0, "fewer than no tries")
        self.tryLimit = tryLimit
    }

    /// The smallest failing value found on the way down from `failing`.
    ///
    /// `failing` itself is not tried again. `progress` is told after every try.
    package func shrink<Value: Simplifiable>(
        _ failing: Value, progress: (Progress) -> Void = { _ in }, fails: (Value) -> Bool
    ) -> Value {
        var smallest = failing
        // Different ways down meet again; a verdict does not change.
        var seen: Set<Value> = [failing]
        var counts = Progress()
        search: while true {
            for candidate in smallest.simplifications() where seen.insert(candidate).inserted {
                guard counts.tries < tryLimit else { break search }
                counts.tries += 1
                let isStillFailing = fails(candidate)
                if isStillFailing { counts.cuts += 1 }
                progress(counts)
                if isStillFailing {
                    smallest = candidate
                    continue search
                }
            }
            return smallest
        }
        return smallest
    }
}
