// Commands that change a set in use: they start the change, look on until it is done, and say so.

import Control
import ControlHTTP
import Foundation
import RemoteMemory
import Testing

@Suite("Set changes") struct SetChangeCommandTests {
    private func run(_ arguments: [String], _ client: ControlClient) async throws -> Run {
        try await holdfast(arguments + ["--dir", client.socket.directory])
    }

    /// The lines of a run that went well.
    private func lines(_ arguments: [String], _ client: ControlClient) async throws -> [String] {
        let run = try await run(arguments, client)
        #expect(run.status == 0)
        #expect(run.errors.isEmpty, "\(run.errors)")
        return run.output.split(separator: "\n").map(String.init)
    }

    @Test("another layout is waited for, with its progress")
    func layout() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let lines = try await lines(["volume", "set", "vol0", "--layout", "mirror:2"], client)
            #expect(
                lines.first == "vol0  25 %  256.0 MiB of 1.0 GiB  128.0 MiB/s  6 s left")
            #expect(lines.last == "vol0 is mirror:2 and healthy")
        }
        let calls = await device.calls
        #expect(calls.first == "set vol0 mirror:2")
        #expect(calls.dropFirst().allSatisfy { $0 == "volume vol0" } && calls.count > 2)
    }

    @Test(
        "a move is waited for until the former member is gone, not only until the new one is whole")
    func move() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let lines = try await lines(
                ["volume", "move", "vol0", "--from", "a", "--to", "c"], client)
            #expect(lines.last == "vol0 is healthy, on c")
            let json = try await run(
                ["volume", "move", "vol1", "--from", "a", "--json"], client)
            let volume = try ControlJSON.decoder().decode(
                VolumeStatus.self, from: Data(json.output.utf8))
            #expect(volume.members.map(\.appliance) == ["b"])
        }
        let moves = await device.calls.filter { $0.hasPrefix("move") }
        #expect(moves == ["move vol0 a c", "move vol1 a nil"])
    }

    @Test("a volume is resized, and a size has to be one")
    func resize() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            #expect(
                try await lines(["volume", "resize", "vol0", "8G"], client) == [
                    "vol0 has 8.0 GiB"
                ])
            let json = try await run(["volume", "resize", "vol0", "9G", "--json"], client)
            let volume = try ControlJSON.decoder().decode(
                VolumeStatus.self, from: Data(json.output.utf8))
            #expect(volume.sizeBytes == .gibibytes(9))
            for words in [["vol0"], ["vol0", "-1G"], ["vol0", "much"]] {
                #expect(try await run(["volume", "resize"] + words, client).status == 64)
            }
        }
        #expect(
            await device.calls == ["resize vol0 \(8 << 30)", "resize vol0 \(9 << 30)"])
    }

    @Test("limits are said back, and something has to be limited")
    func limits() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let both = try await lines(
                ["volume", "limit", "vol0", "--iops", "2000", "--bandwidth", "200M"], client)
            #expect(both == ["vol0: at most 2000 requests/s, 200.0 MiB/s"])
            let shown = try await lines(["volume", "show", "vol0"], client)
            #expect(shown.contains("clients      at most 2000 requests/s, 200.0 MiB/s"))
            let none = try await lines(
                ["volume", "limit", "vol0", "--iops", "0", "--bandwidth", "0"], client)
            #expect(none == ["vol0: no limits"])
            #expect(try await run(["volume", "limit", "vol0"], client).status == 64)
        }
    }

    @Test("an appliance is drained with its progress, and its snapshots are named")
    func drain() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let lines = try await lines(["appliance", "drain", "a"], client)
            // Two volumes of 1 GiB, a quarter of each done.
            #expect(lines.first == "a  25 %  512.0 MiB of 2.0 GiB  256.0 MiB/s  6 s left")
            #expect(
                lines.last == "a holds no member, but the snapshots vol0@s0, vol0@s0: copy what is "
                    + "needed, and delete with 'holdfast snapshot delete vol0 s0'; then 'holdfast "
                    + "appliance remove a' forgets it")
            let list = try await run(["appliance", "list"], client)
            #expect(list.output.contains("\na          draining  "))
            let cancelled = try await self.lines(["appliance", "drain", "a", "--cancel"], client)
            #expect(cancelled == ["a is used again"])
        }
        let drains = await device.calls.filter { $0.hasPrefix("drain") }
        #expect(drains == ["drain a false", "drain a true"])
    }

    @Test("an appliance that holds nothing is empty at once, as --json says too")
    func drainOfNothing() async throws {
        var status = DeviceStatus.sample
        status.volumes = []
        try await withServer(FakeDevice(status: status)) { client in
            #expect(
                try await lines(["appliance", "drain", "a"], client)
                    == ["a is empty: 'holdfast appliance remove a' forgets it"])
            let json = try await run(["appliance", "drain", "a", "--json"], client)
            #expect(json.output.contains("\"members\" : 0"))
            #expect(json.output.contains("\"isDraining\" : true"))
            #expect(json.output.contains("\"snapshots\" : [\n\n  ]"))
        }
    }

    @Test(
        "what keeps a change from going on ends the command with it, and status 1",
        arguments: [
            ["volume", "set", "vol0", "--layout", "mirror:3"],
            ["volume", "move", "vol0", "--from", "a"], ["appliance", "drain", "a"],
        ])
    func obstacle(arguments: [String]) async throws {
        let device = FakeDevice()
        await device.obstruct("needs 1.0 GiB on 1 appliance; none free")
        try await withServer(device) { client in
            let run = try await run(arguments, client)
            #expect(run.status == 1)
            #expect(
                run.errors == "holdfast: A member of vol0 cannot be added yet (needs 1.0 GiB on 1 "
                    + "appliance; none free): see to that, and the change, which is recorded, goes on "
                    + "by itself.\n")
        }
    }

    @Test("a volume whose contents are lost on the way is a failure that says so")
    func lost() async throws {
        let device = FakeDevice()
        await device.endRebuild(with: .lost)
        try await withServer(device) { client in
            let run = try await run(["volume", "set", "vol0", "--layout", "mirror:3"], client)
            #expect(run.status == 1)
            #expect(run.errors.contains("The contents of the volume vol0 are lost"))
        }
    }

    @Test("members that leave and appliances that are drained look so")
    func looks() async throws {
        var status = DeviceStatus.sample
        status.appliances[0].isDraining = true
        status.appliances[1].isDraining = true
        status.volumes[0].members[0].isLeaving = true
        status.volumes[0].obstacle = "needs memory"
        try await withServer(FakeDevice(status: status)) { client in
            let list = try await run(["appliance", "list"], client)
            #expect(list.output.contains("\na          draining         4.0 GiB"))
            #expect(list.output.contains("\nb          down, draining   8.0 GiB"))
        }
        status.volumes[0].members[0].state = .active
        try await withServer(FakeDevice(status: status)) { client in
            let volume = try await run(["volume", "show", "vol0"], client)
            #expect(volume.output.contains("\nobstacle     needs memory\n"))
            #expect(volume.output.contains("active, leaving  a"))
        }
    }
}
