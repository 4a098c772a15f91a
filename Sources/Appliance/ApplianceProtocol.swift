// The control side of an appliance: what a client device asks for before and after, never during, I/O.
//
// Each message is a big-endian 32-bit length and that many bytes of JSON: over a Unix socket that only the
// appliance's own user can open, or over TCP behind the opening. On the same host a descriptor of a
// region's memory travels beside its reply; elsewhere the reply has a key, by which an access connection
// is attached to the region.

public import RemoteMemory

/// What a client device asks of an appliance.
public enum ApplianceRequest: Codable, Hashable, Sendable {
    /// Who are you, and how full.
    case describe
    /// Lend memory for a region that holds `dataSize`; `populate` touches all of it first.
    case allocate(region: RegionID, dataSize: ByteCount, populate: Bool)
    /// Let `owner` access a region, at `epoch`, fencing whoever had it before.
    case open(region: RegionID, owner: OwnerID, epoch: Epoch)
    /// Let a region be read.
    case view(region: RegionID)
    /// How much a region takes up.
    case measure(region: RegionID)
    /// Have a region of `owner` hold `dataSize` from now on: what is added reads as zeroes, and a region that
    /// holds as much already stays what it is.
    case grow(region: RegionID, owner: OwnerID, epoch: Epoch, dataSize: ByteCount)
    /// Take a region's memory back.
    case free(region: RegionID)
    /// Tell a region's resiliency logic which set it belongs to.
    case enrol(region: RegionID, cluster: ResiliencyCluster)
    /// What a region's observer sees, and its cluster.
    case observe(region: RegionID)
    /// Fence whoever has a region by a lower epoch, and let none in ever after.
    case fence(region: RegionID, epoch: Epoch)
    /// What the appliance has done since it started.
    case statistics
}

/// What an appliance answers.
public enum ApplianceReply: Codable, Hashable, Sendable {
    case description(ApplianceDescription)
    /// A descriptor comes with it for `open` and `view`.
    case region(RegionDescription)
    /// The same over TCP: the key opens the region to an access connection.
    case granted(region: RegionDescription, key: Identifier)
    case statistics(ApplianceStatistics)
    case observation(Observation)
    case refused(ApplianceRefusal)
}

/// An appliance and how full it is.
public struct ApplianceDescription: Codable, Hashable, Sendable {
    public var name: String
    public var incarnation: Incarnation
    public var processID: Int32
    /// How much it lends at most, in bytes.
    public var capacity: ByteCount
    /// What its regions may grow to.
    public var allocated: ByteCount
    /// What its regions take up now.
    public var resident: ByteCount
    /// What the host could still give before it has to swap or kill.
    public var hostAvailable: ByteCount
    /// Tells appliances on one host from those on another.
    public var bootID: String
    public var regions: [RegionID]
    /// Where it listens.
    public var addresses: [String]
}

/// One region, as its appliance knows it.
public struct RegionDescription: Codable, Hashable, Sendable {
    public var region: RegionID
    public var dataSize: ByteCount
    /// What the region takes up now.
    public var resident: ByteCount
    /// Backed by the huge page pool.
    public var isHuge: Bool
    /// A file that outlives the appliance's process: it is not sealed.
    public var isKept: Bool
}

/// The members of a set as each member's resiliency logic knows them.
public struct ResiliencyCluster: Codable, Hashable, Sendable {
    public struct Member: Codable, Hashable, Sendable {
        public var index: MemberIndex
        public var region: RegionID
        public var appliance: String

        public init(index: MemberIndex, region: RegionID, appliance: String) {
            self.index = index
            self.region = region
            self.appliance = appliance
        }
    }

    public var volume: VolumeID
    /// As of which the membership is; older news is refused.
    public var epoch: Epoch
    public var members: [Member]

    public init(volume: VolumeID, epoch: Epoch, members: [Member]) {
        self.volume = volume
        self.epoch = epoch
        self.members = members
    }
}

/// Why an appliance does not do what it was asked.
public enum ApplianceRefusal: Error, Codable, Hashable, Sendable, CustomStringConvertible {
    case noSuchRegion(RegionID)
    case regionExists(RegionID)
    case insufficientMemory(needed: ByteCount, free: ByteCount)
    /// The region is of huge pages, and the pool has too few left for it to grow.
    case insufficientHugePages(needed: ByteCount, free: ByteCount)
    /// The process that has the region can still store into it.
    case holderAlive(processID: Int32)
    case staleEpoch(given: Epoch, known: Epoch)
    case badMessage
    case system(call: String, errno: Int32)

    public var description: String {
        switch self {
        case .noSuchRegion(let region): "the appliance has no region \(region): its memory was lost"
        case .regionExists(let region): "the appliance has a region \(region) already"
        case .insufficientMemory(let needed, let free):
            "needs \(needed), but the appliance has \(free) left to lend; "
                + "delete snapshots or start it with more --memory"
        case .insufficientHugePages(let needed, let free):
            "needs \(needed) of huge pages, and \(free) of them are free on its host; raise "
                + "vm.nr_hugepages there"
        case .holderAlive(let process):
            "process \(process) still has the region mapped; stop it first"
        case .staleEpoch(let given, let known):
            "epoch \(given) is over, the region is at \(known): another owner has the set"
        case .badMessage: "the appliance did not understand the message: use the same version"
        case .system(let call, let code): "\(call) failed on the appliance with errno \(code)"
        }
    }
}
