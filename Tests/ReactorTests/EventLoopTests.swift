// A loop is one thread: events, jobs of actors and the end of each turn come one after the other on it.

import CLinux
import Glibc
import Reactor
import Synchronization
import Testing

// (Threads are told apart by `gettid`: `pthread_self` is declared to be constant, so the compiler may move
// it across an `await`.)

/// What a handler was told.
private enum Event: Sendable, Equatable {
    case ready(UInt64, UInt32, thread: pid_t)
    case handlerGone
}

/// Tells what it is told, and reads what can be read so that it is told once.
private final class Recorder: EventHandler {
    let stream: AsyncStream<Event>
    private let continuation: AsyncStream<Event>.Continuation
    private let turnCount = Atomic<Int>(0)
    private let rest: Rest
    private let descriptors: [UInt64: Int32]

    init(rest: Rest = .untilWoken, reading descriptors: [UInt64: Int32] = [:]) {
        self.rest = rest
        self.descriptors = descriptors
        (stream, continuation) = AsyncStream.makeStream()
    }

    deinit { continuation.yield(.handlerGone) }

    var turns: Int { turnCount.load(ordering: .sequentiallyConsistent) }

    func ready(_ token: UInt64, _ readiness: Readiness) {
        if let descriptor = descriptors[token], readiness.contains(.readable) {
            var bytes = [UInt8](repeating: 0, count: 64)
            _ = recv(descriptor, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        }
        continuation.yield(.ready(token, readiness.rawValue, thread: gettid()))
    }

    func turnEnded() -> Rest {
        turnCount.add(1, ordering: .sequentiallyConsistent)
        return rest
    }
}

/// Lives on a loop.
private actor Resident {
    nonisolated let loop: EventLoop
    nonisolated var unownedExecutor: UnownedSerialExecutor { loop.asUnownedSerialExecutor() }
    private(set) var numbers: [Int] = []

    init(_ loop: EventLoop) { self.loop = loop }

    func thread() -> pid_t { gettid() }

    func threadName() -> String {
        var name = [CChar](repeating: 0, count: 32)
        pthread_getname_np(pthread_self(), &name, name.count)
        return String(decoding: name.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
    }

    func add(_ number: Int) { numbers.append(number) }
    func watch(_ descriptor: Int32, _ readiness: Readiness, _ token: UInt64) throws {
        try loop.watch(descriptor, for: readiness, token: token)
    }
    func rewatch(_ descriptor: Int32, _ readiness: Readiness, _ token: UInt64) throws {
        try loop.rewatch(descriptor, for: readiness, token: token)
    }
    func unwatch(_ descriptor: Int32) { loop.unwatch(descriptor) }
    func check() { preconditionIsolated() }
}

@Suite(.timeLimit(.minutes(1))) struct EventLoopTests {
    private static func pair() throws -> (Int32, Int32) {
        var ends: [Int32] = [-1, -1]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0 else {
            throw ReactorError.system(call: "socketpair", errno: errno)
        }
        return (ends[0], ends[1])
    }

    private static func send(_ descriptor: Int32) {
        var byte: UInt8 = 1
        _ = write(descriptor, &byte, 1)
    }

    @Test func jobsRunOnTheLoopsThread() async throws {
        let loop = try EventLoop(name: "a-loop-with-a-long-name")
        loop.start(Recorder())
        defer { loop.stop() }
        let resident = Resident(loop)
        let thread = await resident.thread()
        #expect(await resident.threadName() == "a-loop-with-a-l")
        for _ in 0..<100 { #expect(await resident.thread() == thread) }
        #expect(await Resident(loop).thread() == thread)
        let other = try EventLoop(name: "other")
        other.start(Recorder())
        defer { other.stop() }
        #expect(await Resident(other).thread() != thread)
        await resident.check()
        #expect(loop.isIsolatingCurrentContext() == false)
    }

    @Test func jobsRunOneAfterTheOther() async throws {
        let loop = try EventLoop(name: "jobs")
        loop.start(Recorder())
        defer { loop.stop() }
        let resident = Resident(loop)
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<8 {
                group.addTask {
                    for number in 0..<500 { await resident.add(task * 500 + number) }
                }
            }
        }
        let numbers = await resident.numbers
        #expect(numbers.sorted() == Array(0..<4000), "none is lost")
        for task in 0..<8 {
            let own = numbers.filter { $0 / 500 == task }
            #expect(own == own.sorted(), "each caller's come in order")
        }
    }

    /// Jobs may wait for a loop that does not run yet.
    @Test func jobsWaitForTheStart() async throws {
        let loop = try EventLoop(name: "late")
        let resident = Resident(loop)
        async let thread = resident.thread()
        usleep(10_000)
        loop.start(Recorder())
        defer { loop.stop() }
        let first = await thread
        #expect(await resident.thread() == first)
    }

    @Test func otherThreadsAreNotTheLoop() async {
        await #expect(processExitsWith: .failure) {
            guard let loop = try? EventLoop(name: "checked") else { exit(0) }
            loop.start(Recorder())
            let resident = Resident(loop)
            await resident.check()
            resident.preconditionIsolated()
            exit(0)
        }
    }

    @Test(arguments: [false, true])
    func eventsArriveOnTheThread(keepsVigil: Bool) async throws {
        let loop = try EventLoop(name: "events", keepsVigil: keepsVigil)
        let (near, far) = try Self.pair()
        let recorder = Recorder(reading: [42: near])
        try loop.watch(near, for: .readable, token: 42)
        loop.start(recorder)
        defer { loop.stop() }
        let resident = Resident(loop)
        let thread = await resident.thread()
        var events = recorder.stream.makeAsyncIterator()
        for _ in 0..<20 {
            Self.send(far)
            #expect(
                await events.next()
                    == .ready(42, Readiness.readable.rawValue, thread: thread))
        }
        close(far)
        guard case .ready(42, let readiness, thread) = await events.next() else {
            Issue.record("no event for a peer that is gone")
            return
        }
        #expect(!Readiness.hungUp.isDisjoint(with: Readiness(rawValue: readiness)))
        await resident.unwatch(near)
        close(near)
    }

    @Test func watchingCanChangeAndEnd() async throws {
        let loop = try EventLoop(name: "watching")
        let (near, far) = try Self.pair()
        let (other, otherFar) = try Self.pair()
        defer { for descriptor in [near, far, other, otherFar] { close(descriptor) } }
        let recorder = Recorder(reading: [1: near, 3: other])
        loop.start(recorder)
        defer { loop.stop() }
        let resident = Resident(loop)
        let thread = await resident.thread()
        var events = recorder.stream.makeAsyncIterator()
        try await resident.watch(near, .readable, 1)
        try await resident.watch(other, .readable, 3)
        Self.send(far)
        #expect(await events.next() == .ready(1, Readiness.readable.rawValue, thread: thread))
        try await resident.rewatch(near, .writable, 2)
        #expect(await events.next() == .ready(2, Readiness.writable.rawValue, thread: thread))
        await resident.unwatch(near)
        Self.send(far)
        Self.send(otherFar)
        // (It was told again and again that it could write, until it was not watched any more.)
        var event = await events.next()
        while case .ready(2, _, _) = event { event = await events.next() }
        #expect(event == .ready(3, Readiness.readable.rawValue, thread: thread))
        await #expect(throws: ReactorError.system(call: "epoll_ctl", errno: EBADF)) {
            try await resident.watch(-1, .readable, 9)
        }
        await #expect(throws: ReactorError.system(call: "epoll_ctl", errno: EEXIST)) {
            try await resident.watch(other, .readable, 9)
        }
        await #expect(throws: ReactorError.system(call: "epoll_ctl", errno: ENOENT)) {
            try await resident.rewatch(near, .readable, 9)
        }
    }

    @Test func restIsWhatTheHandlerWants() async throws {
        for (rest, goesOn) in [(Rest.none, true), (.atMost(1), true), (.untilWoken, false)] {
            let loop = try EventLoop(name: "rest")
            let recorder = Recorder(rest: rest)
            loop.start(recorder)
            _ = await Resident(loop).thread()
            usleep(20_000)
            let before = recorder.turns
            usleep(100_000)
            #expect((recorder.turns > before + 2) == goesOn, "\(rest)")
            if !goesOn { #expect(recorder.turns == before) }
            loop.stop()
        }
    }

    @Test func stopEndsTheThread() async throws {
        let loop = try EventLoop(name: "stopping")
        var recorder: Recorder? = Recorder(rest: .none)
        let stream = try #require(recorder?.stream)
        if let recorder { loop.start(recorder) }
        recorder = nil
        _ = await Resident(loop).thread()
        loop.stop()
        // The thread lets go of its handler, so nothing is called any more.
        for await event in stream {
            #expect(event == .handlerGone)
            break
        }
    }

    @Test func threadsHaveTheirName() async {
        let length = await withCheckedContinuation { continuation in
            Thread.detach(name: "short") {
                var name = [CChar](repeating: 0, count: 32)
                pthread_getname_np(pthread_self(), &name, name.count)
                continuation.resume(returning: name.prefix { $0 != 0 }.count)
            }
        }
        #expect(length == 5)
    }

    @Test func sentencesNameTheCall() {
        let error = ReactorError.system(call: "epoll_ctl", errno: EBADF)
        #expect(error.description == "epoll_ctl failed: Bad file descriptor")
    }
}
