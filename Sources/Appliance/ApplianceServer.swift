// The appliance's loop: one thread that serves whoever is ready, and waits for nobody.
//
//     listener ──▶ opening ──▶ control: asks for regions
//                     └──────▶ access:  carries out client-side access (CommunicationInterface/)
//
// Every peer has bounded buffers and bounded time for what it has begun, and is let go on only as far as
// what has come from it: one that is slow, silent or hostile costs the others nothing.

import CLinux
import Glibc
public import Reactor
public import RemoteMemory
public import TCPTransport

/// Why an appliance cannot start.
public enum ApplianceStartError: Error, Hashable, CustomStringConvertible {
    case listening(ReactorError)
    case security(SecurityError)
    case memory(MemoryDirectoryError)

    public var description: String {
        switch self {
        case .listening(let error): error.description
        case .security(let error): error.description
        case .memory(let error): error.description
        }
    }
}

/// Lends memory to client devices.
///
/// (Sendable: all that changes belongs to the thread that runs the loop, from `run` on; what others call
/// only wakes that thread.)
@safe
public final class ApplianceServer: EventHandler, @unchecked Sendable {
    /// The most connections at once for control, and for access; further ones are closed.
    static let mostControlPeers = 256
    static let mostAccessPeers = 1024
    /// The most connections that are not open yet; for a further one the oldest has to go.
    static let mostOpeningPeers = 256
    /// The most that large requests which have not come whole take up, of all peers, in bytes.
    static let mostReceived = 512 << 20
    /// From how many bytes on, in replies that are not taken by all peers, no more requests are served.
    static let mostReplies = 512 << 20
    /// When the kernel asks a silent peer whether it is there: after so many seconds, so often, so long.
    static let keepaliveIdle: Int32 = 10
    static let keepaliveInterval: Int32 = 5
    static let keepaliveCount: Int32 = 3
    /// How long bytes may stay unacknowledged before the kernel gives a peer up, in milliseconds.
    static let unacknowledged: Int32 = 30_000
    /// How long nobody is accepted when nobody more can be had, in nanoseconds.
    static let fullRest: UInt64 = 100_000_000
    /// How often peers are looked at that may be late, in nanoseconds.
    static let sweepTime: UInt64 = 100_000_000

    public let name: String
    public let incarnation: Incarnation
    /// Where it listens; a port of 0 has become a real one.
    public let addresses: [Address]
    var pool: RegionPool
    var statistics: ApplianceStatistics
    let receiveBudget = BufferBudget(limit: mostReceived)
    let replyBudget = BufferBudget(limit: mostReplies)
    private var security: PeerSecurity
    private let loop: EventLoop
    private var listeners: [Listener]
    private var peers: [UInt64: Peer] = [:]
    private var nextToken: UInt64
    /// Who has more to do without being woken.
    private var unfinished: [UInt64] = []
    /// Who has more to do once memory is given back.
    private var waiting: [UInt64] = []
    private var openingPeers = 0
    private var nextSweep = UInt64.max
    private var fullUntil: UInt64?

    /// Lends up to `capacity` to whoever connects to `addresses` and proves what `security` asks for.
    ///
    /// With a `memoryDirectory` regions are kept there, and those that survived are found again.
    public init(
        name: String, capacity: ByteCount, addresses: [Address],
        security: PeerSecurity = .local, memoryDirectory: String? = nil
    ) throws(ApplianceStartError) {
        self.name = name
        self.security = security
        do throws(SecurityError) {
            for address in addresses { try security.mayListen(at: address) }
        } catch { throw .security(error) }
        if let memoryDirectory {
            do throws(MemoryDirectoryError) {
                var found: [(KeptRegion, RegionMemory)] = []
                let directory = try MemoryDirectory(
                    path: memoryDirectory, name: name, capacity: capacity, found: &found)
                incarnation = directory.incarnation
                pool = RegionPool(capacity: capacity, directory: directory, found: found)
            } catch { throw .memory(error) }
        } else {
            incarnation = Incarnation(.random())
            pool = RegionPool(capacity: capacity)
        }
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        statistics = ApplianceStatistics(since: UInt64(now.tv_sec))
        do throws(ReactorError) {
            var listeners: [Listener] = []
            for address in addresses { listeners.append(try Listener(address)) }
            self.listeners = listeners
            self.addresses = listeners.map(\.address)
            nextToken = UInt64(listeners.count)
            // (Measured: seven tenths more reads at depth 32, a tenth more writes.)
            loop = try EventLoop(name: "appliance", keepsVigil: true)
            for (token, listener) in listeners.enumerated() {
                try loop.watch(listener.descriptor, for: .readable, token: UInt64(token))
            }
        } catch { throw .listening(error) }
    }

    /// Listens at a path alone, replacing what a killed appliance left there.
    ///
    /// - Throws: `ApplianceConnectionError` when the path is too long, or cannot be bound.
    public convenience init(name: String, capacity: ByteCount, path: String)
        throws(ApplianceConnectionError)
    {
        do throws(ApplianceStartError) {
            try self.init(name: name, capacity: capacity, addresses: [.unix(path: path)])
        } catch {
            switch error {
            case .listening(.pathTooLong): throw .pathTooLong(path: path)
            case .listening(.addressInUse): throw .inUse(path: path)
            case .listening(.system(_, let code)): throw .system(errno: code)
            case .listening, .security, .memory: throw .system(errno: ENOTSOCK)
            }
        }
    }

    /// Serves until `stop`, on the calling thread.
    public func run() {
        loop.run(self)
        for peer in peers.values { loop.unwatch(peer.descriptor) }
        peers.removeAll()
        listeners.removeAll()
    }

    /// Makes `run` return; to be called from any thread.
    public func stop() { loop.stop() }

    /// Returns once the loop has come round; from any thread.
    public func ping() async { await Pulse(loop).beat() }

    /// Asks whoever connects from now on for other proof; from any thread, while it runs.
    ///
    /// Who is connected stays so. What cannot be taken leaves everything as it was.
    public func adopt(_ security: PeerSecurity) async throws(SecurityError) {
        try await Pulse(loop).perform { [self] () throws(SecurityError) in
            try security.mayReplace(self.security)
            for address in addresses { try security.mayListen(at: address) }
            self.security = security
        }
    }

    // MARK: Events

    public func ready(_ token: UInt64, _ readiness: Readiness) {
        if token < UInt64(listeners.count) {
            accept(from: listeners[Int(token)])
        } else if let peer = peers[token] {
            advance(peer, readiness)
        }
    }

    public func turnEnded() -> Rest {
        if receiveBudget.hasReleased || replyBudget.hasReleased {
            receiveBudget.hasReleased = false
            replyBudget.hasReleased = false
            unfinished += waiting
            waiting.removeAll()
        }
        let next = unfinished
        unfinished.removeAll()
        for token in next {
            if let peer = peers[token] { advance(peer, []) }
        }
        if nextSweep != .max || fullUntil != nil { sweep() }
        guard unfinished.isEmpty else { return .none }
        guard nextSweep != .max || fullUntil != nil else { return .untilWoken }
        return .atMost(Int32(Self.sweepTime / 1_000_000))
    }

    private func advance(_ peer: Peer, _ readiness: Readiness) {
        switch peer.advance(readiness, self) {
        case .waits: break
        case .hasMore: unfinished.append(peer.token)
        case .ends: return drop(peer)
        case .becomes(let next):
            peers[peer.token] = nil
            count(peer, -1)
            next.watched = peer.watched
            return admit(next, token: peer.token)
        }
        watch(peer)
        if peer.deadline != .max, nextSweep == .max {
            nextSweep = clinux_monotonic_nanoseconds() + Self.sweepTime
        }
    }

    private func watch(_ peer: Peer) {
        let wants = peer.wants
        guard wants != peer.watched else { return }
        peer.watched = wants
        do throws(ReactorError) {
            try loop.rewatch(peer.descriptor, for: wants, token: peer.token)
        } catch { drop(peer) }
    }

    func drop(_ peer: Peer) {
        guard peers.removeValue(forKey: peer.token) != nil else { return }
        loop.unwatch(peer.descriptor)
        count(peer, -1)
    }

    private func count(_ peer: Peer, _ difference: Int) {
        if peer is ControlPeer {
            statistics.controlConnections += difference
        } else if peer is AccessPeer {
            statistics.accessConnections += difference
        } else {
            openingPeers += difference
        }
    }

    private func hasRoom(for peer: Peer) -> Bool {
        if peer is ControlPeer { return statistics.controlConnections < Self.mostControlPeers }
        return !(peer is AccessPeer) || statistics.accessConnections < Self.mostAccessPeers
    }

    /// Lets a peer go on as soon as some memory is given back.
    func waitForBudget(_ peer: Peer) { waiting.append(peer.token) }

    /// Cuts off whoever came with a key that is dead, before anything else of it is carried out.
    func endDeadKeys() {
        guard !pool.deadKeys.isEmpty else { return }
        let dead = Set(pool.deadKeys)
        pool.deadKeys.removeAll()
        for peer in Array(peers.values) {
            guard let access = peer as? AccessPeer, let key = access.grant?.key, dead.contains(key)
            else { continue }
            statistics.refused += 1
            drop(access)
        }
    }

    /// Cuts off who is late, and accepts again when there may be room.
    private func sweep() {
        let now = clinux_monotonic_nanoseconds()
        if let end = fullUntil, now >= end {
            fullUntil = nil
            do throws(ReactorError) { try watchListeners() } catch { pause(now) }
        }
        guard now >= nextSweep else { return }
        nextSweep = .max
        for peer in Array(peers.values) where peer.deadline != .max {
            if now >= peer.deadline {
                statistics.refused += 1
                drop(peer)
            } else {
                nextSweep = now + Self.sweepTime
            }
        }
    }

    // MARK: Arrivals

    private func watchListeners() throws(ReactorError) {
        for (token, listener) in listeners.enumerated() {
            try loop.watch(listener.descriptor, for: .readable, token: UInt64(token))
        }
    }

    /// Lets new peers wait in the backlog for a moment.
    private func pause(_ now: UInt64) {
        fullUntil = now + Self.fullRest
        for listener in listeners { loop.unwatch(listener.descriptor) }
    }

    private func accept(from listener: Listener) {
        while fullUntil == nil {
            switch listener.accept() {
            case .none: return
            case .exhausted: return pause(clinux_monotonic_nanoseconds())
            case .connection(let descriptor):
                guard let peer = peer(descriptor, at: listener.address) else {
                    statistics.refused += 1
                    continue
                }
                do throws(ReactorError) {
                    try loop.watch(descriptor, for: .readable, token: nextToken)
                } catch { return pause(clinux_monotonic_nanoseconds()) }
                peer.watched = .readable
                admit(peer, token: nextToken)
                nextToken += 1
            }
        }
    }

    /// What a connection begins as; nil when it is closed at once.
    private func peer(_ descriptor: Int32, at address: Address) -> Peer? {
        guard case .tcp = address else {
            let stream = SocketStream(plain: descriptor)
            let user = clinux_peer_uid(descriptor)
            return user == geteuid() || user == 0 ? ControlPeer(stream, isLocal: true) : nil
        }
        let tcp = Int32(IPPROTO_TCP)
        clinux_set_option(descriptor, tcp, TCP_KEEPIDLE, Self.keepaliveIdle)
        clinux_set_option(descriptor, tcp, TCP_KEEPINTVL, Self.keepaliveInterval)
        clinux_set_option(descriptor, tcp, TCP_KEEPCNT, Self.keepaliveCount)
        clinux_set_option(descriptor, tcp, TCP_USER_TIMEOUT, Self.unacknowledged)
        if openingPeers >= Self.mostOpeningPeers,
            let oldest = peers.values.filter({ $0 is OpeningPeer }).min(by: { $0.token < $1.token })
        {
            statistics.refused += 1
            drop(oldest)
        }
        return OpeningPeer(
            security.accept(descriptor, from: PeerSecurity.isLoopback(peerOf: descriptor)))
    }

    /// Takes a peer in whose descriptor is watched, unless there are too many.
    private func admit(_ peer: Peer, token: UInt64) {
        peer.token = token
        guard hasRoom(for: peer) else {
            statistics.refused += 1
            return loop.unwatch(peer.descriptor)
        }
        peers[token] = peer
        count(peer, 1)
        advance(peer, [])
    }
}
