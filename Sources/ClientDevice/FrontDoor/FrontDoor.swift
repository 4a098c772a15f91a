// Where clients arrive: accepts, negotiates, and hands each connection to the thread of its export.
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

    /// The most handshakes under way; further connections wait in the listener's backlog.
    static let mostHandshakes = 512
    /// How long a handshake may take, in nanoseconds.
    static let handshakeTime: UInt64 = 30_000_000_000

    /// How long nobody is accepted when nobody more can be had, in nanoseconds.
    static let fullRest: UInt64 = 100_000_000

    private let log: Logger
    private var listeners: [Listener]
    private var handshakes: [Int32: Handshake] = [:]
    private var catalog = ExportCatalog()
    private var threads: [String: DataThread] = [:]
    private var isOpen = false
    /// Nobody can be accepted now; the listeners are not watched, since they would be ready all the time.
    private var isFull = false
    private var fullUntil: UInt64 = 0

    package init(listeners: [Listener], log: Logger) throws(ReactorError) {
        self.log = log
        self.listeners = listeners
        loop = try EventLoop(name: "front-door")
    }

    /// Starts to accept; until then clients wait in the listeners' backlog rather than being told that
    /// their export does not exist.
    package func open() throws(ReactorError) {
        isOpen = true
        for listener in listeners {
            try loop.watch(
                listener.descriptor, for: .readable, token: UInt64(listener.descriptor))
        }
    }

    /// Accepts at one more address.
    package func add(_ listener: Listener) throws(ReactorError) {
        listeners.append(listener)
        guard isOpen, !isFull else { return }
        try loop.watch(listener.descriptor, for: .readable, token: UInt64(listener.descriptor))
    }

    /// Where clients are accepted.
    package var addresses: [Address] { listeners.map(\.address) }

    package nonisolated func start() { loop.start(self) }

    /// Makes these exports the ones that clients find, each served by its thread.
    package func publish(_ exports: [(export: Export, thread: DataThread)]) {
        catalog = ExportCatalog(exports.map(\.export))
        threads = Dictionary(exports.map { ($0.export.name, $0.thread) }) { first, _ in first }
    }

    /// Accepts nobody any more and drops the handshakes under way.
    package func close() {
        isOpen = false
        for listener in listeners { loop.unwatch(listener.descriptor) }
        for descriptor in handshakes.keys { loop.unwatch(descriptor) }
        handshakes.removeAll()
    }

    // MARK: Events

    package nonisolated func ready(_ token: UInt64, _ readiness: Readiness) {
        assumeIsolated { $0.handle(Int32(truncatingIfNeeded: token), readiness) }
    }

    package nonisolated func turnEnded() -> Rest { assumeIsolated { $0.dropLate() } }

    private func handle(_ descriptor: Int32, _ readiness: Readiness) {
        if let listener = listeners.first(where: { $0.descriptor == descriptor }) {
            accept(from: listener)
        } else if let handshake = handshakes[descriptor] {
            go(on: handshake, readiness)
        }
    }

    private func accept(from listener: Listener) {
        while isOpen {
            guard handshakes.count < Self.mostHandshakes else {
                return pause("\(Self.mostHandshakes) handshakes are under way")
            }
            let descriptor: Int32
            switch listener.accept() {
            case .connection(let accepted): descriptor = accepted
            case .none: return
            case .exhausted(let code):
                return unsafe pause(String(cString: strerror(code)))
            }
            let handshake = Handshake(
                descriptor: descriptor,
                deadline: clinux_monotonic_nanoseconds() + Self.handshakeTime)
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

    /// Lets clients wait in the backlog for a moment.
    private func pause(_ reason: String) {
        guard !isFull else { return }
        isFull = true
        fullUntil = clinux_monotonic_nanoseconds() + Self.fullRest
        log.warning("new connections have to wait: \(reason)")
        for listener in listeners { loop.unwatch(listener.descriptor) }
    }

    private func resume() {
        guard isFull, isOpen else { return }
        isFull = false
        do throws(ReactorError) { try open() } catch { log.error("\(error)") }
    }

    private func go(on handshake: Handshake, _ readiness: Readiness) {
        guard handshake.outcome == .goesOn, readiness != .writable else {
            return settle(handshake, handshake.outcome)
        }
        guard let bytes = handshake.receive() else { return }
        guard !bytes.isEmpty else { return end(handshake, because: .disconnected) }
        settle(handshake, handshake.negotiation.receive(bytes.span, catalog: catalog))
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
            case .close(let reason): end(handshake, because: reason)
            case .transmission(let export, let terms):
                hand(over: handshake, to: export, terms)
            }
        }
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
        let descriptor = handshake.release()
        Task {
            await thread.adopt(
                descriptor, export: export.name, terms: terms, received: received)
        }
    }

    private func dropLate() -> Rest {
        guard !handshakes.isEmpty || isFull else { return .untilWoken }
        let now = clinux_monotonic_nanoseconds()
        for handshake in handshakes.values where handshake.deadline < now {
            log.notice("closing a connection in its handshake: it took too long")
            loop.unwatch(handshake.descriptor)
            handshakes[handshake.descriptor] = nil
        }
        if isFull {
            // (After a rest, not at once: what is short may stay short.)
            guard now >= fullUntil else { return .atMost(100) }
            resume()
        }
        return .atMost(1000)
    }
}

/// One connection before its transmission phase.
final class Handshake {
    enum SendOutcome { case all, blocked, broken }

    private(set) var descriptor: Int32
    let deadline: UInt64
    var negotiation = Negotiation()
    var outcome = NegotiationOutcome.goesOn
    var watched = Readiness.readable

    init(descriptor: Int32, deadline: UInt64) {
        self.descriptor = descriptor
        self.deadline = deadline
    }

    deinit { if descriptor >= 0 { Glibc.close(descriptor) } }

    /// Gives the descriptor away.
    func release() -> Int32 {
        defer { descriptor = -1 }
        return descriptor
    }

    /// What has arrived: empty at the end, nil when there is nothing now.
    func receive() -> [UInt8]? {
        var count = 0
        let bytes = unsafe [UInt8](unsafeUninitializedCapacity: 4096) { buffer, filled in
            count = unsafe recv(descriptor, buffer.baseAddress, buffer.count, 0)
            filled = max(0, count)
        }
        if count < 0 { return errno == EAGAIN || errno == EINTR ? nil : [] }
        return bytes
    }

    /// Sends as much of the output as the socket takes.
    func send() -> SendOutcome {
        while !negotiation.output.isEmpty {
            let count = unsafe negotiation.output.withUnsafeBytes {
                unsafe Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            guard count >= 0 else {
                if errno == EINTR { continue }
                return errno == EAGAIN ? .blocked : .broken
            }
            negotiation.output.removeFirst(count)
        }
        return .all
    }
}
