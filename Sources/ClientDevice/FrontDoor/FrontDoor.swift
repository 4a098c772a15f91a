// Where clients arrive: accepts, negotiates, and hands each connection to the thread of its export.
//
//     accept ──▶ options ──STARTTLS──▶ TLS handshake ──▶ options ──GO──▶ the export's thread
//
// On a thread of its own, so that a handshake, however slow or hostile, costs the data path nothing.

package import BlockServer
import CLinux
import Glibc
package import Logging
import NBDProtocol
package import Reactor

/// An actor on its own event loop that owns the listeners and the handshakes under way.
package actor FrontDoor: EventHandler {
    package nonisolated let loop: EventLoop
    package nonisolated var unownedExecutor: UnownedSerialExecutor {
        unsafe loop.asUnownedSerialExecutor()
    }

    /// The most handshakes under way of those who came to one address; further ones wait in its backlog.
    static let mostHandshakes = 256

    /// How long nobody is accepted when nobody more can be had, in nanoseconds.
    static let fullRest: UInt64 = 100_000_000

    /// How often it is told that connections have to wait, in nanoseconds.
    private static let noticeInterval: UInt64 = 10_000_000_000

    private let log: Logger
    private var doorways: [Doorway]
    private var security: DoorSecurity
    private let limits: DoorLimits
    private let tally: ConnectionTally
    private var handshakes: [Int32: Handshake] = [:]
    private var catalog = ExportCatalog()
    private var threads: [String: DataThread] = [:]
    private var isOpen = false
    /// Listeners at which nobody can be accepted now, and until when: they are not watched, since they would
    /// be ready all the time.
    private var resting: [Int32: UInt64] = [:]
    private var nextNotice: UInt64 = 0

    /// Listens at these addresses, of which `own` is that which only this process's user can reach.
    package init(
        listeners: [Listener], own: Address? = nil, security: DoorSecurity = .open,
        limits: DoorLimits = DoorLimits(), log: Logger
    ) throws(ReactorError) {
        self.log = log
        self.limits = limits
        tally = ConnectionTally(limits)
        self.security = security
        doorways = listeners.map { Doorway(listener: $0, isOwn: $0.address == own) }
        loop = try EventLoop(name: "front-door")
    }

    /// Starts to accept; until then clients wait in the listeners' backlog rather than being told that
    /// their export does not exist.
    package func open() throws(ReactorError) {
        isOpen = true
        for doorway in doorways { try watch(doorway.listener) }
    }

    /// Accepts at one more address.
    package func add(_ listener: Listener) throws(ReactorError) {
        doorways.append(Doorway(listener: listener, isOwn: false))
        if isOpen { try watch(listener) }
    }

    private func watch(_ listener: Listener) throws(ReactorError) {
        try loop.watch(listener.descriptor, for: .readable, token: UInt64(listener.descriptor))
    }

    /// Where clients are accepted, and whether they have to speak TLS there.
    package var addresses: [(address: Address, needsTLS: Bool)] {
        doorways.map { ($0.listener.address, $0.policy(security) == .required) }
    }

    /// Treats connections that are accepted from now on by other rules; those that stand go on.
    package func adopt(_ security: DoorSecurity) { self.security = security }

    package nonisolated func start() { loop.start(self) }

    /// Makes these exports the ones that clients find, each served by its thread.
    package func publish(_ exports: [(export: Export, thread: DataThread)]) {
        catalog = ExportCatalog(exports.map(\.export))
        threads = Dictionary(exports.map { ($0.export.name, $0.thread) }) { first, _ in first }
    }

    /// Accepts nobody any more, and has those in their handshakes told that the server is about to end, whatever
    /// they ask for.
    package func announceShutdown() {
        shut()
        for handshake in handshakes.values { handshake.negotiation.announceShutdown() }
    }

    /// Whether nobody is in a handshake.
    package var isIdle: Bool { handshakes.isEmpty }

    private func shut() {
        isOpen = false
        for doorway in doorways { loop.unwatch(doorway.listener.descriptor) }
    }

    /// Accepts nobody any more and drops the handshakes under way.
    package func close() {
        shut()
        for descriptor in handshakes.keys { loop.unwatch(descriptor) }
        handshakes.removeAll()
    }

    // MARK: Events

    package nonisolated func ready(_ token: UInt64, _ readiness: Readiness) {
        assumeIsolated { $0.handle(Int32(truncatingIfNeeded: token), readiness) }
    }

    package nonisolated func turnEnded() -> Rest { assumeIsolated { $0.dropLate() } }

    private func handle(_ descriptor: Int32, _ readiness: Readiness) {
        if let doorway = doorways.first(where: { $0.listener.descriptor == descriptor }) {
            accept(from: doorway)
        } else if let handshake = handshakes[descriptor] {
            go(on: handshake)
        }
    }

    private func accept(from doorway: Doorway) {
        let listener = doorway.listener
        while isOpen {
            let under = handshakes.values.count { $0.doorway.listener === listener }
            guard under < Self.mostHandshakes else {
                return pause(listener, "\(under) handshakes are under way")
            }
            let total = tally.total
            guard total < limits.connections else {
                return pause(listener, "there are \(total) connections")
            }
            let descriptor: Int32
            switch listener.accept() {
            case .connection(let accepted): descriptor = accepted
            case .none: return
            case .exhausted(let code):
                return unsafe pause(listener, String(cString: strerror(code)))
            }
            let handshake = Handshake(
                descriptor, doorway, security,
                deadline: clinux_monotonic_nanoseconds()
                    + UInt64(limits.handshakeTime / .nanoseconds(1)))
            do throws(ReactorError) {
                try loop.watch(descriptor, for: .readable, token: UInt64(descriptor))
            } catch {
                log.error("a connection cannot be watched: \(error)")
                continue
            }
            handshakes[descriptor] = handshake
            settle(handshake, .goesOn)
        }
    }

    /// Lets clients of one address wait in its backlog for a moment.
    private func pause(_ listener: Listener, _ reason: String) {
        let now = clinux_monotonic_nanoseconds()
        loop.unwatch(listener.descriptor)
        resting[listener.descriptor] = now + Self.fullRest
        guard now >= nextNotice else { return }
        nextNotice = now + Self.noticeInterval
        log.warning("new connections at \(listener.address) have to wait: \(reason)")
    }

    private func resume(_ now: UInt64) {
        for doorway in doorways {
            let descriptor = doorway.listener.descriptor
            guard let until = resting[descriptor], now >= until else { continue }
            resting[descriptor] = nil
            guard isOpen else { continue }
            do throws(ReactorError) { try watch(doorway.listener) } catch { log.error("\(error)") }
        }
    }

    private func go(on handshake: Handshake) {
        if handshake.isShaking { return shake(handshake) }
        guard !handshake.isBlocked else {
            settle(handshake, handshake.outcome)
            if goesOn(handshake), handshake.negotiation.isHeldBack { take([], handshake) }
            if goesOn(handshake), handshake.stream.hasPending { read(handshake) }
            return
        }
        read(handshake)
    }

    /// Whether it is still there, in its options, and has nothing left to send.
    private func goesOn(_ handshake: Handshake) -> Bool {
        handshakes[handshake.descriptor] === handshake && handshake.outcome == .goesOn
            && !handshake.isShaking && !handshake.isBlocked
    }

    /// Has the negotiation go on with what was received.
    private func take(_ bytes: [UInt8], _ handshake: Handshake) {
        var bytes = bytes
        repeat {
            settle(handshake, handshake.negotiation.receive(bytes.span, catalog: catalog))
            bytes = []
        } while goesOn(handshake) && handshake.negotiation.isHeldBack
    }

    /// Takes the options that have arrived.
    private func read(_ handshake: Handshake) {
        repeat {
            guard let bytes = handshake.receive() else {
                return watch(handshake, for: .readable)
            }
            guard !bytes.isEmpty else {
                let failure = handshake.stream.failure
                return end(handshake, because: failure.map { .tls($0.ofClient) } ?? .disconnected)
            }
            catalog.occupancy = tally.occupancy
            take(bytes, handshake)
            // (Of what TLS has decrypted already, the descriptor tells nothing.)
        } while goesOn(handshake) && handshake.stream.hasPending
    }

    /// Sends what is to be sent, then does what the negotiation says.
    private func settle(_ handshake: Handshake, _ outcome: NegotiationOutcome) {
        handshake.outcome = outcome
        switch handshake.send() {
        case .broken: end(handshake, because: .disconnected)
        case .blocked: watch(handshake, for: .writable)
        case .all:
            switch outcome {
            case .goesOn: watch(handshake, for: .readable)
            case .startTLS: beginTLS(handshake)
            case .close(let reason): end(handshake, because: reason)
            case .transmission(let export, let terms):
                hand(over: handshake, to: export, terms)
            }
        }
    }

    private func beginTLS(_ handshake: Handshake) {
        guard let context = security.context else {
            return end(handshake, because: .tls("TLS is not spoken here any more"))
        }
        handshake.beginTLS(context)
        shake(handshake)
    }

    /// Goes on with the TLS handshake as far as it gets without waiting.
    private func shake(_ handshake: Handshake) {
        do throws(TLSError) {
            if let readiness = try handshake.stream.handshake() {
                return watch(handshake, for: readiness)
            }
        } catch {
            return end(handshake, because: .tls(error.ofClient))
        }
        let names = handshake.stream.peerNames
        handshake.isShaking = false
        handshake.outcome = .goesOn
        handshake.negotiation.becomeSecure(for: handshake.doorway.access(security, of: names))
        let sealing = handshake.stream.isSealedByKernel ? " (the kernel seals)" : ""
        log.debug(
            "a client is under TLS: \(names.map { "'\($0)'" }.joined(separator: ", "))\(sealing)")
        watch(handshake, for: .readable)
        read(handshake)
    }

    private func watch(_ handshake: Handshake, for readiness: Readiness) {
        guard handshake.watched != readiness else { return }
        handshake.watched = readiness
        try? loop.rewatch(
            handshake.descriptor, for: readiness, token: UInt64(handshake.descriptor))
    }

    private func end(_ handshake: Handshake, because reason: CloseReason) {
        if reason != .disconnected, reason != .aborted {
            log.notice("closing a connection in its handshake: \(reason)")
        }
        loop.unwatch(handshake.descriptor)
        handshakes[handshake.descriptor] = nil
    }

    private func hand(
        over handshake: Handshake, to export: Export, _ terms: TransmissionTerms
    ) {
        guard let thread = threads[export.name] else {
            return end(handshake, because: .unknownExport(export.name))
        }
        loop.unwatch(handshake.descriptor)
        handshakes[handshake.descriptor] = nil
        let received = handshake.negotiation.unread
        let stream = handshake.stream
        let counted = CountedConnection(export.name, tally)
        Task {
            await thread.adopt(
                stream, export: export.name, terms: terms, received: received, counted: counted)
        }
    }

    /// Hands connections of a process before to the threads of their exports; returns how many are served.
    package func readmit(_ connections: [StandingConnection]) async -> Int {
        var count = 0
        for connection in connections {
            guard let stream = SocketStream(connection.descriptor, resuming: connection.tls) else {
                log.warning("closing a connection from before: nothing can be made of its TLS")
                Glibc.close(connection.descriptor)
                continue
            }
            guard let thread = threads[connection.export] else {
                log.notice(
                    "closing a connection: there is no export '\(connection.export)' any more")
                continue
            }
            count += 1
            await thread.adopt(
                stream, export: connection.export, terms: connection.terms,
                received: connection.received, counted: CountedConnection(connection.export, tally))
        }
        return count
    }

    private func dropLate() -> Rest {
        guard !handshakes.isEmpty || !resting.isEmpty else { return .untilWoken }
        let now = clinux_monotonic_nanoseconds()
        for handshake in handshakes.values where handshake.deadline < now {
            log.notice("closing a connection in its handshake: it took too long")
            loop.unwatch(handshake.descriptor)
            handshakes[handshake.descriptor] = nil
        }
        guard !resting.isEmpty else { return .atMost(1000) }
        // (After a rest, not at once: what is short may stay short.)
        resume(now)
        return .atMost(100)
    }
}
