// A limited rebuild goes on no faster than it may, and as fast as it can once the limit is gone.

import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)))
    struct RebuildLimit {
        /// At 4 KiB a second the 64 MiB of a member take hours: only the end of the limit ends the rebuild.
        @Test func aRebuildIsHeldByItsLimitUntilThatIsRemoved() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:3"])
            defer { up.stop() }
            try NBDConnection(up.uri).write([UInt8](repeating: 1, count: 1 << 20), at: 8 << 20)
            try up.waitUntilHealthy()
            try up.require("rebuild", up.volume, "--limit", "4K")
            #expect(try up.status().volume(up.volume).rebuildLimit == 4096)
            #expect(try up.require("volume", "show", up.volume).contains("at most 4.0 KiB/s"))

            try up.kill(.appliance(#require(up.status().appliances.first).name))
            let limited = try up.waitForStatus("rebuilding") {
                try $0.volume(up.volume).health == "rebuilding"
            }
            #expect(try limited.volume(up.volume).rebuildLimit == 4096)

            try up.require("rebuild", up.volume, "--limit", "0")
            let status = try up.waitUntilHealthy()
            #expect(try status.volume(up.volume).rebuildLimit == nil)
            try up.expectMembersIdentical()
        }

        /// Limits beyond what any machine copies, the largest there is among them.
        @Test(arguments: ["1T", "9223372036854775808"])
        func aRebuildWithinItsLimitEnds(limit: String) throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:3"])
            defer { up.stop() }
            try NBDConnection(up.uri).write([UInt8](repeating: 1, count: 1 << 20), at: 8 << 20)
            try up.waitUntilHealthy()
            try up.require("rebuild", up.volume, "--limit", limit)
            let appliance = try #require(up.status().appliances.first)
            try up.kill(.appliance(appliance.name))
            try up.waitForIncarnation(of: appliance.name, otherThan: appliance.incarnation)
            try up.waitUntilHealthy()
            try up.expectMembersIdentical()
        }
    }
}
