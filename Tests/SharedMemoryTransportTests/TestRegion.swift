// Regions on real memfds, and looks at them that change nothing: `pread` reads a hole without filling it,
// where a load through the mapping would.

import CLinux
import Glibc
import RemoteMemory
import SharedMemoryTransport

/// A call that a test needs and that failed.
struct SystemFailure: Error {
    var call: String
    var code: Int32
}

/// What a failed precondition ends a process with.
#if arch(x86_64)
    let trap = SIGILL
#else
    let trap = SIGTRAP
#endif

enum TestRegion {
    static let block: UInt64 = 4096

    /// A memfd of `length`; the caller owns it.
    static func descriptor(length: ByteCount, seals: Int32 = F_SEAL_SHRINK) throws -> Int32 {
        // Close on exec, and allow sealing. (Their names are ambiguous: two headers define them.)
        let descriptor = clinux_memfd_create("test", 1 | 2)
        guard descriptor >= 0 else { throw SystemFailure(call: "memfd_create", code: errno) }
        guard ftruncate(descriptor, off_t(length.bytes)) == 0,
            seals == 0 || clinux_seal(descriptor, seals) == 0
        else {
            close(descriptor)
            throw SystemFailure(call: "ftruncate or seal", code: errno)
        }
        return descriptor
    }

    /// A fresh region.
    static func make(_ dataSize: ByteCount, isHuge: Bool = false) throws -> MappedRegion {
        try MappedRegion(
            descriptor: descriptor(length: RegionLayout.regionSize(forDataOf: dataSize)),
            dataSize: dataSize, isHuge: isHuge, isWritable: true)
    }

    /// The same memory mapped once more, as the next owner would.
    static func again(_ region: MappedRegion, isWritable: Bool = true) throws -> MappedRegion {
        let descriptor = clinux_open(
            "/proc/self/fd/\(region.view.descriptor)",
            (isWritable ? O_RDWR : O_RDONLY) | O_CLOEXEC, 0)
        return try MappedRegion(
            descriptor: descriptor, dataSize: region.view.dataSize, isHuge: false,
            isWritable: isWritable)
    }

    /// What tells a descriptor's file from whatever its number is used for later.
    static func inode(_ descriptor: Int32) -> ino_t? {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? status.st_ino : nil
    }
}

extension ByteRange {
    init(_ start: UInt64, _ count: UInt64) {
        self.init(start: ByteOffset(start), count: ByteCount(count))
    }

    /// Blocks of 4 KiB.
    init(blocks: Range<UInt64>) {
        self.init(
            blocks.lowerBound * TestRegion.block, UInt64(blocks.count) * TestRegion.block)
    }
}

extension RegionView {
    /// What the file takes up, in bytes.
    var resident: UInt64 {
        var status = stat()
        return fstat(descriptor, &status) == 0 ? UInt64(status.st_blocks) * 512 : .max
    }

    /// The data as the file tells it; empty when it cannot.
    func contents(_ range: ByteRange) -> [UInt8] {
        let offset = off_t(RegionLayout.dataStart.bytes + range.start.bytes)
        let count = Int(range.count.bytes)
        var bytes = [UInt8](repeating: 0, count: count)
        return pread(descriptor, &bytes, count, offset) == count ? bytes : []
    }

    /// Allocates a range and gives each byte of it a value.
    func fill(_ range: ByteRange, _ byte: UInt8) {
        memset(bytes(range), Int32(byte), Int(range.count.bytes))
    }

    /// Whether the file has memory for a block of the data.
    func isAllocated(_ block: UInt64) -> Bool {
        let place = off_t(RegionLayout.dataStart.bytes + block * TestRegion.block)
        return lseek(descriptor, place, SEEK_DATA) == place
    }

    var blockCount: UInt64 { dataSize.bytes / TestRegion.block }
}

/// The same numbers for the same seed (SplitMix64).
struct Seeded: RandomNumberGenerator {
    private var state: UInt64
    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var value = state
        value = (value ^ (value >> 30)) &* 0xbf58_476d_1ce4_e5b9
        value = (value ^ (value >> 27)) &* 0x94d0_49bb_1331_11eb
        return value ^ (value >> 31)
    }

    mutating func bytes(_ count: Int) -> [UInt8] {
        (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) }
    }

    /// A range of bytes within `limit` that is not empty.
    mutating func range(within limit: UInt64) -> ByteRange {
        let start = UInt64.random(in: 0..<limit, using: &self)
        return ByteRange(start, UInt64.random(in: 1...(limit - start), using: &self))
    }
}
