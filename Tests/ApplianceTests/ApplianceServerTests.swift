// What a client device may ask for, over a real socket: memory is lent once, within bounds, and what
// cannot be done is refused with a sentence.

import Appliance
import CLinux
import Glibc
import RemoteMemory
import SharedMemoryTransport
import Testing

@Suite struct ApplianceServerTests {
    @Test func describesItself() throws {
        let appliance = try RunningAppliance(capacity: .mebibytes(100))
        let (connection, id) = try appliance.region(.mebibytes(3))
        let description = try connection.describe()
        #expect(description.name == "left")
        #expect(description.incarnation == appliance.incarnation)
        #expect(description.processID == getpid())
        #expect(description.capacity == .mebibytes(100))
        #expect(description.allocated == .mebibytes(6), "3 MiB rounded up, and the overhead")
        #expect(description.resident == .zero)
        #expect(description.hostAvailable > .zero)
        #expect(description.bootID.utf8.count == 36)
        #expect(description.regions == [id])
        #expect(try RunningAppliance().incarnation != appliance.incarnation)
    }

    @Test func aRegionIsMeasuredAndFreed() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        #expect(
            try connection.describe(id).dataSize == .mebibytes(1))
        #expect(try connection.describe(id).resident == .zero)
        let region = try connection.map(id, owner: OwnerID(.random()))
        memset(region.view.bytes(ByteRange(start: ByteOffset(0), count: .kibibytes(64))), 1, 65_536)
        #expect(try connection.describe(id).resident == .kibibytes(64))
        #expect(try connection.describe().resident == .kibibytes(64))
        try connection.free(id)
        #expect(try connection.describe().allocated == .zero)
        #expect(try connection.describe().regions.isEmpty)
        // Who still has it mapped is not killed by that.
        region.view.writeLabel(
            RegionLabel(
                volume: VolumeID(.random()), region: id, size: .mebibytes(1), epoch: Epoch(1)))
    }

    @Test func populatedMemoryIsThereAtOnce() throws {
        let appliance = try RunningAppliance()
        let client = try appliance.connect()
        let id = RegionID(.random())
        try client.allocate(id, dataSize: .mebibytes(2), populate: true)
        #expect(try client.describe(id).resident == .mebibytes(4))
    }

    @Test func lendsNoMoreThanItHas() throws {
        let appliance = try RunningAppliance(capacity: .mebibytes(10))
        let (connection, first) = try appliance.region(.mebibytes(4))
        let error = refusal {
            try connection.allocate(RegionID(.random()), dataSize: .mebibytes(3), populate: false)
        }
        #expect(error == .insufficientMemory(needed: .mebibytes(6), free: .mebibytes(4)))
        #expect(error?.description.contains("needs 6.0 MiB") == true)
        #expect(error?.description.contains("4.0 MiB left to lend") == true)
        #expect(try connection.describe().regions == [first], "nothing is left of it")
        // What fits exactly is lent, and what was freed may be lent again.
        try connection.allocate(RegionID(.random()), dataSize: .mebibytes(2), populate: false)
        #expect(try connection.describe().allocated == .mebibytes(10))
        try connection.free(first)
        try connection.allocate(RegionID(.random()), dataSize: .mebibytes(4), populate: false)
    }

    @Test(arguments: [.gibibytes(64 << 10), ByteCount(1 << 63), ByteCount(.max - (4 << 20))])
    func absurdSizesAreRefused(_ size: ByteCount) throws {
        let appliance = try RunningAppliance()
        let connection = try appliance.connect()
        let error = refusal {
            try connection.allocate(RegionID(.random()), dataSize: size, populate: false)
        }
        #expect(
            error
                == .insufficientMemory(
                    needed: size <= RegionLayout.largestVolume
                        ? RegionLayout.regionSize(forDataOf: size) : size, free: .mebibytes(64)))
    }

    /// A message must not end the process: all regions would be lost.
    @Test func sizesAtWhichSumsOverflowAreRefused() async {
        await #expect(processExitsWith: .success) {
            let appliance = try RunningAppliance()
            let connection = try appliance.connect()
            let error = refusal {
                try connection.allocate(
                    RegionID(.random()), dataSize: ByteCount(.max), populate: false)
            }
            guard case .insufficientMemory = error else { exit(1) }
        }
    }

    @Test func aRegionExistsOnce() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let error = refusal {
            try connection.allocate(id, dataSize: .mebibytes(1), populate: false)
        }
        #expect(error == .regionExists(id))
        #expect(error?.description.contains("\(id) already") == true)
    }

    @Test func whatIsNotThereIsRefused() throws {
        let appliance = try RunningAppliance()
        let connection = try appliance.connect()
        let id = RegionID(.random())
        let cluster = ResiliencyCluster(
            volume: VolumeID(.random()), epoch: Epoch(1), members: [])
        let owner = OwnerID(.random())
        #expect(refusal { _ = try connection.describe(id) } == .noSuchRegion(id))
        #expect(
            refusal { _ = try connection.open(id, owner: owner, epoch: Epoch(1)) }
                == .noSuchRegion(id))
        #expect(refusal { _ = try connection.view(id) } == .noSuchRegion(id))
        #expect(refusal { try connection.free(id) } == .noSuchRegion(id))
        #expect(refusal { try connection.enrol(id, in: cluster) } == .noSuchRegion(id))
        #expect(refusal { _ = try connection.observe(id) } == .noSuchRegion(id))
        #expect(ApplianceRefusal.noSuchRegion(id).description.contains("memory was lost"))
        #expect(try connection.describe().regions.isEmpty, "the connection goes on")
    }

    @Test func freedRegionsAreGone() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        try connection.free(id)
        #expect(refusal { _ = try connection.view(id) } == .noSuchRegion(id))
        try connection.allocate(id, dataSize: .mebibytes(1), populate: false)
    }

    // MARK: Descriptors

    @Test func ownersGetMemoryThatCannotShrink() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let (descriptor, description) = try connection.open(
            id, owner: OwnerID(.random()), epoch: Epoch(1)
        ).memory
        defer { close(descriptor) }
        #expect(description.region == id)
        for size in [0, 4096, 2 << 20] as [off_t] {
            errno = 0
            #expect(ftruncate(descriptor, size) == -1)
            #expect(errno == EPERM)
        }
        #expect(clinux_seal(descriptor, F_SEAL_WRITE) == -1, "no more seals can be set")
        #expect(clinux_get_seals(descriptor) & F_SEAL_WRITE == 0)
        #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0, "children do not get it")
    }

    @Test func viewsAreReadOnly() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let region = try connection.map(id, owner: OwnerID(.random()))
        let (descriptor, description) = try connection.view(id).memory
        #expect(description.region == id)
        let size = 4 << 20
        errno = 0
        let writable = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
        #expect(writable == MAP_FAILED)
        #expect(errno == EACCES)
        var byte: UInt8 = 1
        #expect(pwrite(descriptor, &byte, 1, 0) == -1)
        #expect(fallocate(descriptor, 0, 0, 4096) == -1)
        let reader = try MappedRegion(
            descriptor: descriptor, dataSize: .mebibytes(1), isHuge: false, isWritable: false)
        memset(region.view.bytes(ByteRange(start: ByteOffset(0), count: .kibibytes(4))), 9, 4096)
        let place = reader.view.bytes(ByteRange(start: ByteOffset(0), count: .kibibytes(4)))
        #expect(place.load(as: UInt8.self) == 9, "it is the same memory")
    }

    // MARK: The socket

    @Test func onlyItsUserCanOpenTheSocket() throws {
        let appliance = try RunningAppliance()
        var status = stat()
        #expect(stat(appliance.path, &status) == 0)
        #expect(status.st_mode & 0o077 == 0)
    }

    @Test func theFileOfAKilledApplianceIsReplaced() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/socket"
        let stale = clinux_socket_stream(AF_UNIX)
        #expect(clinux_unix_bind(stale, path) == 0)
        close(stale)
        #expect(throws: ApplianceConnectionError.unreachable(path: path, errno: ECONNREFUSED)) {
            _ = try ApplianceConnection(path: path)
        }
        _ = try ApplianceServer(name: "a", capacity: .mebibytes(8), path: path)
    }

    @Test func pathsThatAreTooLongAreRefused() throws {
        let path = "/tmp/" + String(repeating: "x", count: 103)
        let expected = ApplianceConnectionError.pathTooLong(path: path)
        #expect(throws: expected) {
            _ = try ApplianceServer(name: "a", capacity: .mebibytes(8), path: path)
        }
        #expect(throws: expected) { _ = try ApplianceConnection(path: path) }
        #expect(expected.description.contains("107 bytes"))
    }

    @Test func theEndOfAnApplianceIsSeen() throws {
        let appliance = try RunningAppliance()
        let connection = try appliance.connect()
        _ = try connection.describe()
        let path = appliance.path
        appliance.stop()
        while access(path, F_OK) == 0 { usleep(1000) }
        #expect(throws: ApplianceConnectionError.self) { _ = try ApplianceConnection(path: path) }
    }
}
