// A region in this process's address space: client-side access is load and store.
//
// The appliance hands over a sealed memfd; from then on none of its code runs for I/O. The kernel gives
// what the contract needs: a thread's stores become visible in program order (release stores where the
// processor would not promise it), also when the process is killed between any two of them.

import CLinux
import Glibc
public import RemoteMemory

/// Why a region could not be mapped.
public enum SharedMemoryError: Error, Hashable, CustomStringConvertible {
    /// The descriptor is shorter than the region should be: touching the rest would kill the process.
    case tooShort(found: ByteCount, needed: ByteCount)
    /// The descriptor could be truncated under the mapping, which would kill the process.
    case notSealed
    case mapping(errno: Int32)

    public var description: String {
        switch self {
        case .tooShort(let found, let needed):
            "the appliance handed over \(found) for a region of \(needed); remove it and add it again"
        case .notSealed:
            "the appliance handed over memory that can shrink; use an appliance of this version"
        case .mapping(let code):
            unsafe "a region cannot be mapped: \(String(cString: strerror(code)))"
        }
    }
}

/// Owns the mapping and descriptor of one region.
///
/// The mapping is not inherited by child processes: when this process is gone, so is the last way to
/// store into the region. That is what fencing by the process's end relies on.
public final class MappedRegion: Sendable {
    public let view: RegionView
    public let isWritable: Bool
    private let mapped: Int

    /// Maps a region that holds `dataSize` of data, and takes the descriptor over.
    ///
    /// Memory that is kept in a directory cannot be sealed (`isSealed` false): that nobody truncates it
    /// is left to the directory's permissions.
    public init(
        descriptor: Int32, dataSize: ByteCount, isHuge: Bool, isWritable: Bool,
        isSealed: Bool = true
    ) throws(SharedMemoryError) {
        let size = RegionLayout.regionSize(forDataOf: dataSize)
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else {
            let code = errno
            close(descriptor)
            throw .mapping(errno: code)
        }
        guard UInt64(status.st_size) >= size.bytes else {
            close(descriptor)
            throw .tooShort(found: ByteCount(UInt64(status.st_size)), needed: size)
        }
        guard !isSealed || clinux_get_seals(descriptor) & F_SEAL_SHRINK != 0 else {
            close(descriptor)
            throw .notSealed
        }
        let protection = isWritable ? PROT_READ | PROT_WRITE : PROT_READ
        guard
            let base = unsafe mmap(
                nil, Int(size.bytes), protection, MAP_SHARED | MAP_NORESERVE, descriptor, 0),
            unsafe base != MAP_FAILED
        else {
            let code = errno
            close(descriptor)
            throw .mapping(errno: code)
        }
        unsafe madvise(base, Int(size.bytes), MADV_DONTFORK)
        unsafe madvise(base, Int(size.bytes), MADV_DONTDUMP)
        mapped = Int(size.bytes)
        self.isWritable = isWritable
        view = unsafe RegionView(
            base: base, dataSize: dataSize, descriptor: descriptor, isHuge: isHuge)
    }

    /// The same memory mapped once more, for `dataSize`; who has it can be let go of afterwards.
    public func enlarged(to dataSize: ByteCount) throws(SharedMemoryError) -> MappedRegion {
        let copy = fcntl(view.descriptor, F_DUPFD_CLOEXEC, 0)
        guard copy >= 0 else { throw .mapping(errno: errno) }
        return try MappedRegion(
            descriptor: copy, dataSize: dataSize, isHuge: view.isHuge, isWritable: isWritable,
            isSealed: false)
    }

    /// All of the mapping.
    public var bytes: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: view.base, count: mapped)
    }

    deinit {
        unsafe munmap(view.base, mapped)
        close(view.descriptor)
    }
}
