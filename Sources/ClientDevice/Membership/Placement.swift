// Which appliance lends the memory of the next region.
//
// Members of a set stand on different appliances, and the emptiest comes first. Memory is promised, not
// taken: regions are sparse. So two limits hold: what an appliance is willing to lend, and what its host
// can give once everything promised there has been written.

import Appliance
package import RemoteMemory

/// An appliance, as placement sees it.
package struct PlacementCandidate: Hashable, Sendable {
    package var name: String
    /// What it still lends.
    package var free: ByteCount
    /// Which host it is on.
    package var host: String
    /// What its host could give now.
    package var hostAvailable: ByteCount
    /// What was promised on it and not taken yet.
    package var promised: ByteCount

    package init(
        name: String, free: ByteCount, host: String, hostAvailable: ByteCount, promised: ByteCount
    ) {
        self.name = name
        self.free = free
        self.host = host
        self.hostAvailable = hostAvailable
        self.promised = promised
    }
}

/// Why regions cannot be placed.
package enum PlacementError: Error, Hashable, CustomStringConvertible {
    case tooFewAppliances(needed: Int, found: Int)
    case insufficientMemory(needed: ByteCount, regions: Int, free: ByteCount)

    package var description: String {
        switch self {
        case .tooFewAppliances(let needed, let found):
            """
            needs \(needed) appliances that hold no other copy of the volume, and \(found) \
            \(found == 1 ? "is" : "are") up; add one with 'holdfast appliance add'
            """
        case .insufficientMemory(let needed, let regions, let free):
            """
            needs \(needed) on \(regions) appliance\(regions == 1 ? "" : "s"); \(free) free: \
            make it smaller, delete snapshots, or start the appliances with more --memory
            """
        }
    }
}

/// Chooses appliances for regions.
package enum Placement {
    /// The names of `count` appliances for regions of `size` each, emptiest first.
    package static func choose(
        _ count: Int, regionsOf size: ByteCount, among candidates: [PlacementCandidate]
    ) throws(PlacementError) -> [String] {
        guard candidates.count >= count else {
            throw .tooFewAppliances(needed: count, found: candidates.count)
        }
        let total = ByteCount(size.bytes * UInt64(count))
        let roomy = candidates.filter { $0.free >= size }
            .sorted { ($1.free, $0.name) < ($0.free, $1.name) }
        guard roomy.count >= count else {
            let free = candidates.map(\.free).max() ?? .zero
            throw .insufficientMemory(
                needed: total, regions: count,
                free: ByteCount(free.bytes * UInt64(count)))
        }
        let chosen = Array(roomy.prefix(count))
        for (host, members) in Dictionary(grouping: chosen, by: \.host) {
            let needed = ByteCount(size.bytes * UInt64(members.count))
            let free = available(on: host, candidates)
            guard free >= needed else {
                throw .insufficientMemory(needed: total, regions: count, free: free)
            }
        }
        return chosen.map(\.name)
    }

    /// What a host can give beyond everything that was promised on it.
    private static func available(on host: String, _ candidates: [PlacementCandidate]) -> ByteCount
    {
        let there = candidates.filter { $0.host == host }
        let available = there.map(\.hostAvailable).min() ?? .zero
        let promised = there.reduce(ByteCount.zero) { $0 + $1.promised }
        return available > promised ? available - promised : .zero
    }
}

extension ClientDevice {
    /// The appliances that are up, but for those named, as they are now.
    ///
    /// What is promised on the left-out ones still counts: their hosts' memory is the same memory.
    func candidates(without excluded: Set<String>) async -> [PlacementCandidate] {
        var promisedElsewhere: [String: ByteCount] = [:]
        var candidates: [PlacementCandidate] = []
        for name in appliances.keys.sorted() {
            guard let description = await refresh(name) else { continue }
            let promised =
                description.allocated > description.resident
                ? description.allocated - description.resident : ByteCount.zero
            if excluded.contains(name) {
                promisedElsewhere[description.bootID] =
                    (promisedElsewhere[description.bootID] ?? .zero) + promised
                continue
            }
            candidates.append(
                PlacementCandidate(
                    name: name,
                    free: description.capacity > description.allocated
                        ? description.capacity - description.allocated : .zero,
                    host: description.bootID, hostAvailable: description.hostAvailable,
                    promised: promised))
        }
        for (host, promised) in promisedElsewhere {
            guard let index = candidates.firstIndex(where: { $0.host == host }) else { continue }
            candidates[index].promised = candidates[index].promised + promised
        }
        return candidates
    }

    /// Asks an appliance how full it is; nil when it does not answer.
    func refresh(_ name: String) async -> ApplianceDescription? {
        do throws(ApplianceConnectionError) {
            let description = try await call(name) { connection throws(ApplianceConnectionError) in
                try connection.describe()
            }
            appliances[name]?.description = description
            return description
        } catch {
            return nil
        }
    }
}
