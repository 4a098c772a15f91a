// The memory an appliance lends, region by region.
//
// Each region is a memfd: sparse, so that it costs what is written; sealed against shrinking, so that
// nobody can take pages away under another's mapping. The appliance itself never touches the data.
//
// A region is granted to one client device at a time. Memory that a process has mapped cannot be taken
// from it, so a new owner is refused until the kernel says that the process of the old one is gone
// (a pidfd becomes readable after its address space was torn down): fencing by proof, not by time.

import CLinux
import Glibc
package import RemoteMemory

/// The regions of one appliance.
package struct RegionPool: ~Copyable {
    private struct Grant {
        var owner: OwnerID
        var epoch: Epoch
        var process: Int32
        /// Readable once the process is gone.
        var processDescriptor: Int32
    }

    private struct Region {
        var descriptor: Int32
        var dataSize: ByteCount
        var isHuge: Bool
        var grant: Grant?
        var cluster: ResiliencyCluster?
    }

    package let capacity: ByteCount
    private var regions: [RegionID: Region] = [:]

    package init(capacity: ByteCount) { self.capacity = capacity }

    deinit {
        for region in regions.values {
            if let grant = region.grant { close(grant.processDescriptor) }
            close(region.descriptor)
        }
    }

    /// What the regions may grow to.
    package var allocated: ByteCount {
        regions.values.reduce(.zero) { $0 + RegionLayout.regionSize(forDataOf: $1.dataSize) }
    }

    /// What the regions take up now.
    package var resident: ByteCount {
        regions.values.reduce(.zero) { $0 + Self.resident($1.descriptor) }
    }

    package var identifiers: [RegionID] { Array(regions.keys) }

    package mutating func allocate(
        _ id: RegionID, dataSize: ByteCount
    ) throws(ApplianceRefusal) -> RegionDescription {
        guard regions[id] == nil else { throw .regionExists(id) }
        let used = allocated
        let free = used < capacity ? capacity - used : .zero
        // (Beyond the largest volume the sum of data and overhead may have no 64-bit value.)
        guard dataSize <= RegionLayout.largestVolume else {
            throw .insufficientMemory(needed: dataSize, free: free)
        }
        let size = RegionLayout.regionSize(forDataOf: dataSize)
        guard size <= free else { throw .insufficientMemory(needed: size, free: free) }
        let (descriptor, isHuge) = try Self.makeMemory(id, size)
        regions[id] = Region(descriptor: descriptor, dataSize: dataSize, isHuge: isHuge)
        return try describe(id)
    }

    /// Touches at most so many bytes of a region from `position` on; where to go on, nil when all is done.
    package func populate(
        _ id: RegionID, from position: UInt64, atMost step: UInt64
    ) throws(ApplianceRefusal) -> UInt64? {
        guard let region = regions[id] else { throw .noSuchRegion(id) }
        let size = RegionLayout.regionSize(forDataOf: region.dataSize).bytes
        let count = min(step, size - position)
        guard fallocate(region.descriptor, 0, off_t(position), off_t(count)) == 0 else {
            throw .system(call: "fallocate", errno: errno)
        }
        return position + count < size ? position + count : nil
    }

    /// Grants a region to `owner`, whose process is `process`; the caller closes the descriptor.
    package mutating func open(
        _ id: RegionID, owner: OwnerID, epoch: Epoch, process: Int32
    ) throws(ApplianceRefusal) -> (Int32, RegionDescription) {
        guard var region = regions[id] else { throw .noSuchRegion(id) }
        if let grant = region.grant {
            guard epoch >= grant.epoch else {
                throw .staleEpoch(given: epoch, known: grant.epoch)
            }
            if grant.owner != owner {
                guard Self.isGone(grant.processDescriptor) else {
                    throw .holderAlive(processID: grant.process)
                }
            }
            close(grant.processDescriptor)
            region.grant = nil
        }
        let processDescriptor = clinux_pidfd_open(process)
        guard processDescriptor >= 0 else { throw .system(call: "pidfd_open", errno: errno) }
        region.grant = Grant(
            owner: owner, epoch: epoch, process: process, processDescriptor: processDescriptor)
        regions[id] = region
        // (A copy: the region may be freed before it is sent.)
        let descriptor = fcntl(region.descriptor, F_DUPFD_CLOEXEC, 0)
        guard descriptor >= 0 else { throw .system(call: "dup", errno: errno) }
        return (descriptor, try describe(id))
    }

    /// A descriptor that can only be read from; the caller closes it.
    package func view(_ id: RegionID) throws(ApplianceRefusal) -> (Int32, RegionDescription) {
        guard let region = regions[id] else { throw .noSuchRegion(id) }
        let descriptor = unsafe clinux_open(
            "/proc/self/fd/\(region.descriptor)", O_RDONLY | O_CLOEXEC, 0)
        guard descriptor >= 0 else { throw .system(call: "open", errno: errno) }
        return (descriptor, try describe(id))
    }

    package mutating func free(_ id: RegionID) throws(ApplianceRefusal) -> RegionDescription {
        let description = try describe(id)
        if let region = regions.removeValue(forKey: id) {
            if let grant = region.grant { close(grant.processDescriptor) }
            close(region.descriptor)
        }
        return description
    }

    package mutating func enrol(
        _ id: RegionID, in cluster: ResiliencyCluster
    ) throws(ApplianceRefusal) -> RegionDescription {
        guard let known = regions[id] else { throw .noSuchRegion(id) }
        if let present = known.cluster, present.epoch > cluster.epoch {
            throw .staleEpoch(given: cluster.epoch, known: present.epoch)
        }
        regions[id]?.cluster = cluster
        return try describe(id)
    }

    /// What the region's observer sees now.
    package func observe(_ id: RegionID) throws(ApplianceRefusal) -> Observation {
        guard let region = regions[id] else { throw .noSuchRegion(id) }
        guard let observer = Observer(descriptor: region.descriptor) else {
            throw .system(call: "mmap", errno: errno)
        }
        return Observation(slots: observer.slots, cluster: region.cluster)
    }

    package func describe(_ id: RegionID) throws(ApplianceRefusal) -> RegionDescription {
        guard let region = regions[id] else { throw .noSuchRegion(id) }
        return RegionDescription(
            region: id, dataSize: region.dataSize, resident: Self.resident(region.descriptor),
            isHuge: region.isHuge)
    }

    // MARK: Memory

    /// Huge pages when the pool has enough of them free, small ones as they are written otherwise.
    private static func makeMemory(
        _ id: RegionID, _ size: ByteCount
    ) throws(ApplianceRefusal) -> (Int32, isHuge: Bool) {
        if HostMemory.freeHugePages >= size {
            let descriptor = create(id, UInt32(MFD_HUGETLB) | (21 << UInt32(MFD_HUGE_SHIFT)), size)
            // Takes the pages now: a store for which the pool has no page left kills the process.
            if descriptor >= 0, fallocate(descriptor, 0, 0, off_t(size.bytes)) == 0 {
                return (descriptor, true)
            }
            if descriptor >= 0 { close(descriptor) }
        }
        let descriptor = create(id, 0, size)
        guard descriptor >= 0 else { throw .system(call: "memfd_create", errno: errno) }
        return (descriptor, false)
    }

    private static func create(_ id: RegionID, _ flags: UInt32, _ size: ByteCount) -> Int32 {
        let descriptor = unsafe clinux_memfd_create(
            "holdfast-\(id)", UInt32(MFD_CLOEXEC) | UInt32(MFD_ALLOW_SEALING) | flags)
        guard descriptor >= 0 else { return -1 }
        guard ftruncate(descriptor, off_t(size.bytes)) == 0,
            clinux_seal(descriptor, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0
        else {
            close(descriptor)
            return -1
        }
        return descriptor
    }

    private static func resident(_ descriptor: Int32) -> ByteCount {
        var status = stat()
        guard unsafe fstat(descriptor, &status) == 0 else { return .zero }
        return ByteCount(UInt64(status.st_blocks) * 512)
    }

    private static func isGone(_ processDescriptor: Int32) -> Bool {
        var entry = pollfd(fd: processDescriptor, events: Int16(POLLIN), revents: 0)
        return unsafe poll(&entry, 1, 0) == 1 && entry.revents & Int16(POLLIN) != 0
    }
}
