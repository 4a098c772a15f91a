// Many seeds on several threads. Each thread takes a chunk of seeds at a time, in ascending order, and
// adds what it saw to one tally. When a seed fails, only smaller seeds are still run: the failing seed
// that is told is always the smallest, however many threads there were.

import Simulation
import Synchronization

/// Runs of seeds.
final class Campaign: Sendable {
    /// What the runs so far amount to.
    struct Tally: Sendable {
        var seeds = 0
        /// Requests of clients.
        var operations = 0
        var events = 0
        var probes = ProbeCounts()
        /// The smallest seed that failed, and what was wrong.
        var failure: (seed: UInt64, violations: [String])?

        mutating func add(_ report: RunReport) {
            operations += report.operations
            events += report.events
            probes.merge(report.probes)
        }
    }

    /// The most seeds that a thread takes at once.
    private static let largestChunk: UInt64 = 32

    private struct State {
        var next: UInt64
        var tally = Tally()
        var isStopped = false
        var workersRunning = 0
        /// By worker.
        var running: [UInt64?]
    }

    let seeds: Range<UInt64>
    private let jobs: Int
    private let chunk: UInt64
    private let run: @Sendable (UInt64) -> RunReport
    private let state: Mutex<State>

    /// Runs of all `seeds` on `jobs` threads, at least 1; `run` is called on any of them.
    init(seeds: Range<UInt64>, jobs: Int, run: @escaping @Sendable (UInt64) -> RunReport) {
        precondition(jobs > 0, "a campaign without threads")
        self.seeds = seeds
        self.jobs = jobs
        self.run = run
        // Small enough that all threads end at about the same time.
        chunk = min(Self.largestChunk, max(1, UInt64(seeds.count) / UInt64(jobs * 16)))
        state = Mutex(
            State(next: seeds.lowerBound, running: [UInt64?](repeating: nil, count: jobs)))
    }

    var tally: Tally { state.withLock { $0.tally } }

    /// Seeds that are being run now, in ascending order.
    var running: [UInt64] { state.withLock { $0.running.compactMap { $0 }.sorted() } }

    /// Starts no further seeds; those that run come to their end.
    func stop() { state.withLock { $0.isStopped = true } }

    /// Runs to the end.
    ///
    /// Meanwhile `watch` is called on this thread, many times a second.
    func play(watch: () -> Void) -> Tally {
        state.withLock { $0.workersRunning = jobs }
        var threads: [WorkerThread] = []
        for worker in 0..<jobs {
            if let thread = WorkerThread({ self.work(as: worker) }) {
                threads.append(thread)
            } else {
                state.withLock { $0.workersRunning -= 1 }
            }
        }
        if threads.isEmpty {
            state.withLock { $0.workersRunning = 1 }
            work(as: 0)
        }
        while state.withLock({ $0.workersRunning > 0 }) {
            pause(milliseconds: 5)
            watch()
        }
        for thread in threads { thread.join() }
        return tally
    }

    private func work(as worker: Int) {
        while let chunk = claim() {
            for seed in chunk {
                guard begin(seed, worker) else { break }
                TrapReport.note(worker: worker, runs: seed)
                let report = run(seed)
                TrapReport.note(worker: worker, runs: nil)
                end(seed, worker, report)
            }
        }
        state.withLock { $0.workersRunning -= 1 }
    }

    private func claim() -> Range<UInt64>? {
        state.withLock { state in
            let end = state.tally.failure?.seed ?? seeds.upperBound
            guard !state.isStopped, state.next < end else { return nil }
            let first = state.next
            state.next += min(chunk, end - first)
            return first..<state.next
        }
    }

    /// Whether there is still a reason to run `seed`.
    private func begin(_ seed: UInt64, _ worker: Int) -> Bool {
        state.withLock { state in
            let end = state.tally.failure?.seed ?? seeds.upperBound
            guard !state.isStopped, seed < end else { return false }
            state.running[worker] = seed
            return true
        }
    }

    private func end(_ seed: UInt64, _ worker: Int, _ report: RunReport) {
        state.withLock { state in
            state.running[worker] = nil
            state.tally.seeds += 1
            state.tally.add(report)
            guard !report.violations.isEmpty, seed < state.tally.failure?.seed ?? .max else {
                return
            }
            state.tally.failure = (seed, report.violations)
        }
    }
}
