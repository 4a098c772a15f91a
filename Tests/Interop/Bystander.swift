// The others: whatever one client does, they must notice nothing.

import TestSupport
import Testing

/// A well-behaved client beside a malformed one.
struct Bystander {
    private static let mark = [UInt8](repeating: 0x77, count: 4096)

    private let up: HoldfastUp
    private let connection: NBDConnection

    /// Connects and leaves a mark on the volume.
    init() throws {
        up = try HoldfastUp.current
        connection = try NBDConnection(up.uri)
        try connection.write(Self.mark, at: 0)
    }

    /// Expects that the old connection, and a new one, read what was written.
    func expectUndisturbed(
        _ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        for attempt in 0..<2 {
            #expect(throws: Never.self, comment, sourceLocation: sourceLocation) {
                let reader = attempt == 0 ? connection : try NBDConnection(up.uri)
                #expect(try reader.read(4096, at: 0) == Self.mark, comment)
            }
        }
    }
}
