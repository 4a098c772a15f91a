// Limits of clients, as an operator sets them, and volumes that are deleted while they are used.

import TestSupport
import Testing

extension Interop {
    @Suite(.timeLimit(.minutes(3)))
    struct Limits {
        @Test func aLimitHoldsAndIsKept() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:2"])
            let said = try up.require("volume", "limit", "vol0", "--iops", "100")
            #expect(said == "vol0: at most 100 requests/s\n")
            func secondsForReads(_ count: Int) throws -> Double {
                let connection = try NBDConnection(up.uri)
                let start = ContinuousClock.now
                for _ in 0..<count { _ = try connection.read(512, at: 0) }
                return (ContinuousClock.now - start) / .seconds(1)
            }
            #expect(try secondsForReads(100) > 0.9)
            try up.kill(.client)
            #expect(try up.status().volume("vol0").iopsLimit == 100)
            try up.waitUntilHealthy()
            #expect(try secondsForReads(100) > 0.9)
            // Not by chance: without the limit the same takes a fraction of it.
            try up.require("volume", "limit", "vol0", "--iops", "0", "--bandwidth", "1M")
            let volume = try up.status().volume("vol0")
            #expect(volume.iopsLimit == nil && volume.bandwidthLimit == 1 << 20)
            let connection = try NBDConnection(up.uri)
            let start = ContinuousClock.now
            for _ in 0..<4 { try connection.write([UInt8](repeating: 1, count: 512 << 10), at: 0) }
            #expect(ContinuousClock.now - start > .milliseconds(1400))
        }

        @Test(arguments: ["mirror:2", "erasure:2+1"])
        func aLimitHoldsForAVolumeAndItsSnapshotsTogether(layout: String) throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", layout])
            try up.require("snapshot", "create", "vol0", "monday")
            try up.require("volume", "limit", "vol0", "--iops", "100")
            func secondsForReadsOfBoth(_ count: Int) throws -> Double {
                let volume = try NBDConnection(up.uri)
                let snapshot = eventually(atMost: .seconds(20)) {
                    try? NBDConnection(up.uri(of: "vol0@monday"))
                }
                let both = [volume, try #require(snapshot)]
                let start = ContinuousClock.now
                for number in 0..<count { _ = try both[number % 2].read(512, at: 0) }
                return (ContinuousClock.now - start) / .seconds(1)
            }
            #expect(try secondsForReadsOfBoth(120) > 1)
            // The next client device may serve either first.
            try up.kill(.client)
            try up.waitUntilHealthy()
            #expect(try secondsForReadsOfBoth(120) > 1)
            try up.require("volume", "limit", "vol0", "--iops", "0")
            #expect(try secondsForReadsOfBoth(120) < 1)
        }

        @Test func aLimitThatMakesNoSenseIsRefused() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:1"])
            let small = try up.cli("volume", "limit", "vol0", "--bandwidth", "1K")
            #expect(small.status == 1 && small.standardError.contains("64.0 KiB"), "\(small)")
            #expect(try up.cli("volume", "limit", "vol1", "--iops", "1").status == 1)
            #expect(try up.cli("volume", "limit", "vol0").status == 64)
        }

        @Test func aVolumeWithClientsIsNotDeleted() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:1"])
            let raw = try RawNBD(up.socket)
            try raw.greet()
            let client = try NBDConnection(up.uri)
            let refused = try up.cli("volume", "delete", "vol0")
            #expect(refused.status == 1 && refused.standardError.contains("clients connected"))
            #expect(try client.read(1, at: 0) == [0])
            try client.shutdown()
            let deleted = try eventually(atMost: .seconds(20)) {
                try up.cli("volume", "delete", "vol0").succeeded ? true : nil
            }
            #expect(deleted == true)
            // Who was about to choose it is told that it is gone.
            let go = RawNBD.exportRequest(Array("vol0".utf8))
            #expect(try raw.ask(Wire.Option.go, go).type == Wire.Reply.errorUnknown)
        }
    }
}
