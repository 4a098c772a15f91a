// What a network does to packets on their way from one host to another.

/// The state of the path in one direction; that in the other is its own.
package struct PathCondition: Equatable, Sendable {
    /// Nothing arrives, and nobody is told.
    package var isCut = false
    /// How long a packet is under way at least.
    package var delay: Duration = .zero
    /// Up to so much more, at random; packets keep their order nevertheless.
    package var jitter: Duration = .zero
    /// Of a thousand packets so many get lost.
    package var lostPerThousand = 0
    /// Of a thousand packets so many overtake those that wait.
    package var overtakingPerThousand = 0
    /// Of a thousand packets so many arrive twice.
    package var doubledPerThousand = 0
    /// What goes through; nil for as much as comes.
    package var bytesPerSecond: Int?

    /// Everything arrives at once.
    package init() {}

    package static let cut: PathCondition = {
        var condition = PathCondition()
        condition.isCut = true
        return condition
    }()
}

extension PathCondition: CustomStringConvertible {
    package var description: String {
        if isCut { return "cut" }
        var parts: [String] = []
        if delay > .zero || jitter > .zero { parts.append("delay \(delay) + up to \(jitter)") }
        if lostPerThousand > 0 { parts.append("loss \(lostPerThousand) ‰") }
        if overtakingPerThousand > 0 { parts.append("overtaking \(overtakingPerThousand) ‰") }
        if doubledPerThousand > 0 { parts.append("doubled \(doubledPerThousand) ‰") }
        if let bytesPerSecond { parts.append("\(bytesPerSecond) bytes/s") }
        return parts.isEmpty ? "sound" : parts.joined(separator: ", ")
    }
}

/// What became of the packets of one path.
package struct PathCounts: Equatable, Sendable {
    package var delivered = 0
    package var lost = 0
    package var overtook = 0
    package var doubled = 0

    package init() {}
}
