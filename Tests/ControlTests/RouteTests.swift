// Every call of a device arrives at the other end as the same call, and its answer comes back whole.

import Control
import ControlHTTP
import Foundation
import RemoteMemory
import Testing

@Suite("Routes") struct RouteTests {
    @Test("status, volumes and appliances come back as they are")
    func queries() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let status = try await client.status()
            #expect(status == .sample)
            let volumes = try await client.volumes()
            #expect(volumes == DeviceStatus.sample.volumes)
            let volume = try await client.volume(named: "vol0")
            #expect(volume == .sample)
            let appliances = try await client.appliances()
            #expect(appliances == DeviceStatus.sample.appliances)
            let snapshots = try await client.snapshots(ofVolume: "vol0")
            #expect(snapshots == [.sample])
        }
        let calls = await device.calls
        #expect(calls == ["status", "volumes", "volume vol0", "appliances", "snapshots vol0"])
    }

    @Test("what creates carries all of its arguments", arguments: Ordering.allCases)
    func creations(ordering: Ordering) async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let volume = try await client.createVolume(
                VolumeCreation(
                    name: "v", size: ByteCount(12345), layout: .mirror(copies: 5),
                    ordering: ordering))
            #expect(volume.sizeBytes == ByteCount(12345))
            #expect(volume.layout == .mirror(copies: 5))
            #expect(volume.ordering == ordering)
            let created = try await client.createSnapshot(
                ofVolume: "v", SnapshotCreation(name: "s", immediate: ordering == .sequential))
            #expect(created.snapshot.name == "s")
            #expect(created.heldMilliseconds == 1.25)
            let added = try await client.addAppliance(
                ApplianceAddition(name: "c", address: "tcp:h:1", failureDomain: "d"))
            #expect(added.failureDomain == "d")
            let bare = try await client.addAppliance(
                ApplianceAddition(name: "c", address: "unix:/x"))
            #expect(bare.failureDomain == nil)
        }
        let calls = await device.calls
        #expect(
            calls == [
                "create v 12345 mirror:5 \(ordering)", "cut v s \(ordering == .sequential)",
                "add c tcp:h:1 d", "add c unix:/x nil",
            ])
    }

    @Test("what deletes names what it deletes")
    func deletions() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            try await client.deleteVolume(named: "v")
            try await client.deleteSnapshot(named: "s", ofVolume: "v")
            try await client.removeAppliance(named: "a")
        }
        #expect(await device.calls == ["delete v", "delete v s", "remove a"])
    }

    @Test("what changes a volume or an appliance arrives as it was meant")
    func changes() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let volume = try await client.changeVolume(
                named: "vol0", VolumeChange(layout: .mirror(copies: 3)))
            #expect(volume.layout == .mirror(copies: 3))
            let moved = try await client.moveMember(
                ofVolume: "vol1", MemberMove(from: "a", to: "c"))
            #expect(moved.members.map(\.appliance) == ["a", "c"])
            #expect(moved.members.map(\.isLeaving) == [true, false])
            _ = try await client.moveMember(ofVolume: "vol1", MemberMove(from: "a"))
            let draining = try await client.drainAppliance(named: "a", DrainStart())
            #expect(draining.isDraining)
            let used = try await client.drainAppliance(
                named: "a", DrainStart(isCancelled: true))
            #expect(!used.isDraining)
        }
        #expect(
            await device.calls == [
                "set vol0 mirror:3", "move vol1 a c", "move vol1 a nil", "drain a false",
                "drain a true",
            ])
    }

    @Test("a layout that is none is refused before the device hears of it")
    func impossibleLayout() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let directory = client.socket.directory
            for body in [#"{"layout":"mirror:0"}"#, #"{"layout":3}"#, "{}", ""] {
                let answer = await exchange(directory, "PATCH", "/v1/volumes/vol0", body: body)
                #expect(answer.status == 400)
                #expect(answer.error?.code == .invalid)
            }
            // An appliance is drained without being told how.
            let answer = await exchange(directory, "POST", "/v1/appliances/a/drain")
            #expect(answer.status == 200)
        }
        #expect(await device.calls == ["drain a false"])
    }

    @Test("a rebuild's limit arrives, is shown, stays, and is removed with zero")
    func rebuildLimit() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let limit = ByteCount(UInt64(1) << 63 | 1)
            let limited = try await client.rebuild(volume: "vol0", RebuildStart(limit: limit))
            #expect(limited.rebuildLimit == limit)
            let later = try await client.rebuild(volume: "vol0")
            #expect(later.rebuildLimit == limit)
            let free = try await client.rebuild(volume: "vol0", RebuildStart(limit: .zero))
            #expect(free.rebuildLimit == nil)
        }
        #expect(
            await device.calls == [
                "rebuild vol0 \(UInt64(1) << 63 | 1)", "rebuild vol0 nil", "rebuild vol0 0",
            ])
    }

    @Test("limits of clients arrive, are shown, stay, and are removed with zero")
    func limits() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let both = try await client.limitVolume(
                named: "vol0", LimitChange(iops: 100, bandwidth: .mebibytes(1)))
            #expect(both.iopsLimit == 100 && both.bandwidthLimit == .mebibytes(1))
            let one = try await client.limitVolume(named: "vol0", LimitChange(iops: 0))
            #expect(one.iopsLimit == nil && one.bandwidthLimit == .mebibytes(1))
        }
        #expect(await device.calls == ["limit vol0 100 1048576", "limit vol0 0 nil"])
    }

    @Test("rebuild returns at once, scrub when it is done; both show how far they are")
    func work() async throws {
        try await withServer(FakeDevice()) { client in
            let started = try await client.rebuild(volume: "vol0")
            #expect(started.members[1].rebuild == .sample)
            let later = try await client.volume(named: "vol0")
            #expect(later.members[1].rebuild?.doneBytes == .mebibytes(512))

            async let report = client.scrub(volume: "vol1")
            var seen: ScrubProgress?
            for _ in 0..<100 where seen == nil {
                try await Task.sleep(for: .milliseconds(5))
                seen = try await client.volume(named: "vol1").scrub
            }
            #expect(seen == .sample)
            let found = try await report
            #expect(found.mismatchedExtents == 2)
            let after = try await client.volume(named: "vol1")
            #expect(after.scrub == nil)
        }
    }

    @Test(
        "a name arrives in one piece, whatever is in it",
        arguments: ["a/b", "..", "a b", "50%", "%2F", "vol0@s0", "ü?#&+;", "\u{1}\n", "snapshots"])
    func oddNames(name: String) async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            try await client.deleteSnapshot(named: name, ofVolume: name)
        }
        #expect(await device.calls == ["delete \(name) \(name)"])
    }

    @Test("an empty name never becomes a request for something else")
    func emptyName() async throws {
        let device = FakeDevice()
        try await withServer(device) { client in
            let error = try await #require(throws: ControlError.self) {
                try await client.deleteVolume(named: "")
            }
            #expect(error.code == .invalid)
        }
        #expect(await device.calls.isEmpty)
    }

    @Test("a request whose task is cancelled ends at once, and the device goes on")
    func cancellation() async throws {
        try await withServer(FakeDevice()) { client in
            let request = Task { try await client.scrub(volume: "vol0") }
            while try await client.status().volumes[0].scrub == nil { await Task.yield() }
            let start = ContinuousClock.now
            request.cancel()
            let outcome = await request.result
            #expect(throws: ControlError.self) { try outcome.get() }
            // The scrub waits five seconds for somebody to look at it.
            #expect(ContinuousClock.now - start < .seconds(4))
            let status = try await client.status()
            #expect(status.volumes[0].scrub != nil)
        }
    }

    @Test("many requests at once are all answered")
    func concurrency() async throws {
        try await withServer(FakeDevice()) { client in
            // More than the server has connections for: the rest must wait, not fail.
            let count = ControlServer.maximumConnections + 40
            let names = try await withThrowingTaskGroup(of: String.self) { group in
                for index in 0..<count {
                    group.addTask {
                        let creation = VolumeCreation(
                            name: "v\(index)", size: .zero, layout: .mirror(copies: 1))
                        return try await client.createVolume(creation).name
                    }
                }
                return try await group.reduce(into: Set<String>()) { $0.insert($1) }
            }
            #expect(names.count == count)
        }
    }
}
