// Connections whose requests wait: for room in their volume, for what a limit leaves, or for their next turn.
//
//     round 1    A B C    A gets something, B and C nothing
//     round 2    B C A    who got nothing is before who got something, and each before who comes later
//
// So that what there is goes round, however little of it there is at a time.

/// A line of connections, by their descriptors; it allocates nothing once it has been as long as it gets.
struct WaitingLine {
    private var waiting: [Int32] = []
    /// Those whose round it is, and how many of them have been asked.
    private var round: [Int32] = []
    private var asked = 0
    private var served: [Int32] = []

    var isEmpty: Bool { waiting.isEmpty }

    /// Has a connection stand at the end, unless it is in line already.
    mutating func append(_ connection: Connection) {
        guard !connection.isInLine else { return }
        connection.isInLine = true
        waiting.append(connection.descriptor)
    }

    mutating func remove(_ connection: Connection) {
        guard connection.isInLine else { return }
        connection.isInLine = false
        waiting.removeAll { $0 == connection.descriptor }
    }

    // MARK: Rounds

    /// Begins to ask everybody who is in line now.
    mutating func beginRound() {
        swap(&waiting, &round)
        asked = 0
    }

    /// The next one to ask; those who are closed by now are among them.
    mutating func next() -> Int32? {
        guard asked < round.count else { return nil }
        defer { asked += 1 }
        return round[asked]
    }

    /// The one who was just asked, and stands in line again, got something.
    mutating func stepBack() {
        if let last = waiting.popLast() { served.append(last) }
    }

    mutating func endRound() {
        waiting.append(contentsOf: served)
        served.removeAll(keepingCapacity: true)
        round.removeAll(keepingCapacity: true)
    }
}
