// The snapshot commands: what they refuse, what they give back.

import Foundation
import TestSupport
import Testing

extension Chaos {
    @Suite(.served(["--size", "64M", "--layout", "mirror:3"]), .timeLimit(.minutes(5)))
    struct SnapshotCommands {
        private let up: HoldfastUp

        init() throws {
            up = try HoldfastUp.current
        }

        private func expectRefusal(
            _ arguments: [String], sourceLocation: SourceLocation = #_sourceLocation
        ) throws {
            let run = try ToolRun([HoldfastBinary.path] + arguments + ["--dir", up.path])
            #expect([1, 64].contains(run.status), "\(run)", sourceLocation: sourceLocation)
            #expect(run.standardOutput == "", "\(run)", sourceLocation: sourceLocation)
            #expect(
                run.standardError.split(separator: " ").count >= 3, "a sentence: \(run)",
                sourceLocation: sourceLocation)
        }

        @Test(arguments: ["", "a b", "a/b", "a@b", "..", "-x", "ümlaut", "a\nb"])
        func namesThatNoExportCouldHaveAreRefused(name: String) throws {
            try expectRefusal(["snapshot", "create", "vol0", name])
        }

        @Test func aNameTooLongIsRefused() throws {
            try expectRefusal(
                ["snapshot", "create", "vol0", String(repeating: "a", count: 5000)])
        }

        @Test func aSnapshotOfNothingIsRefused() throws {
            try expectRefusal(["snapshot", "create", "vol1", "monday"])
            try expectRefusal(["snapshot", "delete", "vol0", "monday"])
            try expectRefusal(["snapshot", "list", "vol1"])
        }

        @Test func aSecondOfTheSameNameIsRefusedAndTheFirstStays() throws {
            let connection = try NBDConnection(up.uri)
            try connection.write([1, 2, 3], at: 0)
            try up.require("snapshot", "create", "vol0", "twice")
            try connection.write([4, 5, 6], at: 0)
            try up.waitUntilHealthy()
            try expectRefusal(["snapshot", "create", "vol0", "twice"])
            do {
                let snapshot = try NBDConnection(up.uri(of: "vol0@twice"))
                #expect(try snapshot.read(3, at: 0) == [1, 2, 3])
                #expect(try up.require("snapshot", "list", "vol0").contains("twice"))
                // Nobody's disk is taken away under them.
                try expectRefusal(["snapshot", "delete", "vol0", "twice"])
                #expect(try snapshot.read(3, at: 0) == [1, 2, 3])
                try snapshot.shutdown()
            }
            // The server may learn a moment later that its client is gone.
            let isDeleted = try eventually(atMost: .seconds(20)) {
                try up.cli("snapshot", "delete", "vol0", "twice").succeeded ? true : nil
            }
            #expect(isDeleted == true)
            #expect(try !up.require("snapshot", "list", "vol0").contains("twice"))
        }

        @Test func deletingASnapshotReturnsItsMemory() throws {
            let connection = try NBDConnection(up.uri)
            let data = [UInt8](repeating: 0x42, count: 16 << 20)
            try connection.write(data, at: 0)
            try connection.write(data, at: 16 << 20)
            try up.waitUntilHealthy()
            let before = try total(up.status())
            try up.require("snapshot", "create", "vol0", "heavy")
            try up.waitUntilHealthy()
            let with = try total(up.status())
            #expect(with.allocated > before.allocated)
            #expect(with.resident >= before.resident + 30 << 20)
            try up.require("snapshot", "delete", "vol0", "heavy")
            let after = try up.waitForStatus("rid of the snapshot's memory") { status in
                let now = total(status)
                return now.allocated <= before.allocated
                    && now.resident <= before.resident + 4 << 20
            }
            #expect(try after.volume("vol0").snapshots.isEmpty)
            #expect(throws: NBDError.self) { try NBDConnection(up.uri(of: "vol0@heavy")) }
        }

        @Test(arguments: [true, false])
        func zeroingOrTrimmingTheDeviceReturnsItsMemory(trims: Bool) throws {
            let connection = try NBDConnection(up.uri)
            let size = UInt64(connection.size)
            let data = [UInt8](repeating: 0x42, count: 32 << 20)
            try connection.write(data, at: 0)
            try connection.write(data, at: 32 << 20)
            let full = try up.waitUntilHealthy()
            #expect(total(full).resident >= 3 * size)
            if trims { try connection.trim(size, at: 0) } else { try connection.zero(size, at: 0) }
            let empty = try up.waitForStatus("rid of the data's memory") { status in
                total(status).resident <= 16 << 20
            }
            // And so says the kernel.
            for dump in try RegionDump.members(of: empty.volume("vol0"), in: empty) {
                #expect(dump.residentBytes <= 4 << 20)
            }
            #expect(try connection.read(4096, at: 0).allSatisfy { $0 == 0 })
        }

        private func total(_ status: StatusReport) -> (allocated: UInt64, resident: UInt64) {
            status.appliances.reduce(into: (0, 0)) { sum, appliance in
                sum.0 += appliance.allocatedBytes
                sum.1 += appliance.residentBytes
            }
        }
    }
}
