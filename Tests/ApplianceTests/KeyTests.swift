// Fencing by key: who has a newer one shuts out all before, at once and for good.

import Appliance
import Glibc
import RemoteMemory
import SharedMemoryTransport
import TCPTransport
import Testing

@Suite struct KeyTests {
    @Test func `a newer epoch, another owner and the same one again replace the key`() throws {
        let appliance = try RunningAppliance()
        let connection = try appliance.connectByNetwork()
        let id = RegionID(.random())
        try connection.allocate(id, dataSize: .mebibytes(1), populate: false)
        let (first, second) = (OwnerID(.random()), OwnerID(.random()))
        var seen: Set<Identifier> = []
        var previous: (client: AccessClient, key: Identifier)?
        for (owner, epoch) in [(first, 3), (first, 3), (second, 3), (second, 9)]
            as [(OwnerID, UInt64)]
        {
            let key = try connection.key(id, owner, Epoch(epoch))
            #expect(seen.insert(key).inserted)
            if let previous {
                #expect(previous.client.isClosed)
                #expect(throws: ApplianceConnectionError.notAttached(.fenced)) {
                    _ = try connection.attach(id, key: previous.key)
                }
            }
            let client = try AccessClient(appliance, id, key)
            #expect(client.write([1], at: 0) == .done)
            previous = (client, key)
        }
        let stale = refusal { _ = try connection.open(id, owner: first, epoch: Epoch(8)) }
        #expect(stale == .staleEpoch(given: Epoch(8), known: Epoch(9)))
        #expect(previous?.client.read(0, 1) == [1], "who was refused changes nothing")
    }

    /// The reader has stopped: what it sent before it was fenced waits, and must never land.
    @Test func `what waits behind a stopped reader dies with its key`() throws {
        let appliance = try RunningAppliance(capacity: .mebibytes(40))
        let (connection, id, key) = try appliance.keyed(.mebibytes(32))
        let stopped = try AccessClient(appliance, id, key)
        #expect(stopped.write(pattern(1, 32 << 20), at: 0) == .done)
        stopped.send(
            AccessClient.request(.read, tag: 1, [.data(0, 32 << 20)])
                + AccessClient.request(.write, tag: 2, [.data(0, 4096)], pattern(2, 4096)))
        #expect(stopped.receive(16).count == 16)
        let next = try connection.key(id, OwnerID(.random()), Epoch(2))
        let successor = try AccessClient(appliance, id, next)
        #expect(successor.read(0, 4096) == Array(pattern(1, 32 << 20).prefix(4096)))
        // It goes on, and takes what is left for it.
        #expect(stopped.isClosed)
        for _ in 0..<50 {
            _ = stopped.sendSome(AccessClient.request(.write, tag: 3, [.data(0, 1)], [9]))
        }
        #expect(successor.read(0, 4096) == Array(pattern(1, 32 << 20).prefix(4096)))
    }

    /// Half of a long request is done when its key dies: the other half is not.
    @Test func `a request under way ends with its key`() throws {
        let appliance = try RunningAppliance(capacity: .mebibytes(600))
        let (connection, id, key) = try appliance.keyed(.mebibytes(512))
        let client = try AccessClient(appliance, id, key)
        client.send(
            AccessClient.request(
                .write, tag: 1, [.data(0, 512 << 20, .zeroes), .data(0, 1)], [1]))
        let next = try connection.key(id, OwnerID(.random()), Epoch(2))
        let successor = try AccessClient(appliance, id, next)
        let isDone = client.reply() != nil
        #expect(client.isClosed)
        #expect(successor.read(0, 1) == [isDone ? 1 : 0])
    }

    @Test func `fencing shuts out lower epochs and remembers`() throws {
        let appliance = try RunningAppliance()
        let (connection, id, key) = try appliance.keyed()
        let client = try AccessClient(appliance, id, key)
        try connection.fence(id, epoch: Epoch(1))
        #expect(client.write([1], at: 0) == .done, "its epoch is not below")
        try connection.fence(id, epoch: Epoch(7))
        #expect(client.isClosed)
        let owner = OwnerID(.random())
        #expect(
            refusal { _ = try connection.open(id, owner: owner, epoch: Epoch(6)) }
                == .staleEpoch(given: Epoch(6), known: Epoch(7)))
        #expect(
            refusal { try connection.fence(id, epoch: Epoch(6)) }
                == .staleEpoch(given: Epoch(6), known: Epoch(7)))
        _ = try connection.key(id, owner, Epoch(7))
        let unknown = RegionID(.random())
        #expect(
            refusal { try connection.fence(unknown, epoch: Epoch(1)) } == .noSuchRegion(unknown))
    }

    @Test func `a process with the memory itself cannot be fenced, and blocks keys of others`()
        throws
    {
        let appliance = try RunningAppliance()
        let (local, id) = try appliance.region()
        let owner = OwnerID(.random())
        close(try local.open(id, owner: owner, epoch: Epoch(1)).memory.descriptor)
        let remote = try appliance.connectByNetwork()
        let held = ApplianceRefusal.holderAlive(processID: getpid())
        #expect(
            refusal { _ = try remote.open(id, owner: OwnerID(.random()), epoch: Epoch(2)) } == held)
        #expect(refusal { try remote.fence(id, epoch: Epoch(2)) } == held)
        _ = try remote.key(id, owner, Epoch(2))
    }

    @Test func `who gets the memory itself ends the key`() throws {
        let appliance = try RunningAppliance()
        let (_, id, key) = try appliance.keyed()
        let client = try AccessClient(appliance, id, key)
        let local = try appliance.connect()
        close(try local.open(id, owner: OwnerID(.random()), epoch: Epoch(2)).memory.descriptor)
        #expect(client.isClosed)
    }

    @Test func `keys for reading read, until the region is freed`() throws {
        let appliance = try RunningAppliance()
        let (connection, id, key) = try appliance.keyed()
        let writer = try AccessClient(appliance, id, key)
        let views = try (0..<3).map { _ in try connection.viewKey(id) }
        #expect(Set(views).count == 3)
        let readers = try views.map { try AccessClient(appliance, id, $0) }
        #expect(writer.write([5], at: 9) == .done)
        for reader in readers {
            #expect(reader.read(9, 1) == [5])
            #expect(reader.write([6], at: 9) == .refused)
            #expect(reader.ask(.write, [.data(9, 1, .hole)])?.status == .refused)
            #expect(reader.ask(.probe)?.status == .done)
        }
        _ = try connection.key(id, OwnerID(.random()), Epoch(9))
        #expect(readers[0].read(9, 1) == [5], "owners come and go")
        try connection.free(id)
        for reader in readers { #expect(reader.isClosed) }
        #expect(throws: ApplianceConnectionError.notAttached(.noSuchRegion)) {
            _ = try connection.attach(id, key: views[0])
        }
    }

    @Test func `a key opens its own region alone, and a guess opens none`() throws {
        let appliance = try RunningAppliance()
        let (connection, _, key) = try appliance.keyed()
        let (_, other, _) = try appliance.keyed()
        for guess in [key, .random(), Identifier(high: 0, low: 0)] {
            #expect(throws: ApplianceConnectionError.notAttached(.fenced)) {
                _ = try connection.attach(other, key: guess)
            }
        }
    }

    /// What this process stores through its mapping nobody tells the appliance of.
    @Test func `stores of a process on the same host are seen`() throws {
        let appliance = try RunningAppliance()
        let (local, id) = try appliance.region()
        let remote = try appliance.connectByNetwork()
        let reader = try AccessClient(appliance, id, remote.viewKey(id))
        #expect(reader.ask(.read, [.data(0, 65_536)])?.content == .zeroes)
        let region = try local.map(id, owner: OwnerID(.random()))
        let bytes = pattern(3, 65_536)
        bytes.withUnsafeBytes { bytes in
            region.view.storeData(
                bytes.baseAddress!,
                at: ByteRange(start: ByteOffset(0), count: .kibibytes(64)))
        }
        #expect(reader.read(0, 65_536) == bytes)
    }
}
