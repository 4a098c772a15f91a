// Memory that outlives its appliance: all of it or nothing, and never by halves (G8).

import Appliance
import Foundation
import Glibc
import Reactor
import RemoteMemory
import SharedMemoryTransport
import TCPTransport
import TestSupport
import Testing

@Suite struct MemoryDirectoryTests {
    /// A directory in memory that goes with its owner.
    final class Shared {
        let path = "/dev/shm/holdfast-test-\(UUID().uuidString)"
        deinit { try? FileManager.default.removeItem(atPath: path) }

        var names: Set<String> {
            Set((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? [])
        }

        func start(_ capacity: ByteCount = .mebibytes(64)) throws -> RunningAppliance {
            try RunningAppliance(capacity: capacity, memoryDirectory: path)
        }
    }

    @Test func `regions survive a restart, with their epochs and their incarnation`() throws {
        let shared = Shared()
        let bytes = pattern(1, 100_000)
        let (id, incarnation, owner) = try {
            let appliance = try shared.start()
            let connection = try appliance.connectByNetwork()
            let id = RegionID(.random())
            let owner = OwnerID(.random())
            try connection.allocate(id, dataSize: .mebibytes(3), populate: false)
            #expect(try connection.describe(id).isKept)
            let client = try AccessClient(
                appliance, id, connection.key(id, owner, Epoch(7)))
            #expect(client.write(bytes, at: 4000) == .done)
            try connection.enrol(id, in: ObserverTests.cluster(id, epoch: 7))
            appliance.end()
            return (id, appliance.incarnation, owner)
        }()
        let appliance = try shared.start()
        #expect(appliance.incarnation == incarnation)
        let connection = try appliance.connectByNetwork()
        #expect(try connection.describe().regions == [id])
        #expect(try connection.describe(id).dataSize == .mebibytes(3))
        #expect(try connection.observe(id).cluster == ObserverTests.cluster(id, epoch: 7))
        #expect(
            refusal { _ = try connection.open(id, owner: owner, epoch: Epoch(6)) }
                == .staleEpoch(given: Epoch(6), known: Epoch(7)))
        let client = try AccessClient(appliance, id, connection.key(id, owner, Epoch(7)))
        #expect(client.read(4000, bytes.count) == bytes)
        #expect(client.read(2 << 20, 4096) == [UInt8](repeating: 0, count: 4096))
        try connection.free(id)
        #expect(shared.names == ["appliance.json"])
    }

    @Test(arguments: ["missing", "short", "boot", "garbage"])
    func `what did not survive whole begins anew, empty`(_ damage: String) throws {
        let shared = Shared()
        let incarnation = try {
            let appliance = try shared.start()
            for _ in 0..<2 { _ = try appliance.keyed() }
            appliance.end()
            return appliance.incarnation
        }()
        #expect(shared.names.count == 5)
        let region = try #require(shared.names.first { $0.hasSuffix(".region") })
        let record = region.replacingOccurrences(of: ".region", with: ".json")
        let file = shared.path + "/" + region
        switch damage {
        case "missing": #expect(unlink(file) == 0)
        case "short": #expect(truncate(file, 3 << 20) == 0)
        case "boot":
            let identity = shared.path + "/appliance.json"
            let text = try String(contentsOfFile: identity, encoding: .utf8)
            let boot = try #require(
                text.range(of: #"[0-9a-f]{8}-[0-9a-f-]{27}"#, options: .regularExpression))
            try text.replacingCharacters(in: boot, with: "00000000-0000-0000-0000-000000000000")
                .write(toFile: identity, atomically: true, encoding: .utf8)
        default:
            try "{".write(
                toFile: shared.path + "/" + record, atomically: true, encoding: .utf8)
        }
        let appliance = try shared.start()
        #expect(appliance.incarnation != incarnation)
        #expect(try appliance.connect().describe().regions.isEmpty)
        #expect(shared.names == ["appliance.json"])
    }

    @Test func `memory without a record is deleted, and what is not ours is left alone`() throws {
        let shared = Shared()
        let incarnation = try {
            let appliance = try shared.start()
            _ = try appliance.keyed()
            appliance.end()
            return appliance.incarnation
        }()
        let stray = "\(RegionID(.random())).region"
        for name in [stray, "notes.json", "something"] {
            #expect(
                FileManager.default.createFile(
                    atPath: shared.path + "/" + name, contents: Data([1])))
        }
        // (A record that is none of ours would be taken for a region that was lost.)
        #expect(unlink(shared.path + "/notes.json") == 0)
        let appliance = try shared.start()
        #expect(appliance.incarnation == incarnation)
        #expect(!shared.names.contains(stray))
        #expect(shared.names.contains("something"))
    }

    @Test func `a directory serves one appliance, of one name, and is in memory`() throws {
        let shared = Shared()
        func error(_ name: String, _ path: String, _ size: ByteCount = .mebibytes(8))
            -> ApplianceStartError?
        {
            do throws(ApplianceStartError) {
                _ = try ApplianceServer(
                    name: name, capacity: size, addresses: [], memoryDirectory: path)
                return nil
            } catch { return error }
        }
        try {
            let appliance = try shared.start()
            #expect(error("left", shared.path) == .memory(.inUse(directory: shared.path)))
            appliance.end()
        }()
        #expect(
            error("right", shared.path)
                == .memory(.otherAppliance(directory: shared.path, name: "left")))
        #expect(error("left", "/proc") == .memory(.notMemory(directory: "/proc")))
        #expect(
            error("left", shared.path + "/none/below")
                == .memory(
                    .unusable(
                        directory: shared.path + "/none/below", call: "opening it", errno: ENOENT)))
        guard case .memory(.tooSmall) = error("left", shared.path, .gibibytes(1 << 30)) else {
            Issue.record("an exbibyte was promised")
            return
        }
    }

    @Test func `a process that has the memory itself is known after a restart`() throws {
        let shared = Shared()
        let (id, holder) = try {
            let appliance = try shared.start()
            let (_, id) = try appliance.region()
            let holder = try OtherProcess(
                appliance.path,
                sends: .open(region: id, owner: OwnerID(.random()), epoch: Epoch(1)))
            appliance.end()
            return (id, holder)
        }()
        let appliance = try shared.start()
        let connection = try appliance.connect()
        let error = refusal {
            _ = try connection.open(id, owner: OwnerID(.random()), epoch: Epoch(2))
        }
        #expect(error == .holderAlive(processID: holder.identifier))
        holder.end()
        let region = try connection.open(id, owner: OwnerID(.random()), epoch: Epoch(2)).memory
        _ = try MappedRegion(
            descriptor: region.descriptor, dataSize: region.description.dataSize, isHuge: false,
            isWritable: true, isSealed: !region.description.isKept)
    }

    /// A store for which the file system has no page would end the process.
    @Test func `a full file system fails the write, and nothing else`() throws {
        let shared = Shared()
        #expect(mkdir(shared.path, 0o700) == 0)
        guard mount("tmpfs", shared.path, "tmpfs", 0, "size=16m") == 0 else { return }
        defer { umount2(shared.path, Int32(MNT_DETACH)) }
        let appliance = try shared.start(.mebibytes(16))
        let (_, id, key) = try appliance.keyed(.mebibytes(8))
        let client = try AccessClient(appliance, id, key)
        #expect(client.write(pattern(1, 1 << 20), at: 0) == .done)
        let filler = shared.path + "/filler"
        let file = open(filler, O_WRONLY | O_CREAT, 0o600)
        let page = [UInt8](repeating: 1, count: 4096)
        while write(file, page, page.count) > 0 {}
        close(file)
        #expect(client.write(pattern(2, 4 << 20), at: 4 << 20) == .failed)
        #expect(client.ask(.write, [.data(4 << 20, 4 << 20, .zeroes)])?.status == .failed)
        #expect(client.read(0, 1 << 20) == pattern(1, 1 << 20))
        #expect(client.write(pattern(3, 1 << 20), at: 0) == .done, "what is allocated stays so")
        #expect(unlink(filler) == 0)
        #expect(client.write(pattern(2, 4 << 20), at: 4 << 20) == .done)
        appliance.end()
    }

    /// The real program, killed: `appliance run` finds what it had.
    @Test func `a killed process leaves its memory to the next`() throws {
        let shared = Shared()
        func run() throws -> (RunningProcess, Address) {
            let process = try RunningProcess([
                HoldfastBinary.path, "appliance", "run", "--name", "kept", "--memory", "64M",
                "--listen", "tcp:127.0.0.1:0", "--memory-dir", shared.path,
            ])
            let line = try #require(process.standardOutput.waitForLine(atMost: .seconds(20)))
            return (process, try Address(line))
        }
        let id = RegionID(.random())
        var incarnation: Incarnation?
        for round in 1...3 as ClosedRange<UInt64> {
            let (process, address) = try run()
            let connection = try ApplianceConnection(address: address, security: .local)
            if round == 1 { try connection.allocate(id, dataSize: .mebibytes(4), populate: false) }
            let description = try connection.describe()
            #expect(incarnation == nil || description.incarnation == incarnation)
            incarnation = description.incarnation
            #expect(description.processID == process.pid)
            let key = try connection.key(id, OwnerID(.random()), Epoch(round))
            let client = AccessClient(try connection.attach(id, key: key))
            let place = (round - 1) << 20
            if round > 1 {
                #expect(client.read(place - 1 << 20, 1 << 20) == pattern(UInt8(round - 1), 1 << 20))
            }
            #expect(client.write(pattern(UInt8(round), 1 << 20), at: place) == .done)
            process.signal(SIGKILL)
            #expect(process.waitForExit(atMost: .seconds(20)) == .signalled(SIGKILL))
        }
    }
}
