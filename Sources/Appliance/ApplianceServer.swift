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

/// Lends memory to client devices.
///
/// All of it belongs to the thread that runs the loop, from `run` on.
@safe
public final class ApplianceServer: EventHandler, @unchecked Sendable {
    /// The most client devices connected at once for control; further ones are closed.
    static let mostControlPeers = 256
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
    private let loop: EventLoop
    private var listeners: [Listener]
    private var peers: [UInt64: Peer] = [:]
    private var nextToken: UInt64
    /// Who has more to do without being woken.
    private var unfinished: [UInt64] = []
    private var nextSweep = UInt64.max
    private var fullUntil: UInt64?

    /// Lends up to `capacity` to whoever connects to `listeners`.
    public init(name: String, capacity: ByteCount, listeners: [Listener]) throws(ReactorError) {
        self.name = name
        self.listeners = listeners
        addresses = listeners.map(\.address)
        nextToken = UInt64(listeners.count)
        incarnation = Incarnation(.random())
        pool = RegionPool(capacity: capacity)
        var now = timespec()
        unsafe clock_gettime(CLOCK_REALTIME, &now)
        statistics = ApplianceStatistics(since: UInt64(now.tv_sec))
        loop = try EventLoop(name: "appliance")
        try watchListeners()
    }

    /// Listens at a path alone, replacing what a killed appliance left there.
    ///
    /// - Throws: `ApplianceConnectionError` when the path is too long, or cannot be bound.
    public convenience init(name: String, capacity: ByteCount, path: String)
        throws(ApplianceConnectionError)
    {
        do throws(ReactorError) {
            try self.init(
                name: name, capacity: capacity, listeners: [try Listener(.unix(path: path))])
        } catch {
            switch error {
            case .pathTooLong: throw .pathTooLong(path: path)
            case .addressInUse: throw .inUse(path: path)
            case .system(_, let code): throw .system(errno: code)
            case .badAddress, .notASocket: throw .system(errno: ENOTSOCK)
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

    // MARK: Events

    public func ready(_ token: UInt64, _ readiness: Readiness) {
        if token < UInt64(listeners.count) {
            accept(from: listeners[Int(token)])
        } else if let peer = peers[token] {
            advance(peer, readiness)
        }
    }

    public func turnEnded() -> Rest {
        let waiting = unfinished
        unfinished.removeAll(keepingCapacity: true)
        for token in waiting {
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
        if peer is ControlPeer { statistics.controlConnections += difference }
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
                let stream = SocketStream(plain: descriptor)
                let user = clinux_peer_uid(descriptor)
                guard user == geteuid() || user == 0 else {
                    statistics.refused += 1
                    continue
                }
                let peer = ControlPeer(stream, isLocal: true)
                do throws(ReactorError) {
                    try loop.watch(descriptor, for: .readable, token: nextToken)
                } catch { return pause(clinux_monotonic_nanoseconds()) }
                peer.watched = .readable
                admit(peer, token: nextToken)
                nextToken += 1
            }
        }
    }

    /// Takes a peer in whose descriptor is watched, unless there are too many.
    private func admit(_ peer: Peer, token: UInt64) {
        peer.token = token
        guard statistics.controlConnections < Self.mostControlPeers else {
            statistics.refused += 1
            return loop.unwatch(peer.descriptor)
        }
        peers[token] = peer
        count(peer, 1)
        advance(peer, [])
    }
}
