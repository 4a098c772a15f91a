// The memory an appliance lends, region by region.
//
// Each region is a file in memory: sparse, so that it costs what is written. Without a directory to keep it
// in it is a memfd, sealed against shrinking, so that nobody can take pages away under another's mapping. It
// grows in place: first the file, then what is recorded of it. A file that is too long does no harm.
//
// A region is granted to one client device at a time: see `RegionGrants`. What a grant ends is told by
// `deadKeys`, for whoever serves those who came with them.

import CLinux
import Glibc
import Reactor
package import RemoteMemory
import SharedMemoryTransport
import TCPTransport

/// The regions of one appliance.
package struct RegionPool: ~Copyable {
    private struct Region {
        var memory: RegionMemory
        var dataSize: ByteCount
        var grants = RegionGrants()
        var cluster: ResiliencyCluster?
        /// Mapped here, once somebody accesses it through this process.
        var served: ServedRegion?
    }

    /// From how much on memory is given back on a thread of its own, in bytes: freeing a GiB takes a tenth
    /// of a second.
    private static let slowFree = ByteCount.mebibytes(64)

    package let capacity: ByteCount
    /// Keys that were good and are not any more, since the server looked last.
    var deadKeys: [Identifier] = []
    private let directory: MemoryDirectory?
    private var regions: [RegionID: Region] = [:]

    /// Memory is kept in `directory`, where these were `found`; without one it goes with the process.
    init(
        capacity: ByteCount, directory: MemoryDirectory? = nil,
        found: [(KeptRegion, RegionMemory)] = []
    ) {
        self.capacity = capacity
        self.directory = directory
        for (known, memory) in found {
            let holder = known.holder.flatMap {
                Holder(process: $0.process, started: $0.started)
            }
            regions[known.region] = Region(
                memory: memory, dataSize: known.dataSize,
                grants: RegionGrants(owner: known.owner, epoch: known.epoch, holder: holder),
                cluster: known.cluster)
        }
    }

    /// What the regions may grow to.
    package var allocated: ByteCount {
        regions.values.reduce(.zero) { $0 + RegionLayout.regionSize(forDataOf: $1.dataSize) }
    }

    /// What the regions take up now.
    package var resident: ByteCount { regions.values.reduce(.zero) { $0 + $1.memory.resident } }

    /// What is left to lend.
    private var free: ByteCount {
        let used = allocated
        return used < capacity ? capacity - used : .zero
    }

    package var identifiers: [RegionID] { Array(regions.keys) }

    package func describe(_ id: RegionID) throws(ApplianceRefusal) -> RegionDescription {
        let region = try region(id)
        return RegionDescription(
            region: id, dataSize: region.dataSize, resident: region.memory.resident,
            isHuge: region.memory.isHuge, isKept: region.memory.isKept)
    }

    private func region(_ id: RegionID) throws(ApplianceRefusal) -> Region {
        guard let region = regions[id] else { throw .noSuchRegion(id) }
        return region
    }

    /// Makes what is known of a region what is kept of it, before anybody is told.
    private mutating func update(_ id: RegionID, _ region: Region) throws(ApplianceRefusal) {
        if let directory {
            let holder = region.grants.holder.map {
                KeptRegion.Process(process: $0.process, started: $0.started)
            }
            try directory.record(
                KeptRegion(
                    region: id, dataSize: region.dataSize, epoch: region.grants.epoch,
                    owner: region.grants.owner, holder: holder, cluster: region.cluster))
        }
        regions[id] = region
    }

    // MARK: Lending

    package mutating func allocate(
        _ id: RegionID, dataSize: ByteCount
    ) throws(ApplianceRefusal) -> RegionDescription {
        guard regions[id] == nil else { throw .regionExists(id) }
        let free = free
        // (Beyond the largest volume the sum of data and overhead may have no 64-bit value.)
        guard dataSize <= RegionLayout.largestVolume else {
            throw .insufficientMemory(needed: dataSize, free: free)
        }
        let size = RegionLayout.regionSize(forDataOf: dataSize)
        guard size <= free else { throw .insufficientMemory(needed: size, free: free) }
        let memory =
            if let directory { try directory.create(id, size) } else {
                try RegionMemory(id, size)
            }
        do throws(ApplianceRefusal) {
            try update(id, Region(memory: memory, dataSize: dataSize))
        } catch {
            directory?.delete(id)
            throw error
        }
        return try describe(id)
    }

    /// Touches at most so many bytes of a region from `position` on; where to go on, nil when all is done.
    package func populate(
        _ id: RegionID, from position: UInt64, atMost step: UInt64
    ) throws(ApplianceRefusal) -> UInt64? {
        let region = try region(id)
        let size = RegionLayout.regionSize(forDataOf: region.dataSize).bytes
        let count = min(step, size - position)
        guard fallocate(region.memory.descriptor, 0, off_t(position), off_t(count)) == 0 else {
            throw .system(call: "fallocate", errno: errno)
        }
        return position + count < size ? position + count : nil
    }

    /// Has a region of `owner` hold `dataSize` from now on, if it does not hold as much already.
    package mutating func grow(
        _ id: RegionID, owner: OwnerID, epoch: Epoch, to dataSize: ByteCount
    ) throws(ApplianceRefusal) -> RegionDescription {
        var region = try region(id)
        try region.grants.check(owner, epoch)
        guard dataSize > region.dataSize else { return try describe(id) }
        let free = free
        guard dataSize <= RegionLayout.largestVolume else {
            throw .insufficientMemory(needed: dataSize, free: free)
        }
        let former = RegionLayout.regionSize(forDataOf: region.dataSize)
        let size = RegionLayout.regionSize(forDataOf: dataSize)
        guard size - former <= free else {
            throw .insufficientMemory(needed: size - former, free: free)
        }
        if size > former { try region.memory.grow(from: former, to: size) }
        region.dataSize = dataSize
        let mapped = try region.served.map { _ throws(ApplianceRefusal) in try map(region) }
        try update(id, region)
        if let mapped { region.served?.grow(into: mapped) }
        return try describe(id)
    }

    /// The region's memory in this process's address space.
    private func map(_ region: Region) throws(ApplianceRefusal) -> MappedRegion {
        let descriptor = try region.memory.duplicate()
        do throws(SharedMemoryError) {
            return try MappedRegion(
                descriptor: descriptor, dataSize: region.dataSize, isHuge: region.memory.isHuge,
                isWritable: true, isSealed: !region.memory.isKept)
        } catch {
            guard case .mapping(let code) = error else {
                throw .system(call: "fstat", errno: EINVAL)
            }
            throw .system(call: "mmap", errno: code)
        }
    }

    package mutating func free(_ id: RegionID) throws(ApplianceRefusal) -> RegionDescription {
        let description = try describe(id)
        guard let region = regions.removeValue(forKey: id) else { return description }
        directory?.delete(id)
        deadKeys += region.grants.keys
        guard description.resident >= Self.slowFree else { return description }
        // The last reference goes on another thread, after those of the peers that are cut off now.
        let memory = Departing(memory: region.memory, served: region.served)
        Thread.detach(name: "freeing") {
            usleep(100_000)
            _ = memory
        }
        return description
    }

    /// What a thread holds on to for a moment. (Sendable: it is only let go of there, and
    /// references are counted atomically.)
    private struct Departing: @unchecked Sendable {
        let memory: RegionMemory
        let served: ServedRegion?
    }

    // MARK: Granting

    /// Grants a region to `owner`, whose process is `process`; the caller closes the descriptor.
    package mutating func open(
        _ id: RegionID, owner: OwnerID, epoch: Epoch, process: Int32
    ) throws(ApplianceRefusal) -> (Int32, RegionDescription) {
        var region = try region(id)
        guard let holder = Holder(process: process) else {
            throw .system(call: "pidfd_open", errno: ESRCH)
        }
        let dead = try region.grants.open(owner, epoch, by: holder)
        // (A copy: the region may be freed before it is sent.)
        let descriptor = try region.memory.duplicate()
        do throws(ApplianceRefusal) { try update(id, region) } catch {
            close(descriptor)
            throw error
        }
        deadKeys += dead
        region.served?.isTracked = false
        return (descriptor, try describe(id))
    }

    /// Grants a region to `owner` by a key.
    package mutating func open(
        _ id: RegionID, owner: OwnerID, epoch: Epoch
    ) throws(ApplianceRefusal) -> (Identifier, RegionDescription) {
        var region = try region(id)
        let dead = try region.grants.open(owner, epoch, by: nil)
        guard let key = region.grants.key else { throw .badMessage }
        try update(id, region)
        deadKeys += dead
        if region.grants.holder == nil { region.served?.isTracked = true }
        return (key, try describe(id))
    }

    /// Shuts out every grant below an epoch.
    package mutating func fence(
        _ id: RegionID, below epoch: Epoch
    ) throws(ApplianceRefusal) -> RegionDescription {
        var region = try region(id)
        let dead = try region.grants.fence(epoch)
        try update(id, region)
        deadKeys += dead
        return try describe(id)
    }

    /// A descriptor that can only be read from; the caller closes it.
    package func view(_ id: RegionID) throws(ApplianceRefusal) -> (Int32, RegionDescription) {
        (try region(id).memory.readOnly(), try describe(id))
    }

    /// A key by which the region can only be read.
    package mutating func viewKey(
        _ id: RegionID
    ) throws(ApplianceRefusal) -> (Identifier, RegionDescription) {
        var region = try region(id)
        let (key, dead) = region.grants.view()
        regions[id] = region
        deadKeys += dead
        return (key, try describe(id))
    }

    /// What a key opens, mapped.
    mutating func access(_ id: RegionID, by key: Identifier) throws(AccessStatus) -> AccessGrant {
        guard var region = regions[id] else { throw .noSuchRegion }
        guard let isWritable = region.grants.isWritable(by: key) else { throw .fenced }
        if let served = region.served {
            return AccessGrant(region: served, key: key, isWritable: isWritable)
        }
        do {
            let served = ServedRegion(
                try map(region), isTracked: region.grants.holder == nil,
                asksFirst: region.memory.isKept)
            region.served = served
            regions[id] = region
            return AccessGrant(region: served, key: key, isWritable: isWritable)
        } catch { throw .failed }
    }

    // MARK: Observing

    package mutating func enrol(
        _ id: RegionID, in cluster: ResiliencyCluster
    ) throws(ApplianceRefusal) -> RegionDescription {
        var region = try region(id)
        if let present = region.cluster, present.epoch > cluster.epoch {
            throw .staleEpoch(given: cluster.epoch, known: present.epoch)
        }
        region.cluster = cluster
        try update(id, region)
        return try describe(id)
    }

    /// What the region's observer sees now.
    package func observe(_ id: RegionID) throws(ApplianceRefusal) -> Observation {
        let region = try region(id)
        guard let observer = Observer(descriptor: region.memory.descriptor) else {
            throw .system(call: "mmap", errno: errno)
        }
        return Observation(slots: observer.slots, cluster: region.cluster)
    }
}
