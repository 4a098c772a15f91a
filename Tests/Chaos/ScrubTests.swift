// The checks themselves: a byte changed behind Holdfast's back must be found.

import Foundation
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)))
    struct Scrub {
        @Test func aFlippedByteIsFoundByScrubAndByTheDumps() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:3"])
            defer { up.stop() }
            try NBDConnection(up.uri).write([UInt8](repeating: 1, count: 1 << 20), at: 8 << 20)
            try up.expectMembersIdentical()

            let status = try up.status()
            let dumps = try RegionDump.members(of: status.volume(up.volume), in: status)
            let victim = try #require(dumps.last)
            try victim.flipByte(at: 8 << 20 + 12345)
            let difference = try #require(try RegionDump.firstDifference(between: dumps))
            #expect(difference.contains("\(8 << 20 + 12345)"))

            let scrub = try up.cli("scrub", up.volume, "--json")
            let report = try JSONSerialization.jsonObject(with: Data(scrub.standardOutput.utf8))
            let mismatches = (report as? [String: Any])?["mismatchedExtents"] as? Int
            #expect((mismatches ?? 0) > 0, "\(scrub)")
        }
    }
}
