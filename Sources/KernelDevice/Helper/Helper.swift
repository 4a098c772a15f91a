// The process that keeps devices attached: the helper's logic, with a kernel and a clock around it.
//
//     kernel's events ─┐                      ┌─▶ a thread for each device: connect, RECONFIGURE ─┐
//     attach.sock ─────┼─▶ poll ─▶ logic ─▶ ──┤                                                    │
//     mailbox ─────────┘    ▲                 └─▶ look into /sys, log                             │
//                           └──────────────── results ◀───────────────────────────────────────────┘
//
// Memory may be short because a device waits for its server: writing pages out to it is what would free
// some. So this process keeps its own memory, and is the last to be killed for lack of it.

import CLinux
public import Logging
import Glibc
import NBDProtocol
import Reactor
import Synchronization

/// The helper of a machine; there is one.
public final class Helper: Sendable {
    private let directory: RuntimeDirectory
    private let facts = DeviceFacts()
    private let log: Logger
    private let wakeup: Int32
    private let mailbox = Mutex<[HelperLogic.Event]>([])

    /// Takes the lock.
    ///
    /// - Throws: `KernelDeviceError.helperRuns` when there is one already.
    public init(_ directory: RuntimeDirectory, log: Logger) throws(KernelDeviceError) {
        guard geteuid() == 0 else { throw .notRoot }
        try directory.make()
        try directory.lock()
        self.directory = directory
        self.log = log
        wakeup = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard wakeup >= 0 else { throw .system(call: "eventfd", errno: errno) }
    }

    /// Keeps devices attached until the process ends; `ready` is called when it does.
    public func run(ready: () -> Void) throws(KernelDeviceError) -> Never {
        Self.stayInMemory()
        let listener = try directory.listen()
        var logic = HelperLogic()
        var events = try subscribe()
        log.notice("keeping devices attached")
        perform(logic.handle(.tick, now: Self.now), &logic, &events)
        ready()
        while true {
            wait(for: [events?.descriptor ?? -1, listener, wakeup], until: logic.deadline)
            for event in news(from: events) {
                perform(logic.handle(event, now: Self.now), &logic, &events)
            }
            perform(logic.handle(.tick, now: Self.now), &logic, &events)
            answer(listener, &logic, &events)
        }
    }

    // MARK: Waiting

    private static var now: Duration { .nanoseconds(Int64(clinux_monotonic_nanoseconds())) }

    private func wait(for descriptors: [Int32], until deadline: Duration) {
        var entries = descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        let left = (deadline - Self.now) / .milliseconds(1)
        let limit = Int32(max(0, min(left.rounded(.up), 60_000)))
        _ = unsafe poll(&entries, nfds_t(entries.count), limit)
    }

    /// Nil when the kernel has no NBD devices now.
    private func subscribe() throws(KernelDeviceError) -> KernelNBD? {
        let events = try KernelNBD()
        try events?.subscribe()
        return events
    }

    /// All that has happened.
    private func news(from events: KernelNBD?) -> [HelperLogic.Event] {
        var count: UInt64 = 0
        unsafe read(wakeup, &count, 8)
        let results = mailbox.withLock { mailbox in
            defer { mailbox.removeAll() }
            return mailbox
        }
        do throws(KernelDeviceError) {
            return results + (try events?.deadLinks() ?? []).map { .linkDied($0) }
        } catch {
            log.warning("events of the kernel were lost: \(error)")
            return results + [.eventsLost]
        }
    }

    private func post(_ event: HelperLogic.Event) {
        mailbox.withLock { $0.append(event) }
        var one: UInt64 = 1
        unsafe write(wakeup, &one, 8)
    }

    // MARK: Acting

    private func perform(
        _ actions: [HelperLogic.Action], _ logic: inout HelperLogic, _ events: inout KernelNBD?
    ) {
        var rest = actions[...]
        while let action = rest.popFirst() {
            switch action {
            case .look:
                // The module may have been loaded since, or loaded anew: then its events are others.
                if logic.isIdle, let again = try? subscribe() { events = again }
                rest += logic.handle(.found(facts.attached()), now: Self.now)
            case .renew(let device, let attempt):
                Thread.detach(name: device.device.name) {
                    self.post(.renewed(device.device, attempt: attempt, self.renew(device)))
                }
            case .measure(let device, let attempt):
                Thread.detach(name: device.device.name) {
                    let size = Self.size(of: device.backend)
                    self.post(.measured(device.device, attempt: attempt, size: size))
                }
            case .resize(let device, let size): resize(device, size)
            case .tell(let note): tell(note)
            }
        }
    }

    /// Connects, and offers that to the kernel.
    private func renew(_ device: AttachedDevice) -> HelperLogic.Renewal {
        do throws(KernelDeviceError) {
            let connections = try ServerConnections(to: device.backend)
            let size = connections.facts.size
            let request = ReconfigureRequest(
                device: device.device, backend: device.backend,
                size: size != device.size && size > 0 ? size : nil)
            guard let kernel = try KernelNBD() else { return .detached }
            return try kernel.reconfigure(request, sockets: connections.descriptors)
                ? .given : .detached
        } catch {
            return .noServer(error.description)
        }
    }

    /// What the server says, in bytes; nil when it does not answer.
    private static func size(of backend: Backend) -> UInt64? {
        do throws(KernelDeviceError) {
            return try ServerConnection(to: backend, .know).facts.size
        } catch {
            return nil
        }
    }

    private func resize(_ device: AttachedDevice, _ size: UInt64) {
        let request = ReconfigureRequest(
            device: device.device, backend: device.backend, size: size)
        do throws(KernelDeviceError) {
            _ = try KernelNBD()?.reconfigure(request)
        } catch {
            log.error("\(device.device) keeps its size: \(error)")
        }
    }

    private func tell(_ note: HelperLogic.Note) {
        switch note {
        case .keeps(let device):
            log.notice(
                "\(device.device): keeping it attached to \(device.backend.export) of \(device.backend.directory)"
            )
        case .isGone(let device): log.notice("\(device): detached")
        case .waits(let device, let reason):
            log.warning("\(device): a connection died, and I/O waits: \(reason)")
        case .isBack(let device, let time):
            log.notice("\(device): connected again after \(Int64(time / .milliseconds(1))) ms")
        case .resized(let device, let bytes): log.notice("\(device): has \(bytes) bytes now")
        }
    }

    // MARK: Telling

    /// Tells whoever asks; before that it looks, so that a new device is in good hands when it is named.
    private func answer(
        _ listener: Int32, _ logic: inout HelperLogic, _ events: inout KernelNBD?
    ) {
        while case let descriptor = clinux_accept(listener), descriptor >= 0 {
            defer { close(descriptor) }
            let user = clinux_peer_uid(descriptor)
            guard user == 0 || user == geteuid() else { continue }
            perform([.look], &logic, &events)
            let report = HelperReport(
                process: getpid(),
                devices: logic.devices(now: Self.now).map { device, waiting in
                    HelperReport.Device(
                        device: device.device.path,
                        waitingMilliseconds: waiting.map { Int64($0 / .milliseconds(1)) })
                })
            let bytes = report.bytes
            _ = unsafe send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL | MSG_DONTWAIT))
        }
    }

    // MARK: Short memory

    /// Each is a precaution of its own; a machine that refuses one (a container) is served all the same.
    private static func stayInMemory() {
        clinux_keep_memory()
        let score = unsafe clinux_open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0)
        if score >= 0 {
            _ = unsafe write(score, "-1000", 5)
            close(score)
        }
        unsafe chdir("/")
    }
}
