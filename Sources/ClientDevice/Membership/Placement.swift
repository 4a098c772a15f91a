// Which appliance lends the memory of the next region.
//
//     as few members as can be in one failure domain, then on one host; then the emptiest appliance
//
// Members of a set stand on different appliances: that is never given up. Failure domains and hosts are
// used evenly, so that with fewer domains than members no domain has two more than another that had room.
// One thing is refused although there is room: a set that could be kept such that it survives the loss of any
// one domain, and would not be, because appliances of other domains are full. (A lost member's replacement is
// placed even so: it is better than none.)
//
// The emptiest is the one with the largest share of its capacity free once the region is there. Memory is
// promised, not taken: regions are sparse. So two limits hold: what an appliance is willing to lend, and
// what its host can give once everything promised there has been written.

import Appliance
import Registry
package import RemoteMemory

/// What may be lost at once with an appliance.
package enum FailureDomain: Hashable, Sendable, CustomStringConvertible {
    /// Named by the operator: a rack, a power feed.
    case label(String)
    /// An appliance that shares its fate with none.
    case appliance(String)

    package var description: String {
        switch self {
        case .label(let label): label
        case .appliance(let name): name
        }
    }
}

/// Where a member of the set stands already.
package struct PlacementSite: Hashable, Sendable {
    package var appliance: String
    package var domain: FailureDomain
    package var host: String

    package init(appliance: String, domain: FailureDomain, host: String) {
        self.appliance = appliance
        self.domain = domain
        self.host = host
    }
}

/// An appliance, as placement sees it.
package struct PlacementCandidate: Hashable, Sendable {
    package var name: String
    package var domain: FailureDomain
    /// What it lends in all.
    package var capacity: ByteCount
    /// What it still lends.
    package var free: ByteCount
    /// Which host it is on.
    package var host: String
    /// What its host could give now.
    package var hostAvailable: ByteCount
    /// What was promised on it and not taken yet.
    package var promised: ByteCount

    /// An appliance without a failure domain is one of its own.
    package init(
        name: String, failureDomain: String? = nil, capacity: ByteCount, free: ByteCount,
        host: String, hostAvailable: ByteCount, promised: ByteCount
    ) {
        self.name = name
        domain = failureDomain.map { .label($0) } ?? .appliance(name)
        self.capacity = capacity
        self.free = free
        self.host = host
        self.hostAvailable = hostAvailable
        self.promised = promised
    }

    package var site: PlacementSite { PlacementSite(appliance: name, domain: domain, host: host) }

    /// Whether it has a larger share of its capacity free than `other`, each with `size` less.
    func isEmptier(than other: PlacementCandidate, without size: ByteCount) -> Bool {
        let here = (free - size).bytes.multipliedFullWidth(by: other.capacity.bytes)
        let there = (other.free - size).bytes.multipliedFullWidth(by: capacity.bytes)
        return here != there ? here > there : name < other.name
    }
}

/// Why regions cannot be placed.
package enum PlacementError: Error, Hashable, CustomStringConvertible {
    case tooFewAppliances(needed: Int, found: Int)
    /// `full` are the appliances that lack the room, or whose hosts do.
    case insufficientMemory(needed: ByteCount, regions: Int, free: ByteCount, full: [String])
    /// All copies would be in `domain`; those elsewhere are full.
    case oneDomain(FailureDomain, full: [String])
    /// More members would be in `domain` than may be lost at once; those elsewhere are full.
    case crowdedDomain(FailureDomain, members: Int, survived: Int, full: [String])

    package var description: String {
        switch self {
        case .tooFewAppliances(let needed, let found):
            """
            needs \(needed) appliance\(needed == 1 ? "" : "s") that hold\(needed == 1 ? "s" : "") no \
            other copy of the volume, and \(found) \(found == 1 ? "is" : "are") up and not being \
            drained; add one with 'holdfast appliance add'
            """
        case .insufficientMemory(let needed, let regions, let free, let full):
            """
            needs \(needed) on \(regions) appliance\(regions == 1 ? "" : "s"); \(free) free, too little \
            on \(Self.list(full)): make it smaller, delete snapshots, or start the appliances with \
            more --memory
            """
        case .oneDomain(let domain, let full):
            """
            would have all its copies in failure domain \(domain), for there is no room on \
            \(Self.list(full)); make room there, or add an appliance in another failure domain
            """
        case .crowdedDomain(let domain, let members, let survived, let full):
            """
            would have \(members) members in failure domain \(domain) and survives the loss of \(survived), for \
            there is no room on \(Self.list(full)); make room there, or add an appliance in another \
            failure domain
            """
        }
    }

    /// The most names that one sentence bears.
    private static let namesShown = 4

    private static func list(_ names: [String]) -> String {
        let rest = names.count - namesShown
        return names.prefix(namesShown).joined(separator: ", ")
            + (rest > 0 ? " and \(rest) more" : "")
    }
}

/// Chooses appliances for regions.
package enum Placement {
    /// Chooses `count` appliances for regions of `size` each.
    ///
    /// - Parameters:
    ///   - count: How many regions there are to place.
    ///   - size: What each of them may take up.
    ///   - candidates: All appliances that are up, and may be used.
    ///   - beside: Where the set's other members stand; their appliances are not chosen again.
    ///   - excluded: Further appliances that are not chosen.
    ///   - survived: How many members the set may lose at once; nil: all but one of those there are.
    ///   - acceptsCrowding: Place them even where more than that are left in one failure domain.
    /// - Returns: Their names, the best first.
    /// - Throws: `PlacementError` when there are too few, or they are full, or too many in one domain.
    package static func choose(
        _ count: Int, regionsOf size: ByteCount, among candidates: [PlacementCandidate],
        beside: [PlacementSite] = [], excluding excluded: Set<String> = [],
        surviving survived: Int? = nil, acceptsCrowding: Bool = false
    ) throws(PlacementError) -> [String] {
        let taken = excluded.union(beside.map(\.appliance))
        let usable = candidates.filter { !taken.contains($0.name) }
        guard usable.count >= count else {
            throw .tooFewAppliances(needed: count, found: usable.count)
        }
        var roomy = usable.filter { $0.free >= size }
        var sites = beside
        var hostsFree = Dictionary(
            Set(roomy.map(\.host)).map { ($0, available(on: $0, candidates)) },
            uniquingKeysWith: { first, _ in first })
        var chosen: [String] = []
        while chosen.count < count {
            roomy.removeAll { (hostsFree[$0.host] ?? .zero) < size }
            guard let next = best(of: roomy, for: size, beside: sites) else {
                throw shortage(of: count, size, usable, candidates)
            }
            chosen.append(next.name)
            sites.append(next.site)
            roomy.removeAll { $0.name == next.name }
            hostsFree[next.host] = (hostsFree[next.host] ?? size) - size
        }
        if !acceptsCrowding {
            try checkSpread(of: sites, chosen, candidates, survived ?? sites.count - 1)
        }
        return chosen
    }

    /// Puts as many appliances in an order in which as few as can be meet the `members` they are a second of; nil
    /// for a member that is missing.
    package static func spread(_ appliances: [String], beside members: [String?]) -> [String] {
        var free = appliances
        var order: [String] = []
        for (number, member) in members.enumerated() where !free.isEmpty {
            // (One that will meet its own member later, if it is left over, goes first.)
            let rest = Set(members[(number + 1)...])
            let index =
                free.firstIndex { $0 != member && rest.contains($0) }
                ?? free.firstIndex { $0 != member }
            order.append(free.remove(at: index ?? 0))
        }
        // The last one may have met its member: it changes places with the first.
        if let last = order.indices.last, last > 0, order[last] == members[last] {
            order.swapAt(0, last)
        }
        return order
    }

    private static func best(
        of candidates: [PlacementCandidate], for size: ByteCount, beside sites: [PlacementSite]
    ) -> PlacementCandidate? {
        let domains = Dictionary(grouping: sites, by: \.domain).mapValues(\.count)
        let hosts = Dictionary(grouping: sites, by: \.host).mapValues(\.count)
        return candidates.min { one, other in
            let here = (domains[one.domain] ?? 0, hosts[one.host] ?? 0)
            let there = (domains[other.domain] ?? 0, hosts[other.host] ?? 0)
            return here != there ? here < there : one.isEmptier(than: other, without: size)
        }
    }

    /// Throws if a domain that was chosen from has more than `survived` members, and need not.
    private static func checkSpread(
        of sites: [PlacementSite], _ chosen: [String], _ candidates: [PlacementCandidate],
        _ survived: Int
    ) throws(PlacementError) {
        guard sites.count > 1, survived > 0 else { return }
        let members = Dictionary(grouping: sites, by: \.domain).mapValues(\.count)
        let crowded = sites.first { site in
            chosen.contains(site.appliance) && (members[site.domain] ?? 0) > survived
        }
        guard let domain = crowded?.domain else { return }
        // How many could be kept if all had room.
        let appliances = Dictionary(
            grouping: Set(sites.map { Place($0) } + candidates.map { Place($0.site) }),
            by: \.domain)
        let most = appliances.values.reduce(0) { $0 + min($1.count, survived) }
        guard most >= sites.count else { return }
        let taken = Set(sites.map(\.appliance))
        let full = candidates.filter { candidate in
            candidate.domain != domain && !taken.contains(candidate.name)
        }.map(\.name).sorted()
        guard members[domain] != sites.count else { throw .oneDomain(domain, full: full) }
        throw .crowdedDomain(
            domain, members: members[domain] ?? 0, survived: survived, full: full)
    }

    /// An appliance and its domain.
    private struct Place: Hashable {
        let appliance: String
        let domain: FailureDomain

        init(_ site: PlacementSite) {
            appliance = site.appliance
            domain = site.domain
        }
    }

    /// What to say when there are appliances enough, but not the memory.
    private static func shortage(
        of count: Int, _ size: ByteCount, _ usable: [PlacementCandidate],
        _ candidates: [PlacementCandidate]
    ) -> PlacementError {
        let needed = ByteCount(size.bytes * UInt64(count))
        let roomy = usable.filter { $0.free >= size }
        guard roomy.count >= count else {
            let free = usable.map(\.free).max() ?? .zero
            return .insufficientMemory(
                needed: needed, regions: count, free: ByteCount(free.bytes * UInt64(count)),
                full: usable.filter { $0.free < size }.map(\.name).sorted())
        }
        // The appliances would lend it, but their hosts do not have it.
        var free = ByteCount.zero
        var full: [String] = []
        for (host, there) in Dictionary(grouping: roomy, by: \.host) {
            let available = available(on: host, candidates)
            let wanted = ByteCount(size.bytes * UInt64(there.count))
            free = free + min(available, wanted)
            if available < wanted { full += there.map(\.name) }
        }
        return .insufficientMemory(
            needed: needed, regions: count, free: free, full: full.sorted())
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
    /// The appliances that may be given a region, but for those named, as they are now.
    ///
    /// What is promised on the left-out ones still counts: their hosts' memory is the same memory.
    func candidates(without excluded: Set<String>) async -> [PlacementCandidate] {
        var promisedElsewhere: [String: ByteCount] = [:]
        var candidates: [PlacementCandidate] = []
        for name in appliances.keys.sorted() {
            guard let description = await refresh(name),
                let record = appliances[name]?.record
            else { continue }
            let promised =
                description.allocated > description.resident
                ? description.allocated - description.resident : ByteCount.zero
            if excluded.contains(name) || record.isDraining {
                promisedElsewhere[description.bootID] =
                    (promisedElsewhere[description.bootID] ?? .zero) + promised
                continue
            }
            candidates.append(
                PlacementCandidate(
                    name: name, failureDomain: record.failureDomain,
                    capacity: description.capacity,
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

    /// Where a member stands; its appliance may be down.
    func site(of member: MemberRecord) -> PlacementSite {
        let handle = appliances[member.appliance]
        return PlacementSite(
            appliance: member.appliance,
            domain: handle?.record.failureDomain.map { .label($0) } ?? .appliance(member.appliance),
            host: handle?.description?.bootID ?? "")
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
