// Memory that does not suffice is found at creation, in a sentence.

import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)))
    struct Memory {
        @Test func anUpThatCannotHoldItsVolumeIsRefused() throws {
            let directory = try TemporaryDirectory()
            let up = try HoldfastUp.spawn(
                ["--size", "256M", "--layout", "mirror:3", "--memory", "64M"], in: directory)
            #expect(up.waitForExit(atMost: .seconds(30)) == .exited(1))
            #expect(up.standardError.text.contains("needs"), "\(up.standardError.text)")
            #expect(up.standardError.text.contains("free"), "\(up.standardError.text)")
        }

        @Test func aVolumeThatDoesNotFitIsRefusedAndTheRestGoesOn() throws {
            let up = try HoldfastUp(["--size", "64M", "--memory", "256M"])
            defer { up.stop() }
            let before = try up.status()
            let run = try up.cli("volume", "create", "big", "--size", "4G", "--layout", "mirror:3")
            #expect(run.status == 1, "\(run)")
            #expect(run.standardError.contains("needs"), "\(run)")
            #expect(run.standardError.contains("free"), "\(run)")
            let after = try up.status()
            #expect(after.volumes.map(\.name) == ["vol0"])
            #expect(
                after.appliances.map(\.allocatedBytes) == before.appliances.map(\.allocatedBytes))
            try up.require("volume", "create", "fits", "--size", "64M", "--layout", "mirror:3")
            #expect(try NBDConnection(up.uri(of: "fits")).size == 64 << 20)
        }

        @Test func aSnapshotThatDoesNotFitIsRefusedAndTheVolumeServes() throws {
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:3", "--memory", "68M"])
            defer { up.stop() }
            let run = try up.cli("snapshot", "create", "vol0", "monday")
            #expect(run.status == 1, "\(run)")
            #expect(run.standardError.split(separator: " ").count >= 3, "\(run)")
            #expect(try up.status().volume("vol0").snapshots.isEmpty)
            let connection = try NBDConnection(up.uri)
            try connection.write([1], at: 0)
            #expect(try connection.read(1, at: 0) == [1])
        }

        @Test func populatingTouchesTheMemoryFirst() throws {
            let up = try HoldfastUp([
                "--size", "64M", "--layout", "mirror:3", "--memory", "128M", "--populate",
            ])
            defer { up.stop() }
            let status = try up.status()
            for dump in try RegionDump.members(of: status.volume("vol0"), in: status) {
                #expect(dump.residentBytes >= 64 << 20)
            }
        }

        @Test(arguments: [
            ["--size", "0"], ["--size", "1X"], ["--size", "-1G"], ["--layout", "mirror"],
            ["--layout", "mirror:0"], ["--layout", "mirror:99"], ["--layout", "raid:5"],
            ["--volume", "a/b"], ["--nbd", "nonsense"], ["--memory", "lots"],
        ])
        func optionsThatMakeNoSenseAreUsageErrors(options: [String]) throws {
            let directory = try TemporaryDirectory()
            let up = try HoldfastUp.spawn(options, in: directory)
            let end = up.waitForExit(atMost: .seconds(30))
            #expect(end == .exited(64) || end == .exited(1), "\(String(describing: end))")
            // (What it wrote may arrive a moment after its end.)
            _ = up.standardError.waitForEnd(atMost: .seconds(10))
            #expect(!up.standardError.text.isEmpty)
        }
    }
}
