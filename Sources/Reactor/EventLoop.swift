// One thread, one epoll, run to completion: and an executor, so that an actor can live on it.
//
//     epoll_wait ──▶ ready descriptors ──▶ handler ──▶ jobs from other threads ──▶ end of turn ─┐
//         ▲                                                                                     │
//         └── sleeps until something is ready, or not at all when the handler has more to do ───┘
//
// What the loop's handler owns is touched by this thread alone: no locks on the way of a request. Other
// threads reach it by calling the actor, whose jobs arrive here through a mailbox and an eventfd.

import CLinux
import Glibc
import Synchronization

/// Why a loop or socket could not be set up.
public enum ReactorError: Error, Hashable, CustomStringConvertible {
    case system(call: String, errno: Int32)
    case addressInUse(String)
    case badAddress(String)
    case pathTooLong(String)
    /// A file that is no socket stands there; it is not ours to replace.
    case notASocket(String)
    /// What was passed to this process is nothing to accept connections from.
    case notListening(descriptor: Int32)

    public var description: String {
        switch self {
        case .system(let call, let code):
            unsafe "\(call) failed: \(String(cString: strerror(code)))"
        case .addressInUse(let address):
            "something listens at \(address) already; stop it or choose another address"
        case .badAddress(let address):
            "'\(address)' is no address: write unix:PATH or tcp:HOST:PORT"
        case .notASocket(let path): "\(path) exists and is no socket; choose another path"
        case .notListening(let descriptor):
            "descriptor \(descriptor), passed by the service manager, is no listening Unix or TCP socket: "
                + "see the .socket unit"
        case .pathTooLong(let path):
            "\(path) is longer than a socket address may be (107 bytes); choose a shorter one"
        }
    }
}

/// What a descriptor is watched for.
public struct Readiness: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let readable = Readiness(rawValue: EPOLLIN.rawValue)
    public static let writable = Readiness(rawValue: EPOLLOUT.rawValue)
    /// Reported whether watched for or not.
    public static let hungUp = Readiness(rawValue: EPOLLHUP.rawValue | EPOLLERR.rawValue)
}

/// How long a loop may sleep after a turn.
public enum Rest: Sendable {
    /// More is to be done at once.
    case none
    /// In milliseconds.
    case atMost(Int32)
    case untilWoken
}

/// Whoever owns what a loop watches; called on the loop's thread only.
public protocol EventHandler: AnyObject, Sendable {
    /// A descriptor watched under `token` is ready.
    func ready(_ token: UInt64, _ readiness: Readiness)
    /// All that was ready has been handled.
    func turnEnded() -> Rest
}

/// A thread that waits for descriptors and runs the jobs of actors.
public final class EventLoop: SerialExecutor {
    private static let wakeToken = UInt64.max
    /// How many ready descriptors are taken at once.
    private static let batch = 64

    private struct Mailbox {
        var jobs: [UnownedJob] = []
        var isStopped = false
        var thread: pthread_t?
    }

    /// How long the loop looks for more before it sleeps, in nanoseconds.
    ///
    /// Waking a sleeping processor takes tens of microseconds, most of all in a virtual machine; a
    /// client that just had an answer usually asks again sooner. So the loop stays awake for a moment,
    /// giving way to whoever else wants its processor; a loop without traffic sleeps as ever.
    private static let vigil: UInt64 = 50_000

    private let keepsVigil: Bool
    private let epoll: Int32
    private let wakeup: Int32
    private let mailbox = Mutex(Mailbox())
    public let name: String

    /// A loop whose thread is not running yet.
    ///
    /// With `keepsVigil` it stays awake for a moment after each event, unless there is one processor.
    public init(name: String, keepsVigil: Bool = false) throws(ReactorError) {
        self.name = name
        self.keepsVigil = keepsVigil && sysconf(Int32(_SC_NPROCESSORS_ONLN)) > 1
        epoll = epoll_create1(Int32(EPOLL_CLOEXEC))
        guard epoll >= 0 else { throw .system(call: "epoll_create1", errno: errno) }
        wakeup = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
        guard wakeup >= 0 else { throw .system(call: "eventfd", errno: errno) }
        try watch(wakeup, for: .readable, token: Self.wakeToken)
    }

    deinit {
        close(wakeup)
        close(epoll)
    }

    /// Starts the thread; `handler` is asked for by it alone.
    public func start(_ handler: any EventHandler) {
        let loop = self
        Thread.detach(name: name) { loop.run(handler) }
    }

    /// Makes the thread end after its turn.
    public func stop() {
        mailbox.withLock { $0.isStopped = true }
        wake()
    }

    // MARK: Watching, from the loop's thread (or before it starts)

    /// Starts to watch a descriptor.
    public func watch(_ descriptor: Int32, for readiness: Readiness, token: UInt64)
        throws(ReactorError)
    {
        try control(EPOLL_CTL_ADD, descriptor, readiness, token)
    }

    /// Changes what a descriptor is watched for.
    public func rewatch(_ descriptor: Int32, for readiness: Readiness, token: UInt64)
        throws(ReactorError)
    {
        try control(EPOLL_CTL_MOD, descriptor, readiness, token)
    }

    /// Stops watching a descriptor; to be called before it is closed.
    public func unwatch(_ descriptor: Int32) {
        _ = epoll_ctl(epoll, EPOLL_CTL_DEL, descriptor, nil)
    }

    private func control(
        _ operation: Int32, _ descriptor: Int32, _ readiness: Readiness, _ token: UInt64
    )
        throws(ReactorError)
    {
        var event = unsafe epoll_event(events: readiness.rawValue, data: epoll_data_t(u64: token))
        guard unsafe epoll_ctl(epoll, operation, descriptor, &event) == 0 else {
            throw .system(call: "epoll_ctl", errno: errno)
        }
    }

    // MARK: The executor

    public func enqueue(_ job: consuming ExecutorJob) {
        let unowned = UnownedJob(job)
        let wasEmpty = mailbox.withLock { mailbox in
            mailbox.jobs.append(unowned)
            return mailbox.jobs.count == 1
        }
        if wasEmpty { wake() }
    }

    public func isIsolatingCurrentContext() -> Bool? { isCurrent }

    public func checkIsolated() {
        precondition(isCurrent, "this runs on the thread of the loop '\(name)' only")
    }

    private var isCurrent: Bool { mailbox.withLock { $0.thread } == pthread_self() }

    private func wake() {
        var one: UInt64 = 1
        unsafe write(wakeup, &one, 8)
    }

    // MARK: The loop

    /// Runs the loop on the calling thread, until `stop`.
    public func run(_ handler: any EventHandler) {
        mailbox.withLock { $0.thread = pthread_self() }
        var rest = Rest.untilWoken
        while unsafe withUnsafeTemporaryAllocation(
            of: epoll_event.self, capacity: Self.batch,
            { events in unsafe turn(handler, events, &rest) })
        {}
    }

    /// One turn; false when the loop is to end.
    private func turn(
        _ handler: any EventHandler, _ events: UnsafeMutableBufferPointer<epoll_event>,
        _ rest: inout Rest
    ) -> Bool {
        let timeout: Int32 =
            switch rest {
            case .none: 0
            case .atMost(let milliseconds): milliseconds
            case .untilWoken: -1
            }
        var count: Int32 = 0
        if keepsVigil, timeout != 0 {
            let end = clinux_monotonic_nanoseconds() + Self.vigil
            repeat {
                count = unsafe epoll_wait(epoll, events.baseAddress, Int32(Self.batch), 0)
                if count == 0 { sched_yield() }
            } while count == 0 && clinux_monotonic_nanoseconds() < end
        }
        if count == 0 {
            count = unsafe epoll_wait(epoll, events.baseAddress, Int32(Self.batch), timeout)
        }
        var woken = false
        for index in 0..<max(0, Int(count)) {
            let token = unsafe events[index].data.u64
            if token == Self.wakeToken {
                woken = true
            } else {
                handler.ready(token, Readiness(rawValue: unsafe events[index].events))
            }
        }
        if woken {
            guard runJobs() else { return false }
        }
        rest = handler.turnEnded()
        return true
    }

    private func runJobs() -> Bool {
        var count: UInt64 = 0
        unsafe read(wakeup, &count, 8)
        let (jobs, isStopped) = mailbox.withLock { mailbox in
            let jobs = mailbox.jobs
            mailbox.jobs.removeAll(keepingCapacity: true)
            return (jobs, mailbox.isStopped)
        }
        for job in jobs { unsafe job.runSynchronously(on: asUnownedSerialExecutor()) }
        return !isStopped
    }
}
