// A region's memory as its appliance reaches it, for peers that do not reach it themselves.
//
// Loading from memory that was never written would allocate it, and so would nobody wish. So it is known
// what is allocated: by a map that is told of every store here, or, while a client device on this host has
// the region mapped and stores beside us, by asking the file every time.

import CLinux
import Glibc
import RemoteMemory
import SharedMemoryTransport

/// The mapping of one region, and what of it is allocated.
final class ServedRegion {
    private(set) var view: RegionView
    /// Where the region's accessible part ends, in bytes from its start.
    private(set) var end: UInt64
    private var mapped: MappedRegion
    /// The file system may be full: what is not allocated is asked for before it is stored to.
    private let asksFirst: Bool
    private var allocation: AllocationMap

    /// Nobody but this process stores into the region.
    var isTracked: Bool {
        didSet {
            if isTracked, !oldValue { allocation = AllocationMap(deviceSize: view.dataSize) }
        }
    }

    init(_ mapped: MappedRegion, isTracked: Bool, asksFirst: Bool) {
        self.mapped = mapped
        self.asksFirst = asksFirst && !mapped.view.isHuge
        self.isTracked = isTracked
        view = mapped.view
        end = RegionLayout.dataStart.bytes + mapped.view.dataSize.bytes
        allocation = AllocationMap(deviceSize: mapped.view.dataSize)
    }

    /// Goes on with a larger mapping of the same memory, between two requests: what replies have in region memory is
    /// sent or copied by then.
    func grow(into mapped: MappedRegion) {
        self.mapped = mapped
        view = mapped.view
        end = RegionLayout.dataStart.bytes + mapped.view.dataSize.bytes
        // (What is allocated is asked for anew.)
        allocation = AllocationMap(deviceSize: mapped.view.dataSize)
    }

    /// How far the start of `range` of the data goes on being allocated, or not.
    @inline(__always)
    func firstRun(of range: ByteRange) -> (count: ByteCount, isAllocated: Bool) {
        guard isTracked else { return askedRun(of: range) }
        return allocation.firstRun(of: range, in: view)
    }

    /// The same by asking the file alone.
    private func askedRun(of range: ByteRange) -> (count: ByteCount, isAllocated: Bool) {
        var (count, isAllocated) = view.firstRun(of: range)
        while count < range.count {
            let rest = ByteRange(start: range.start + count, count: range.count - count)
            let (more, isSame) = view.firstRun(of: rest)
            guard isSame == isAllocated else { break }
            count = count + more
        }
        return (count, isAllocated)
    }

    /// Makes `range` of the data ready to be stored to; false when the kernel has no memory for it.
    @inline(__always)
    func prepare(_ range: ByteRange) -> Bool {
        guard !asksFirst || reserve(range) else { return false }
        if isTracked { allocation.insert(range) }
        return true
    }

    /// Allocates what is not: a store for which nothing is left would end the process.
    private func reserve(_ range: ByteRange) -> Bool {
        var rest = range
        while !rest.isEmpty {
            let (count, isAllocated) = firstRun(of: rest)
            if !isAllocated {
                guard
                    fallocate(
                        view.descriptor, 0,
                        off_t(RegionLayout.dataStart.bytes + rest.start.bytes),
                        off_t(count.bytes)) == 0
                else { return false }
            }
            rest = ByteRange(start: rest.start + count, count: rest.count - count)
        }
        return true
    }

    /// Makes `range` of the data zeroes; false when the kernel refuses.
    func zero(_ range: ByteRange, keepAllocated: Bool) -> Bool {
        if keepAllocated { guard prepare(range) else { return false } }
        guard view.zero(range, keepAllocated: keepAllocated) else { return false }
        if !keepAllocated, !view.isHuge, isTracked { allocation.remove(range) }
        return true
    }

    /// Copies bytes anywhere in the region without allocating any; false when the kernel refuses.
    func copy(from place: UInt64, to target: UnsafeMutableRawBufferPointer) -> Bool {
        var done = 0
        while done < target.count {
            guard let base = target.baseAddress else { return false }
            let count = unsafe pread(
                view.descriptor, base + done, target.count - done, off_t(place) + off_t(done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { return false }
            done += count
        }
        return true
    }
}
