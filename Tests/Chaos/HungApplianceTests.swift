// An appliance that hangs: its members are given up, and come back when it goes on.

import Glibc
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)))
    struct HungAppliance {
        @Test func itsMemberIsGivenUpUnderLoadAndBackWhenItGoesOn() throws {
            let up = try HoldfastUp(HoldfastUp.usualOptions + ["--evict-after", "200ms"])
            defer { up.stop() }
            let writer = try up.startWriter()
            let appliance = try #require(try up.status().appliances.last)
            let process = try up.suspend(.appliance(appliance.name))
            defer { _ = kill(process, SIGCONT) }
            _ = try up.waitForStatus("degraded") { try $0.volume(up.volume).health == "degraded" }
            try writer.waitForWrites(500)
            _ = kill(process, SIGCONT)
            try up.waitUntilHealthy()
            // It was the same process throughout, with the same memory.
            #expect(try up.status().appliance(appliance.name).incarnation == appliance.incarnation)
            #expect(writer.progress.lostConnections == 0)
            try expectNothingLost(writer)
            try up.expectMembersIdentical()
        }

        @Test func aLastCopyIsKept() throws {
            let up = try HoldfastUp([
                "--size", "64M", "--layout", "mirror:1", "--evict-after", "100ms",
            ])
            defer { up.stop() }
            let writer = try up.startWriter()
            let process = try up.suspend(.appliance("appliance-1"))
            defer { _ = kill(process, SIGCONT) }
            _ = eventually(atMost: .seconds(30)) { up.log.contains("given up") ? true : nil }
            #expect(up.log.contains("given up"))
            try writer.waitForWrites(500)
            _ = kill(process, SIGCONT)
            try up.waitUntilHealthy()
            // It is as good as before: a snapshot extends the set by it, and cuts it off.
            try up.require("snapshot", "create", "vol0", "monday")
            try up.waitUntilHealthy()
            try expectNothingLost(writer)
        }

        @Test func aLongerPatienceBearsIt() throws {
            let up = try HoldfastUp(HoldfastUp.usualOptions + ["--evict-after", "30s"])
            defer { up.stop() }
            let writer = try up.startWriter()
            let appliance = try #require(try up.status().appliances.first)
            let process = try up.suspend(.appliance(appliance.name))
            try writer.waitForWrites(2000)
            _ = kill(process, SIGCONT)
            try writer.waitForWrites(500)
            #expect(!up.log.contains("given up"))
            try expectNothingLost(writer)
        }
    }
}
