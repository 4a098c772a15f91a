// The thread that volumes live on: everything between the bytes of a request and the bytes of its reply
// happens here. The control side reaches it by calling this actor (DataThread+Control).

package import BlockServer
import CLinux
package import Logging
package import Reactor
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport

/// An actor on an event loop's thread, with its volumes, snapshots and their connections.
package actor DataThread: EventHandler {
    package nonisolated let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe loop.asUnownedSerialExecutor()
    }

    /// How often the reads of a snapshot are looked at that is out of reach, in milliseconds.
    private static let brokenRest: Int32 = 100

    private let log: Logger
    var volumes: [VolumeID: Volume] = [:]
    var snapshots: [SnapshotKey: Snapshot] = [:]
    var connections: [Int32: Connection] = [:]
    /// Those whose requests wait in their buffers.
    private var line = WaitingLine()
    /// Connections under TLS with more to handle, of which their descriptors tell nothing.
    private var hidden: Set<Int32> = []
    private var watched: [Int32: Readiness] = [:]
    private var channels: [Int32: ChannelOwner] = [:]
    private var isDraining = false
    /// Clients are told that this is the end, also those who arrive now.
    private var isAnnouncing = false
    /// Connections that are to outlive this process.
    private var standing: [StandingConnection] = []
    /// Somebody has more to do as soon as it is its turn again.
    private var hasYielded = false

    package init(name: String, log: Logger) throws(ReactorError) {
        loop = try EventLoop(name: name, keepsVigil: true)
        self.log = log
    }

    package nonisolated func start() { loop.start(self) }

    // MARK: Events

    package nonisolated func ready(_ token: UInt64, _ readiness: Readiness) {
        typealias Isolated = (isolated DataThread, Int32, Readiness) -> Void
        typealias Anywhere = (DataThread, Int32, Readiness) -> Void
        // `assumeIsolated` allocates for what its closure captures. This does what it does, without the
        // check: the loop calls its handler on its own thread only, which is this actor's executor.
        let serve: Isolated = { thread, descriptor, readiness in thread.serve(descriptor, readiness)
        }
        unsafe unsafeBitCast(serve, to: Anywhere.self)(
            self, Int32(truncatingIfNeeded: token), readiness)
    }

    package nonisolated func turnEnded() -> Rest {
        typealias Isolated = (isolated DataThread) -> Rest
        typealias Anywhere = (DataThread) -> Rest
        let finish: Isolated = { $0.finishTurn() }
        return unsafe unsafeBitCast(finish, to: Anywhere.self)(self)
    }

    private func serve(_ descriptor: Int32, _ readiness: Readiness) {
        guard let connection = connections[descriptor] else {
            return serveChannel(descriptor, readiness)
        }
        if !readiness.isDisjoint(with: .hungUp) {
            settle(connection, connection.receive(isGone: true))
        } else if connection.isBlocked {
            settle(connection, connection.send())
        } else {
            settle(connection, connection.receive())
        }
    }

    private func settle(_ connection: Connection, _ verdict: Connection.Verdict) {
        switch verdict {
        case .goesOn:
            let interest = connection.interest
            if watched[connection.descriptor] ?? [] != interest { watch(connection, interest) }
            if connection.isStalled {
                line.append(connection)
                if connection.hasYielded { hasYielded = true }
            }
            if connection.hasHiddenInput { hidden.insert(connection.descriptor) }
        case .closed(let reason):
            if reason == .handedOver {
                if let stands = connection.handOver() { standing.append(stands) }
            } else if reason != .disconnected {
                log.notice("closing a connection: \(reason)")
            }
            loop.unwatch(connection.descriptor)
            watched[connection.descriptor] = nil
            line.remove(connection)
            hidden.remove(connection.descriptor)
            connections[connection.descriptor] = nil
        }
    }

    private func watch(_ connection: Connection, _ interest: Readiness) {
        watch(connection.descriptor, interest)
    }

    private func watch(_ descriptor: Int32, _ interest: Readiness) {
        let wasWatched = watched[descriptor] != nil
        // A hang-up is reported whether asked for or not, again and again: a connection that only waits
        // for the engine is not watched at all.
        guard !interest.isEmpty else {
            loop.unwatch(descriptor)
            watched[descriptor] = nil
            return
        }
        watched[descriptor] = interest
        do throws(ReactorError) {
            if wasWatched {
                try loop.rewatch(descriptor, for: interest, token: UInt64(descriptor))
            } else {
                try loop.watch(descriptor, for: interest, token: UInt64(descriptor))
            }
        } catch {
            log.error("a connection cannot be watched: \(error)")
        }
    }

    private func finishTurn() -> Rest {
        let now = clinux_monotonic_nanoseconds()
        var isBusy = false
        var rest = Int32.max
        for volume in volumes.values {
            if volume.advance(now: now) { isBusy = true }
            sendAnswers(of: volume)
            if volume.hasRemoteMembers, watchChannels(of: volume) { isBusy = true }
            rest = min(rest, volume.tickInterval)
        }
        for snapshot in snapshots.values {
            let broken = snapshot.flush(now: now)
            sendAnswers(of: snapshot)
            if let broken { forget(broken) }
            if snapshot.isBroken { rest = min(rest, Self.brokenRest) }
            guard let channel = snapshot.channel else { continue }
            if channels[channel.descriptor] == nil {
                channels[channel.descriptor] = .snapshot(snapshot)
            }
            if watch(channel) {
                isBusy = true
                snapshot.receive()
                sendAnswers(of: snapshot)
            }
        }
        hasYielded = false
        if !line.isEmpty { askThoseInLine() }
        if !hidden.isEmpty, receiveHidden() { isBusy = true }
        if !line.isEmpty {
            for volume in volumes.values { rest = min(rest, volume.budget.rest) }
            for snapshot in snapshots.values { rest = min(rest, snapshot.budget.rest) }
        }
        if isBusy || hasYielded { return .none }
        return rest == .max ? .untilWoken : .atMost(rest)
    }

    /// Goes on with those whose requests wait, as far as there is room.
    private func askThoseInLine() {
        for volume in volumes.values { volume.budget.beginRound() }
        for snapshot in snapshots.values { snapshot.budget.beginRound() }
        line.beginRound()
        while let descriptor = line.next() {
            guard let connection = connections[descriptor] else { continue }
            connection.isInLine = false
            let before = connection.input.unreadCount
            settle(connection, connection.resume())
            if connection.isInLine, connection.input.unreadCount < before { line.stepBack() }
        }
        line.endRound()
        for volume in volumes.values { volume.flushChannels() }
    }

    /// Goes on with what has been decrypted; true when that is not all.
    private func receiveHidden() -> Bool {
        let waiting = hidden
        hidden.removeAll(keepingCapacity: true)
        for descriptor in waiting {
            guard let connection = connections[descriptor] else { continue }
            settle(connection, connection.receive())
        }
        for volume in volumes.values { volume.flushChannels() }
        return !hidden.isEmpty
    }

    /// Sends what was answered outside of its connection's turn.
    ///
    /// To be called between any two receives from a channel: what was received first is sent from where it
    /// is, or copied aside.
    private func sendAnswers(of volume: Volume) {
        volume.forEachUnsent { connection in
            settle(connection, connection.send())
            if connection.isBlocked { volume.detach(connection) }
        }
        forgetReleased(of: volume)
    }

    private func sendAnswers(of snapshot: Snapshot) {
        snapshot.forEachUnsent { connection in
            settle(connection, connection.send())
            if connection.isBlocked { snapshot.detach(connection) }
        }
    }

    // MARK: Channels to far members

    /// Whose channel a descriptor is.
    private enum ChannelOwner {
        case volume(Volume, MemberIndex)
        case snapshot(Snapshot)
    }

    private func serveChannel(_ descriptor: Int32, _ readiness: Readiness) {
        switch channels[descriptor] {
        case .volume(let volume, let member): volume.receive(from: member)
        case .snapshot(let snapshot): snapshot.receive()
        case nil: loop.unwatch(descriptor)
        }
    }

    /// Watches the channels that a volume has now; true when one has more than its descriptor tells.
    private func watchChannels(of volume: Volume) -> Bool {
        var hasMore = false
        for member in volume.remoteMembers {
            let hasHiddenInput = volume.links[member.number]?.use { channel in
                if channels[channel.descriptor] == nil {
                    channels[channel.descriptor] = .volume(volume, member)
                }
                return watch(channel)
            }
            guard hasHiddenInput == true else { continue }
            hasMore = true
            volume.receive(from: member)
            sendAnswers(of: volume)
        }
        return hasMore
    }

    /// Watches a channel for what it waits for now; true when it has more than its descriptor tells.
    private func watch(_ channel: RegionChannel) -> Bool {
        let interest = channel.interest
        if watched[channel.descriptor] ?? [] != interest { watch(channel.descriptor, interest) }
        return channel.hasHiddenInput
    }

    func forgetReleased(of volume: Volume) {
        for channel in volume.takeReleased() { forget(channel) }
    }

    /// Forgets a channel; to be called before its descriptor is closed.
    func forget(_ channel: RegionChannel) {
        loop.unwatch(channel.descriptor)
        watched[channel.descriptor] = nil
        channels[channel.descriptor] = nil
    }

    // MARK: Connections

    /// Takes over a plain connection whose handshake is done.
    package func adopt(
        _ descriptor: Int32, export: String, terms: TransmissionTerms = TransmissionTerms(),
        received: [UInt8]
    ) {
        adopt(
            SocketStream(plain: descriptor), export: export, terms: terms, received: received,
            counted: nil)
    }

    /// Takes over a connection whose handshake is done; closes it when its export is gone.
    package func adopt(
        _ stream: SocketStream, export: String, terms: TransmissionTerms, received: [UInt8],
        counted: CountedConnection?
    ) {
        let target: ConnectionTarget
        if let volume = volumes.values.first(where: { $0.name == export }) {
            target = .volume(volume)
        } else if let snapshot = snapshots.values.first(where: { $0.name == export }) {
            target = .snapshot(snapshot)
        } else {
            return
        }
        // (Who had chosen an export before the end was announced hears of it here.)
        guard !isDraining || isAnnouncing else { return }
        let connection = Connection(
            stream, target: target, terms: terms, received: received, counted: counted)
        let descriptor = connection.descriptor
        connections[descriptor] = connection
        do throws(ReactorError) {
            try loop.watch(descriptor, for: .readable, token: UInt64(descriptor))
            watched[descriptor] = .readable
        } catch {
            log.error("a connection cannot be watched: \(error)")
            connections[descriptor] = nil
            return
        }
        if !received.isEmpty || connection.hasHiddenInput {
            settle(connection, connection.resume())
        }
    }

    /// Takes no more requests, answers those that are in flight, and closes all connections.
    ///
    /// - Parameters:
    ///   - handingOver: they are to be had by `takeStanding` then, for another process to go on with.
    ///   - announcing: the others are not closed yet: what they ask for is answered with ESHUTDOWN, until their
    ///     clients leave.
    /// - Returns: False when some are still there: call again.
    package func drain(handingOver: Bool = false, announcing: Bool = false) -> Bool {
        isDraining = true
        isAnnouncing = announcing
        for connection in Array(connections.values) {
            let stands = handingOver && connection.canStand
            if announcing, !stands {
                settle(connection, connection.announceShutdown())
            } else {
                settle(connection, connection.leave(stands ? .handedOver : .disconnected))
            }
        }
        guard connections.isEmpty else { return false }
        for volume in volumes.values { volume.settle() }
        return true
    }

    /// The connections that stand; the caller has them from now on.
    package func takeStanding() -> [StandingConnection] {
        defer { standing = [] }
        return standing
    }

    func connections(of volume: Volume) -> [Connection] {
        connections.values.filter {
            if case .volume(let other) = $0.target { other === volume } else { false }
        }
    }

    func closeConnections(_ affected: [Connection]) {
        for connection in affected {
            switch connection.leave(.disconnected) {
            case .closed: settle(connection, .closed(.disconnected))
            case .goesOn:
                // Whoever does not even take its replies gets none.
                settle(connection, .closed(.disconnected))
            }
        }
    }
}
