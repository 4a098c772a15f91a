// What one run is about, drawn from its seed: a size, a transport, clients, and which faults may happen.
//
// All of it can be chosen too, and made smaller: the shrinker takes faults, clients, members and requests
// away as long as the run still fails.

public import RemoteMemory
import ResiliencySet

/// What happens in one run.
public struct Scenario: Sendable, Hashable, CustomStringConvertible {
    /// No scenario has the given name.
    public struct UnknownName: Error, CustomStringConvertible {
        public var description: String {
            "There is no such scenario; choose one of \(Scenario.names.joined(separator: ", "))."
        }
    }

    /// What client-side access means.
    public enum Transport: String, Sendable, CaseIterable {
        /// Loads and stores of the client device itself.
        case sharedMemory
        /// Messages that are whole and in order.
        case message
        /// Placement by a NIC, in any order between two barriers.
        case verbs
    }

    /// Kinds of faults.
    public struct Faults: OptionSet, Sendable, Hashable {
        public let rawValue: UInt32
        public init(rawValue: UInt32) { self.rawValue = rawValue }

        public static let killDevice = Faults(rawValue: 1 << 0)
        public static let killDeviceMidStore = Faults(rawValue: 1 << 1)
        public static let pauseDevice = Faults(rawValue: 1 << 2)
        public static let killAppliance = Faults(rawValue: 1 << 3)
        public static let hangAppliance = Faults(rawValue: 1 << 4)
        public static let slowAppliance = Faults(rawValue: 1 << 5)
        public static let cutLink = Faults(rawValue: 1 << 6)
        public static let silenceLink = Faults(rawValue: 1 << 7)
        public static let registry = Faults(rawValue: 1 << 8)
        public static let fullMemory = Faults(rawValue: 1 << 9)
        public static let snapshot = Faults(rawValue: 1 << 10)
        public static let leave = Faults(rawValue: 1 << 11)
        public static let scrub = Faults(rawValue: 1 << 12)
        public static let killTwo = Faults(rawValue: 1 << 13)
        public static let partition = Faults(rawValue: 1 << 14)

        public static let all = Faults(rawValue: (1 << 15) - 1)
        static let each = (0..<15).map { Faults(rawValue: 1 << $0) }
        static let names = [
            "killDevice", "killDeviceMidStore", "pauseDevice", "killAppliance", "hangAppliance",
            "slowAppliance", "cutLink", "silenceLink", "registry", "fullMemory", "snapshot",
            "leave", "scrub", "killTwo", "partition",
        ]
    }

    /// The code of an erasure set.
    public struct Code: Sendable, Hashable {
        public var data: Int
        public var parity: Int
        /// The size of a chunk, in bytes.
        public var chunk: UInt64
        /// How many chunks a redo slot holds.
        public var redoRows: UInt64 = 2
        public var redoSlots = 4
    }

    public static let blockSize: UInt64 = 4096

    public var seed: UInt64
    /// How many requests clients send.
    public var steps: Int
    public var copies: Int
    /// Of an erasure set; nil for a mirror.
    public var code: Code?
    /// Appliances beside those of the first members.
    public var spares: Int
    public var ordering: Ordering
    public var transport: Transport
    public var blocks: Int
    /// How many it has at first, when it grows to `blocks`; nil when it has all of them.
    public var firstBlocks: Int?
    public var blocksPerExtent: Int
    public var clients: Int
    /// Requests in flight on one connection.
    public var depth: Int
    public var longestRequest = 8
    public var faults: Faults
    /// How many faults happen.
    public var faultCount: Int
    /// Faults that are left out, by their number.
    public var without: Set<Int> = []
    /// Appliances that come back have their memory.
    public var mayKeepMemory: Bool
    /// Members may answer late enough for others to be asked too.
    public var hedges: Bool
    /// Rebuilds are limited.
    public var isThrottled: Bool
    /// Placement is always out of order (RDMA).
    public var spreadsAlways = false
    /// A story instead of chance.
    public var script: Script?

    public static var names: [String] {
        [
            "any", "shared-memory", "message", "verbs", "calm", "rebuild", "partition", "erasure",
            "twins", "growth",
        ]
    }

    /// The plainest scenario over a transport.
    init(seed: UInt64, transport: Transport) {
        self.seed = seed
        self.transport = transport
        steps = 100
        copies = 3
        spares = 0
        ordering = .parallel
        blocks = 8
        blocksPerExtent = 1
        clients = 1
        depth = 1
        faults = []
        faultCount = 0
        mayKeepMemory = false
        hedges = false
        isThrottled = false
    }

    /// Draws a scenario; throws `UnknownName`.
    public init(seed: UInt64, name: String?) throws {
        var chance = Chance(seed: seed, stream: "scenario")
        self.seed = seed
        steps = 150
        copies = chance.pick(from: [2, 3, 3, 3, 1])
        spares = chance.within(0...2)
        ordering = chance.oneIn(2) ? .parallel : .sequential
        transport = chance.pick(from: Transport.allCases)
        blocks = chance.pick(from: [8, 16, 32, 64])
        blocksPerExtent = chance.pick(from: [1, 2, 4])
        clients = chance.within(1...4)
        depth = chance.within(1...8)
        faults = .all
        // Some runs know only a few kinds of faults: what is frequent hides what is rare.
        if chance.oneIn(2) {
            faults = Faults(
                Faults.each.filter { _ in chance.oneIn(3) })
        }
        faultCount = chance.within(1...12)
        mayKeepMemory = chance.oneIn(2)
        hedges = chance.oneIn(2)
        isThrottled = chance.oneIn(4)
        // (Draws of its own: what is said above of a seed stays as it is.)
        var codeChance = Chance(seed: seed, stream: "code")
        if codeChance.oneIn(3) || name == "erasure" || name == "twins" {
            code = Self.drawCode(&codeChance)
        }
        switch name {
        case nil, "any", "erasure", "growth": break
        case "shared-memory": transport = .sharedMemory
        case "message": transport = .message
        case "verbs": transport = .verbs
        case "calm": faults = []
        case "rebuild":
            faults = [.killAppliance, .killDevice, .hangAppliance, .snapshot]
            blocks = 64
            blocksPerExtent = 1
        case "partition":
            faults = [.partition, .silenceLink, .pauseDevice]
            transport = chance.pick(from: [.message, .verbs])
            copies = max(2, copies)
        case "twins":
            // Moves and snapshots of erasure sets, and what may befall them.
            faults = faults.intersection([
                .killDevice, .killDeviceMidStore, .killAppliance, .hangAppliance, .cutLink,
                .silenceLink, .registry, .pauseDevice, .partition, .slowAppliance,
            ]).union(.snapshot)
            faultCount = max(4, faultCount)
        default: throw UnknownName()
        }
        if transport == .sharedMemory { mayKeepMemory = false }
        var growthChance = Chance(seed: seed, stream: "growth")
        if growthChance.oneIn(4) || name == "growth" {
            firstBlocks = growthChance.within(1...blocks - 1)
        }
    }

    private static func drawCode(_ chance: inout Chance) -> Code {
        var code = chance.pick(from: [
            Code(data: 2, parity: 1, chunk: 4096), Code(data: 2, parity: 1, chunk: 2048),
            Code(data: 2, parity: 2, chunk: 8192), Code(data: 2, parity: 2, chunk: 4096),
            Code(data: 3, parity: 2, chunk: 4096), Code(data: 4, parity: 2, chunk: 1024),
            Code(data: 4, parity: 2, chunk: 4096), Code(data: 2, parity: 3, chunk: 4096),
        ])
        code.redoRows = UInt64(chance.within(1...4))
        code.redoSlots = chance.pick(from: [1, 2, 4, 8])
        return code
    }

    public var layout: Layout {
        code.map { .erasure(data: $0.data, parity: $0.parity) } ?? .mirror(copies: copies)
    }
    /// How many members a healthy set has.
    public var memberCount: Int { layout.memberCount }
    /// Where the bytes of an erasure set stand; nil for a mirror.
    public var stripes: StripeGeometry? { stripes(of: size) }
    /// The same while the volume has another size.
    func stripes(of size: ByteCount) -> StripeGeometry? {
        guard let code else { return nil }
        return try? StripeGeometry(
            dataShards: code.data, parityShards: code.parity, chunk: ByteCount(code.chunk),
            size: size, redoSlotSize: ByteCount(code.redoRows * code.chunk),
            redoSlotCount: code.redoSlots)
    }
    /// How much each member of a volume of `size` holds.
    func regionSize(of size: ByteCount) -> ByteCount { stripes(of: size)?.regionDataSize ?? size }
    /// The granule of rebuild.
    var extentSize: ByteCount {
        ByteCount(UInt64(blocksPerExtent) * (stripes?.stripeSize.bytes ?? Self.blockSize))
    }

    public var size: ByteCount { Self.size(blocks) }
    /// What the volume has at first.
    var firstSize: ByteCount { Self.size(firstBlocks ?? blocks) }
    static func size(_ blocks: Int) -> ByteCount { ByteCount(UInt64(blocks) * blockSize) }

    // MARK: Times, in nanoseconds

    /// How long a member may be silent.
    static let evictAfter: UInt64 = 100_000_000
    var tickInterval: UInt64 { 5_000_000 }
    var backgroundSteps: Int { 4 }

    func tuning(mutation: Mutation?) -> Tuning {
        var tuning = Tuning()
        tuning.patience = 2_000_000_000
        tuning.extentSize = extentSize
        tuning.changeExtentSize = ByteCount(Self.blockSize)
        tuning.zeroStep = ByteCount(4 * Self.blockSize)
        tuning.tearsWrites = transport == .verbs
        if isThrottled { tuning.rebuildRate = .mebibytes(4) }
        guard transport != .sharedMemory else { return tuning }
        tuning.evictAfter = Self.evictAfter
        tuning.lease = mutation == .ignoresLease ? 0 : 60_000_000
        if hedges { tuning.hedgeFloor = 200_000 }
        return tuning
    }

    // MARK: Words

    public var description: String {
        let kinds = zip(Faults.each, Faults.names).filter { faults.contains($0.0) }.map(\.1)
        return """
            seed \(seed): \(layoutText) \(ordering) over \(transport.rawValue), \(spares) spare \
            appliances, \(firstBlocks.map { "\($0) growing to " } ?? "")\(blocks) blocks in extents of \(blocksPerExtent), \(clients) clients at depth \
            \(depth), \(steps) requests, \(faultCount) faults\
            \(without.isEmpty ? "" : " without \(without.sorted())") of \
            \(kinds.isEmpty ? "no kind" : kinds.joined(separator: " "))\
            \(mayKeepMemory ? ", memory kept" : "")\(hedges ? ", hedged" : "")\
            \(isThrottled ? ", throttled" : "")
            """
    }

    private var layoutText: String {
        guard let code else { return "\(layout)" }
        return """
            \(layout) in chunks of \(code.chunk) with \(code.redoSlots) redo slots of \(code.redoRows)
            """
    }

    /// Smaller scenarios, the biggest cut first.
    public func simplifications() -> [Scenario] {
        var smaller: [Scenario] = []
        func add(_ change: (inout Scenario) -> Void) {
            var other = self
            change(&other)
            if other != self { smaller.append(other) }
        }
        for part in [2, 4, 8, 16] { add { $0.steps -= $0.steps / part } }
        for number in 0..<faultCount where !without.contains(number) {
            add { $0.without.insert(number) }
        }
        for kind in Faults.each where faults.contains(kind) { add { $0.faults.remove(kind) } }
        add { $0.faultCount -= $0.faultCount > 1 ? 1 : 0 }
        add { $0.clients = 1 }
        add { $0.depth = 1 }
        add { $0.depth = max(1, $0.depth / 2) }
        add { $0.firstBlocks = nil }
        add { $0.hedges = false }
        add { $0.isThrottled = false }
        add { $0.longestRequest = 2 }
        add { $0.spares = 0 }
        if code == nil { add { $0.copies = max(1, $0.copies - 1) } }
        add { $0.steps = max(1, $0.steps - 1) }
        return smaller
    }
}
