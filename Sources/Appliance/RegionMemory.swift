// The memory of one region, wherever it is: an open file that lives as long as this.

import CLinux
import Glibc
import RemoteMemory

/// Owns the descriptor of a region's memory.
final class RegionMemory {
    let descriptor: Int32
    /// Backed by the huge page pool.
    let isHuge: Bool
    /// A file that outlives this process.
    let isKept: Bool

    init(owning descriptor: Int32, isHuge: Bool, isKept: Bool) {
        self.descriptor = descriptor
        self.isHuge = isHuge
        self.isKept = isKept
    }

    deinit { close(descriptor) }

    /// Memory without a name: huge pages when the pool has enough of them free, small ones as they are
    /// written otherwise.
    convenience init(_ id: RegionID, _ size: ByteCount) throws(ApplianceRefusal) {
        if HostMemory.freeHugePages >= size {
            let descriptor = Self.create(
                id, UInt32(MFD_HUGETLB) | (21 << UInt32(MFD_HUGE_SHIFT)), size)
            // Takes the pages now: a store for which the pool has no page left kills the process.
            if descriptor >= 0, fallocate(descriptor, 0, 0, off_t(size.bytes)) == 0 {
                self.init(owning: descriptor, isHuge: true, isKept: false)
                return
            }
            if descriptor >= 0 { close(descriptor) }
        }
        let descriptor = Self.create(id, 0, size)
        guard descriptor >= 0 else { throw .system(call: "memfd_create", errno: errno) }
        self.init(owning: descriptor, isHuge: false, isKept: false)
    }

    private static func create(_ id: RegionID, _ flags: UInt32, _ size: ByteCount) -> Int32 {
        let descriptor = unsafe clinux_memfd_create(
            "holdfast-\(id)", UInt32(MFD_CLOEXEC) | UInt32(MFD_ALLOW_SEALING) | flags)
        guard descriptor >= 0 else { return -1 }
        // (It may grow with its volume.)
        guard ftruncate(descriptor, off_t(size.bytes)) == 0,
            clinux_seal(descriptor, F_SEAL_SHRINK | F_SEAL_SEAL) == 0
        else {
            close(descriptor)
            return -1
        }
        return descriptor
    }

    /// Makes it `size` long, of which `known` is known to be there; it never becomes shorter.
    func grow(from known: ByteCount, to size: ByteCount) throws(ApplianceRefusal) {
        guard !isHuge else {
            // (A store for which the pool has no page left kills the process: all are taken now, also those of a
            // growth that failed half-way.)
            let added = size - known
            guard HostMemory.freeHugePages >= added else {
                throw .insufficientHugePages(needed: added, free: HostMemory.freeHugePages)
            }
            guard fallocate(descriptor, 0, off_t(known.bytes), off_t(added.bytes)) == 0 else {
                throw .system(call: "fallocate", errno: errno)
            }
            return
        }
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            throw .system(call: "fstat", errno: errno)
        }
        // (What was grown and not recorded before somebody died may be longer.)
        guard UInt64(status.st_size) < size.bytes else { return }
        guard ftruncate(descriptor, off_t(size.bytes)) == 0 else {
            throw .system(call: "ftruncate", errno: errno)
        }
    }

    /// What it takes up now.
    var resident: ByteCount {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { return .zero }
        return ByteCount(UInt64(status.st_blocks) * 512)
    }

    /// Another descriptor of the same, which the caller closes.
    func duplicate() throws(ApplianceRefusal) -> Int32 {
        let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw .system(call: "dup", errno: errno) }
        return copy
    }

    /// One that can only be read from; the caller closes it.
    func readOnly() throws(ApplianceRefusal) -> Int32 {
        let copy = unsafe clinux_open("/proc/self/fd/\(descriptor)", O_RDONLY | O_CLOEXEC, 0)
        guard copy >= 0 else { throw .system(call: "open", errno: errno) }
        return copy
    }
}
