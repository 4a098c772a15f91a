// The `holdfast` program against a real server of a fake device: exit status, streams, JSON, looks.

import Control
import ControlHTTP
import Foundation
import Glibc
import RemoteMemory
import Testing

@Suite("Commands") struct CommandTests {
    @Test(
        "a wrong command line ends with status 64 and says what is wrong",
        arguments: [
            (["nonsense"], "Unexpected argument 'nonsense'"),
            (["volume", "create", "v"], "Missing expected argument '--size <size>'"),
            (
                ["volume", "create", "v", "--size", "1Q", "--layout", "mirror:2"],
                "The value '1Q' is invalid for '--size <size>'"
            ),
            (
                ["volume", "create", "v", "--size", "1G", "--layout", "mirror:0"],
                "The value 'mirror:0' is invalid for '--layout <layout>'"
            ),
            (["snapshot", "create", "v"], "Missing expected argument '<snapshot>'"),
            (["volume", "set", "v"], "Missing expected argument '--layout <layout>'"),
            (
                ["volume", "set", "v", "--layout", "mirror:9"],
                "The value 'mirror:9' is invalid for '--layout <layout>'"
            ),
            (["volume", "move", "v"], "Missing expected argument '--from <appliance>'"),
            (["appliance", "drain"], "Missing expected argument '<name>'"),
            (["rebuild"], "Missing expected argument '<volume>'"),
            (
                ["rebuild", "v", "--limit", "fast"],
                "The value 'fast' is invalid for '--limit <size>'"
            ),
            (["status", "--frequently"], "Unknown option '--frequently'"),
        ])
    func usage(arguments: [String], message: String) async throws {
        let run = try await run(arguments)
        #expect(run.status == 64)
        #expect(run.output.isEmpty)
        #expect(run.errors.hasPrefix("holdfast: \(message)\n"), "\(run.errors)")
        #expect(run.errors.contains("Usage: holdfast"))
    }

    @Test(
        "without a client device every command fails with the one sentence",
        arguments: [
            ["volume", "create", "v", "--size", "1G", "--layout", "mirror:2"], ["volume", "list"],
            ["volume", "show", "v"], ["volume", "delete", "v"], ["snapshot", "create", "v", "s"],
            ["snapshot", "list", "v"], ["snapshot", "delete", "v", "s"],
            ["appliance", "add", "a", "unix:/x"], ["appliance", "list"],
            ["volume", "set", "v", "--layout", "mirror:2"], ["volume", "move", "v", "--from", "a"],
            ["appliance", "drain", "a"], ["appliance", "drain", "a", "--cancel"],
            ["appliance", "remove", "a"], ["rebuild", "v"], ["scrub", "v"], ["status"],
            ["status", "--watch"],
        ])
    func nobodyThere(arguments: [String]) async throws {
        try await withDirectory { directory in
            let run = try await run(arguments + ["--dir", directory])
            #expect(run.status == 1)
            #expect(run.output.isEmpty)
            #expect(
                run.errors == "holdfast: No client device is running for \(directory): start one "
                    + "with 'holdfast up --dir \(directory)' or "
                    + "'holdfast serve --dir \(directory)'.\n")
        }
    }

    @Test("what the client device refuses is the sentence on standard error, and status 1")
    func refused() async throws {
        let failure = ControlError(.insufficientMemory, "There is no room: add an appliance.")
        try await withServer(FakeDevice(failure: failure)) { client in
            let run = try await run(
                ["volume", "create", "v", "--size", "1G", "--layout", "mirror:2"], client)
            #expect(run.status == 1)
            #expect(run.output.isEmpty)
            #expect(run.errors == "holdfast: There is no room: add an appliance.\n")
        }
    }

    @Test("--json prints the values as they are")
    func json() async throws {
        try await withServer(FakeDevice()) { client in
            let sample = DeviceStatus.sample
            #expect(try await decode(["status"], client) == sample)
            #expect(try await decode(["volume", "list"], client) == sample.volumes)
            #expect(try await decode(["volume", "show", "vol0"], client) == VolumeStatus.sample)
            #expect(try await decode(["appliance", "list"], client) == sample.appliances)
            #expect(
                try await decode(["snapshot", "list", "vol0"], client) == [SnapshotStatus.sample])
            let created: CreatedSnapshot = try await decode(
                ["snapshot", "create", "vol0", "s9", "--immediate"], client)
            #expect(created.snapshot.name == "s9")
            let added: ApplianceStatus = try await decode(
                ["appliance", "add", "z", "unix:/z", "--failure-domain", "d"], client)
            #expect(added.failureDomain == "d")
        }
    }

    @Test("arguments arrive at the device", arguments: ["K", "m", "G", "T", ""])
    func arguments(suffix: String) async throws {
        let shifts: [String: UInt64] = ["K": 10, "m": 20, "G": 30, "T": 40, "": 0]
        let size = UInt64(3) << (shifts[suffix] ?? 63)
        let device = FakeDevice()
        try await withServer(device) { client in
            let create = ["volume", "create", "v", "--size", "3\(suffix)", "--layout", "mirror:3"]
            let volume: VolumeStatus = try await decode(
                create + ["--ordering", "sequential"], client)
            #expect(volume.sizeBytes == ByteCount(size))
            for silent in [
                ["volume", "delete", "v"], ["snapshot", "delete", "v", "s"],
                ["appliance", "remove", "a"],
            ] {
                let run = try await run(silent, client)
                #expect(run.status == 0 && run.output.isEmpty && run.errors.isEmpty)
            }
            let plain = try await run(create, client)
            #expect(plain.output == VolumeStatus.sample.uri + "\n")
        }
        #expect(
            await device.calls == [
                "create v \(size) mirror:3 sequential", "delete v", "delete v s", "remove a",
                "create v \(size) mirror:3 parallel",
            ])
    }

    @Test("a rebuild takes a limit as it takes sizes, and the volume shows it")
    func rebuildLimit() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let limited: VolumeStatus = try await decode(
                ["rebuild", "vol0", "--limit", "64M"], client)
            #expect(limited.rebuildLimit == .mebibytes(64))
            let shown = try await run(["volume", "show", "vol0"], client)
            #expect(shown.output.contains("\nrebuilds     at most 64.0 MiB/s\n"))
            let free: VolumeStatus = try await decode(["rebuild", "vol0", "--limit", "0"], client)
            #expect(free.rebuildLimit == nil)
            let plain = try await run(["volume", "show", "vol0"], client)
            #expect(!plain.output.contains("rebuilds"))
        }
        let calls = await device.calls.filter { $0.hasPrefix("rebuild") }
        #expect(calls == ["rebuild vol0 67108864", "rebuild vol0 0"])
    }

    @Test("tables are aligned and quantities are for people")
    func tables() async throws {
        try await withServer(FakeDevice()) { client in
            let volumes = try await run(["volume", "list"], client)
            #expect(
                volumes.output == """
                    VOLUME     SIZE  LAYOUT    HEALTH    MEMBERS  SNAPSHOTS  CONNECTIONS
                    vol0    1.0 GiB  mirror:2  degraded  1 of 2           1            1
                    vol1    1.0 GiB  mirror:2  degraded  1 of 2           1            1

                    """)
            let appliances = try await run(["appliance", "list"], client)
            #expect(
                appliances.output == """
                    APPLIANCE  STATE  CAPACITY  ALLOCATED  RESIDENT  FAILURE DOMAIN  ADDRESS
                    a          up      4.0 GiB    1.0 GiB   1.0 MiB  rack1           unix:/tmp/x/a.sock
                    b          down    8.0 GiB    0 bytes   0 bytes  -               tcp:192.0.2.7:7474

                    """)
            let volume = try await run(["volume", "show", "vol0"], client)
            #expect(volume.output.contains("256.0 MiB of 1.0 GiB  128.0 MiB/s  6 s left\n"))
            #expect(volume.output.contains("vol0@s0"))
            #expect(volume.output.contains("2026-01-02T04:04:05Z"))
            let created = try await run(["snapshot", "create", "vol0", "s"], client)
            #expect(created.output.hasSuffix("\nwriters were held for 1.3 ms\n"))
        }
        let empty = DeviceStatus(
            pid: 1, version: "", startedAt: .now, nbd: [], appliances: [], volumes: [])
        try await withServer(FakeDevice(status: empty)) { client in
            let volumes = try await run(["volume", "list"], client)
            #expect(volumes.output.hasPrefix("No volumes: create one with"))
            let appliances = try await run(["appliance", "list"], client)
            #expect(appliances.output.hasPrefix("No appliances: add one with"))
        }
    }

    @Test("--dir defaults to the user's state directory")
    func defaultDirectory() async throws {
        guard geteuid() != 0 else {
            let run = try await holdfast(
                ["status", "--help"], environment: ["XDG_STATE_HOME": "/tmp/hfc-state"])
            #expect(run.output.contains("/var/lib/holdfast"))
            return
        }
        let state = try await holdfast(
            ["status"], environment: ["XDG_STATE_HOME": "/tmp/hfc-state"])
        #expect(state.errors.contains("running for /tmp/hfc-state/holdfast:"))
        let home = try await holdfast(["status"], environment: ["HOME": "/tmp/hfc-home"])
        #expect(home.errors.contains("running for /tmp/hfc-home/.local/state/holdfast:"))
    }

    /// Runs the program for the device of `client`, or for none.
    private func run(_ arguments: [String], _ client: ControlClient? = nil) async throws -> Run {
        let place = client.map { ["--dir", $0.socket.directory] } ?? []
        return try await holdfast(arguments + place)
    }

    private func decode<Value: Decodable>(
        _ arguments: [String], _ client: ControlClient
    ) async throws -> Value {
        let run = try await run(arguments + ["--json"], client)
        #expect(run.status == 0)
        #expect(run.errors.isEmpty)
        return try ControlJSON.decoder().decode(Value.self, from: Data(run.output.utf8))
    }
}
