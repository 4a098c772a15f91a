// The client device: the process that issues multi-writes. This actor is its control side, on a thread of
// its own, where waiting for the registry or an appliance delays nobody's I/O.
//
//     commands ──▶ ClientDevice ──▶ Registry (who is a member of what, since which epoch)
//                    │      │  └──▶ Appliances (memory: allocate, open, free)
//                    │      └─────▶ FrontDoor (which exports there are)
//                    └────────────▶ DataThread (volumes: engine, regions, connections)
//
//   Membership/   takeover, recording what engines decide, replacing lost members
//   Succession/   one client device at a time: claiming a directory, taking it from one that hangs
//   Operations/   what an operator asks for: volumes, snapshots, appliances, status

import Appliance
import Control
import Glibc
package import Logging
package import Reactor
import Registry
import RemoteMemory
package import TCPTransport

/// How a client device is set up.
package struct DeviceConfiguration: Sendable {
    /// Where the registry and sockets are.
    package var directory: String
    package var listeners: [Listener]
    /// Touch all memory of new volumes before they are served.
    package var populate: Bool
    package var version: String
    /// How long requests wait below the minimum of members, in nanoseconds.
    package var patience: UInt64 = 30_000_000_000
    /// How long an appliance may be silent before its members are given up.
    package var evictAfter: Duration
    /// How long a member that is out of reach may take to come back before another takes its place.
    package var replaceAfter = Duration.seconds(10)
    /// What proves this device to appliances on the network, and them to it.
    package var security: PeerSecurity
    /// Clients are told when this device stops, rather than disconnected.
    package var announcesShutdown = false
    /// What NBD clients have to prove.
    package var door = DoorSecurity.open
    /// How many NBD clients there may be, and how long they may take to come in.
    package var doorLimits = DoorLimits()
    /// The right to be the client device of the directory; nil where nobody else could be.
    package var claim: DeviceClaim?
    /// Called when another client device has taken over: this one serves nothing any more.
    package var superseded: @Sendable () -> Void = {}

    package init(
        directory: String, listeners: [Listener], populate: Bool, version: String,
        evictAfter: Duration = .seconds(1), security: PeerSecurity = .local,
        claim: DeviceClaim? = nil
    ) {
        self.security = security
        self.claim = claim
        self.directory = directory
        self.evictAfter = evictAfter
        self.listeners = listeners
        self.populate = populate
        self.version = version
    }
}

/// The control side of a client device.
package actor ClientDevice: EventHandler {
    package nonisolated let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe loop.asUnownedSerialExecutor()
    }

    /// How long clients that were told of the end may take to leave.
    private static let noticeTime = Duration.seconds(2)

    /// How often appliances and memberships are looked after, at least.
    private static let housekeepingInterval = Duration.milliseconds(200)

    var configuration: DeviceConfiguration
    let log: Logger
    let registry: SQLiteRegistry
    let owner: OwnerID
    let startedAt: Int64
    let frontDoor: FrontDoor
    let threads: [DataThread]
    var appliances: [String: ApplianceHandle] = [:]
    var volumes: [VolumeID: ManagedVolume] = [:]
    private var housekeeping: Task<Void, Never>?
    /// Another client device has taken over.
    var hasEnded = false

    static func registryPath(in directory: String) -> String { directory + "/registry.sqlite" }

    /// Opens and claims the registry; nothing is served yet.
    package init(_ configuration: DeviceConfiguration, log: Logger) throws {
        self.configuration = configuration
        self.log = log
        startedAt = Self.now
        owner = configuration.claim?.owner ?? OwnerID(.random())
        registry = try SQLiteRegistry(path: Self.registryPath(in: configuration.directory))
        try registry.claim(by: owner)
        loop = try EventLoop(name: "control")
        frontDoor = try FrontDoor(
            listeners: configuration.listeners,
            own: .unix(path: configuration.directory + "/nbd.sock"),
            security: configuration.door, limits: configuration.doorLimits, log: log)
        let count = max(1, min(4, sysconf(Int32(_SC_NPROCESSORS_ONLN)) - 1))
        threads = try (0..<count).map { try DataThread(name: "data-\($0)", log: log) }
    }

    /// Takes over every volume of the registry and starts to serve.
    package func start() async throws {
        frontDoor.start()
        for thread in threads { thread.start() }
        for record in try registry.appliances() { try meet(record) }
        await withTaskGroup { group in
            for name in appliances.keys { group.addTask { await self.lookAfter(name) } }
        }
        let limits = try registry.limits()
        for record in try registry.volumes() {
            volumes[record.id] = ManagedVolume(record: record, thread: leastLoadedThread)
            volumes[record.id]?.limits = limits[record.id] ?? .none
        }
        await withTaskGroup { group in
            for id in volumes.keys { group.addTask { await self.takeOver(id) } }
        }
        // (Those that answered before the volumes were known; now nothing is made yet that nobody knows.)
        for (name, handle) in appliances where handle.isUp {
            let regions = handle.description?.regions ?? []
            Task { await freeForgotten(on: name, regions) }
        }
        await publish()
        try await frontDoor.open()
        let interval = min(Self.housekeepingInterval, configuration.evictAfter / 4)
        housekeeping = Task { [weak self] in
            while !Task.isCancelled {
                try? await Task.sleep(for: interval)
                await self?.keepHouse()
            }
        }
    }

    /// Starts the control thread; to be called once, before anything else.
    package nonisolated func startThread() { loop.start(self) }

    /// Takes no more requests, answers those in flight, closes; gives up after ten seconds.
    ///
    /// - Parameter handingOver: connections are not closed.
    /// - Returns: those that are not, which the caller has from now on.
    package func stop(handingOver: Bool = false) async -> [StandingConnection] {
        housekeeping?.cancel()
        if configuration.announcesShutdown { await announceShutdown(handingOver: handingOver) }
        await frontDoor.close()
        var standing: [StandingConnection] = []
        for thread in threads {
            for _ in 0..<1000 {
                if await thread.drain(handingOver: handingOver) {
                    await saveChanges(on: thread)
                    break
                }
                try? await Task.sleep(for: .milliseconds(10))
            }
            standing += await thread.takeStanding()
        }
        return standing
    }

    /// Tells clients that this is the end, but for those that another process goes on with; returns when all have
    /// left, or have had the time for it.
    private func announceShutdown(handingOver: Bool) async {
        let end = ContinuousClock.now + Self.noticeTime
        await frontDoor.announceShutdown()
        while ContinuousClock.now < end {
            var haveLeft = await frontDoor.isIdle
            for thread in threads {
                let isDone = await thread.drain(handingOver: handingOver, announcing: true)
                haveLeft = haveLeft && isDone
            }
            if haveLeft { return }
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Opens connections to appliances with other proof from now on; those that stand go on.
    ///
    /// What cannot be taken leaves everything as it was.
    package func adopt(_ security: PeerSecurity) async throws(SecurityError) {
        try security.mayReplace(configuration.security)
        configuration.security = security
        // (Who refused the former proof may take this one, and is tried at once.)
        for name in appliances.keys { appliances[name]?.notBefore = nil }
        await withTaskGroup { group in
            for handle in appliances.values {
                let link = handle.link
                group.addTask { await link.adopt(security) }
            }
        }
    }

    /// Lets NBD clients in by other rules from now on; those who are in stay.
    ///
    /// What cannot be taken leaves everything as it was.
    package func adopt(_ door: DoorSecurity) async throws {
        for place in await frontDoor.addresses { try door.mayListen(at: place.address) }
        configuration.door = door
        await frontDoor.adopt(door)
    }

    var leastLoadedThread: DataThread {
        var counts = threads.map { _ in 0 }
        for volume in volumes.values {
            for (index, thread) in threads.enumerated() where thread === volume.thread {
                counts[index] += 1
            }
        }
        let least = counts.min() ?? 0
        return threads[counts.firstIndex(of: least) ?? 0]
    }

    /// Looks after what changes by itself: appliances that come back, members that are missing.
    ///
    /// Each is looked after by itself: who waits for one holds up no other.
    private func keepHouse() async {
        await endIfSuperseded()
        guard !hasEnded else { return }
        for name in appliances.keys { Task { await lookAfter(name) } }
        for id in volumes.keys { Task { await lookAfter(id) } }
    }

    func lookAfter(_ id: VolumeID) async {
        guard let volume = volumes[id], !volume.isLookedAfter else { return }
        volumes[id]?.isLookedAfter = true
        await takeOverIfWaiting(id)
        await reopenAbsentMember(of: id)
        await carryTwinsOn(id)
        await replaceMissingMembers(of: id)
        letGoOfHeldCopies(of: id)
        await sampleRebuilds(of: id)
        await noteBrokenSnapshots(of: id)
        if await openSnapshots(of: id) { await publish() }
        volumes[id]?.isLookedAfter = false
    }

    // MARK: Events: there are none, for appliances have threads of their own

    package nonisolated func ready(_ token: UInt64, _ readiness: Readiness) {}

    package nonisolated func turnEnded() -> Rest { .untilWoken }

    /// The wall clock, in milliseconds since 1970.
    static var now: Int64 {
        var time = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1000 + Int64(time.tv_nsec) / 1_000_000
    }
}
