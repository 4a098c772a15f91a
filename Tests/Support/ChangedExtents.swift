// What an export says was changed since a snapshot, by nbdinfo.

import Foundation

/// The extents of an export that were changed since a snapshot of its volume.
package struct ChangedExtents: Equatable, Sendable, CustomStringConvertible {
    private struct Extent: Decodable {
        let offset: UInt64
        let length: UInt64
        let type: UInt32
    }

    /// In bytes, in order, apart from each other.
    package let ranges: [Range<UInt64>]

    /// Asks the export at `uri` what was changed since `snapshot`.
    ///
    /// - Throws: `HarnessError` when the export does not know, or what it says is no map of it.
    package init(of uri: String, since snapshot: String) throws {
        let text = try ToolRun.output(
            "nbdinfo", "--map=holdfast:dirty/\(snapshot)", "--json", uri)
        let map = try JSONDecoder().decode([Extent].self, from: Data(text.utf8))
        guard map.allSatisfy({ $0.type <= 1 }) else { throw HarnessError("unknown bits: \(text)") }
        var end: UInt64 = 0
        for extent in map {
            guard extent.offset == end, extent.length > 0 else {
                throw HarnessError("a hole in the map: \(text)")
            }
            end += extent.length
        }
        ranges = map.filter { $0.type == 1 }.map { $0.offset..<$0.offset + $0.length }
    }

    package init(_ ranges: [Range<UInt64>]) { self.ranges = ranges }

    package var bytes: UInt64 { ranges.reduce(0) { $0 + UInt64($1.count) } }

    package var description: String { "\(ranges)" }
}
