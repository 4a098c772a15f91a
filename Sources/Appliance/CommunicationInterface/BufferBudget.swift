// Memory for what peers send and do not take: bounded for all of them together.

/// How much of a bound is in use, in bytes.
///
/// What does not fit waits: its peer is not received from until others have given something back.
final class BufferBudget {
    let limit: Int
    private(set) var used = 0
    /// Something was given back since this was last set to false.
    var hasReleased = false

    init(limit: Int) { self.limit = limit }

    var isSpent: Bool { used >= limit }

    /// Takes a part; false when it does not fit.
    func take(_ count: Int) -> Bool {
        guard used + count <= limit else { return false }
        used += count
        return true
    }

    /// Takes a part that cannot wait; the bound may be passed by it.
    func force(_ count: Int) { used += count }

    func release(_ count: Int) {
        precondition(count <= used, "what is given back was taken")
        guard count > 0 else { return }
        used -= count
        hasReleased = true
    }
}
