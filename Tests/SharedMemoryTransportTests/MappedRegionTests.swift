// A mapping that could kill the process later is refused now, with a sentence that says what to do.

import CLinux
import Glibc
import RemoteMemory
import SharedMemoryTransport
import Testing

@Suite struct MappedRegionTests {
    static let size = ByteCount.mebibytes(3)
    static let whole = RegionLayout.regionSize(forDataOf: size)

    /// The error of mapping `descriptor`, whose file must be let go of then.
    func refusal(
        _ descriptor: Int32, isWritable: Bool = true
    ) -> SharedMemoryError? {
        let inode = TestRegion.inode(descriptor)
        do throws(SharedMemoryError) {
            _ = try MappedRegion(
                descriptor: descriptor, dataSize: Self.size, isHuge: false, isWritable: isWritable)
            return nil
        } catch {
            if inode != nil {
                #expect(TestRegion.inode(descriptor) != inode, "it took the descriptor over")
            }
            return error
        }
    }

    @Test func mapsAllOfTheRegion() throws {
        let descriptor = try TestRegion.descriptor(length: Self.whole)
        let inode = TestRegion.inode(descriptor)
        do {
            let region = try MappedRegion(
                descriptor: descriptor, dataSize: Self.size, isHuge: false, isWritable: true)
            #expect(Self.whole == .mebibytes(6))
            #expect(region.bytes.count == 6 << 20)
            #expect(region.isWritable)
            #expect(region.view.dataSize == Self.size)
            #expect(region.view.resident == 0, "mapping takes no memory")
        }
        #expect(TestRegion.inode(descriptor) != inode, "its descriptor goes with it")
    }

    @Test(arguments: [0, 1, 4096, 1 << 21] as [UInt64])
    func refusesWhatIsTooShort(by missing: UInt64) throws {
        let length = Self.whole - ByteCount(missing)
        let error = try refusal(TestRegion.descriptor(length: length))
        let expected = SharedMemoryError.tooShort(found: length, needed: Self.whole)
        #expect(error == (missing == 0 ? nil : expected))
        if missing == 1 << 21 {
            #expect(expected.description.contains("4.0 MiB for a region of 6.0 MiB; remove it"))
        }
    }

    @Test(arguments: [0, F_SEAL_GROW])
    func refusesWhatCanShrink(_ seals: Int32) throws {
        let error = try refusal(TestRegion.descriptor(length: Self.whole, seals: seals))
        #expect(error == .notSealed)
        #expect(error?.description.contains("can shrink") == true)
    }

    @Test func refusesWhatIsNoMemory() throws {
        #expect(refusal(-1) == .mapping(errno: EBADF))
        #expect(SharedMemoryError.mapping(errno: EBADF).description.contains("cannot be mapped"))
        var ends: [Int32] = [-1, -1]
        #expect(pipe(&ends) == 0)
        #expect(
            refusal(ends[0]) == .tooShort(found: .zero, needed: Self.whole))
        close(ends[1])
    }

    @Test func refusesToWriteToWhatIsReadOnly() throws {
        let region = try TestRegion.make(Self.size)
        let descriptor = clinux_open(
            "/proc/self/fd/\(region.view.descriptor)", O_RDONLY | O_CLOEXEC, 0)
        #expect(refusal(descriptor) == .mapping(errno: EACCES))
    }

    @Test func twoMappingsShareTheMemory() throws {
        let region = try TestRegion.make(Self.size)
        let again = try TestRegion.again(region, isWritable: false)
        #expect(!again.isWritable)
        region.view.fill(ByteRange(4096, 4096), 0x5A)
        let place = again.view.bytes(ByteRange(4096, 4096))
        #expect(place.load(fromByteOffset: 4095, as: UInt8.self) == 0x5A)
    }

    @Test func aReadOnlyMappingCannotBeStoredTo() async {
        await #expect(processExitsWith: .signal(SIGSEGV)) {
            let region = try TestRegion.make(Self.size)
            let again = try TestRegion.again(region, isWritable: false)
            again.view.land(
                slot: 0,
                Intent(
                    epoch: Epoch(1), sequence: 1, range: ByteRange(0, 0), kind: .write))
        }
    }

    /// Fencing by the process's end relies on it, and a core file need not hold the volume.
    @Test func childrenAndCoreFilesDoNotGetIt() throws {
        let region = try TestRegion.make(Self.size)
        let base = String(UInt(bitPattern: region.bytes.baseAddress), radix: 16) + "-"
        let file = try #require(fopen("/proc/self/smaps", "re"))
        defer { fclose(file) }
        var line = [CChar](repeating: 0, count: 4096)
        var isInside = false
        var flags: Set<Substring> = []
        while fgets(&line, Int32(line.count), file) != nil {
            let text = String(
                decoding: line.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
            if text.hasPrefix(base) { isInside = true }
            if isInside, text.hasPrefix("VmFlags:") {
                flags = Set(text.split { $0 == " " || $0 == "\n" })
                break
            }
        }
        #expect(flags.isSuperset(of: ["dc", "dd", "sh", "wr"]), "\(flags)")
    }
}
