// The engine stops the whole process where one of its own invariants is broken. That is a finding like
// any other, so the seeds that were running are written down before the process ends: by a signal
// handler, which may not allocate, lock or format.
//
//      with --json   {"trapped":[17,18]}                         on standard output
//      otherwise     a sentence, and a line to replay each seed  on standard error

import Glibc
import Synchronization

/// The seeds that are running now, told when the process traps.
enum TrapReport {
    /// Workers whose seed is told; others run, but are not told.
    static let workerLimit = 256

    private static let textLimit = 512
    /// One seed for each worker, plus one; 0 while it runs none.
    nonisolated(unsafe) private static let running: UnsafeMutablePointer<UInt64> = {
        let seeds = UnsafeMutablePointer<UInt64>.allocate(capacity: workerLimit)
        seeds.initialize(repeating: 0, count: workerLimit)
        return seeds
    }()
    nonisolated(unsafe) private static let optionText: UnsafeMutablePointer<UInt8> =
        .allocate(capacity: textLimit)
    private static let optionLength = Atomic<Int>(0)
    private static let isJSON = Atomic<Bool>(false)
    private static let hasTrapped = Atomic<Bool>(false)

    /// Handles traps from now on; `replayOptions` follow the seed on a line to replay it.
    static func install(replayOptions: String, isJSON json: Bool) {
        let bytes = Array(replayOptions.utf8.prefix(textLimit))
        optionText.update(from: bytes, count: bytes.count)
        optionLength.store(bytes.count, ordering: .relaxed)
        isJSON.store(json, ordering: .relaxed)
        running[0] = 0
        _ = hasTrapped.load(ordering: .relaxed)
        var action = sigaction()
        action.__sigaction_handler.sa_handler = { number in
            if !TrapReport.hasTrapped.exchange(true, ordering: .relaxed) {
                TrapReport.tell()
            } else {
                // Another thread is telling.
                sleep(1)
            }
            signal(number, SIG_DFL)
            raise(number)
        }
        action.sa_flags = Int32(bitPattern: UInt32(SA_NODEFER))
        for number in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGABRT, SIGFPE] {
            sigaction(number, &action, nil)
        }
    }

    /// Worker number `worker` runs `seed`, or none.
    static func note(worker: Int, runs seed: UInt64?) {
        guard worker < workerLimit else { return }
        running[worker] = seed.map { $0 &+ 1 } ?? 0
    }

    // MARK: In the signal handler

    private static func tell() {
        let json = isJSON.load(ordering: .relaxed)
        let descriptor = json ? STDOUT_FILENO : STDERR_FILENO
        put(json ? "{\"trapped\":[" : "\nThe engine stopped at a broken invariant.\n", descriptor)
        var isFirst = true
        for worker in 0..<workerLimit where running[worker] != 0 {
            if json {
                if !isFirst { put(",", descriptor) }
                put(running[worker] &- 1, descriptor)
            } else {
                put("One of the seeds running: Tools/simulate --seed ", descriptor)
                put(running[worker] &- 1, descriptor)
                _ = Glibc.write(descriptor, optionText, optionLength.load(ordering: .relaxed))
                put("\n", descriptor)
            }
            isFirst = false
        }
        if json { put("]}\n", descriptor) }
    }

    private static func put(_ text: StaticString, _ descriptor: Int32) {
        _ = Glibc.write(descriptor, text.utf8Start, text.utf8CodeUnitCount)
    }

    private static func put(_ number: UInt64, _ descriptor: Int32) {
        var power: UInt64 = 1
        while number / power >= 10 { power *= 10 }
        while power > 0 {
            var digit = UInt8(ascii: "0") + UInt8(number / power % 10)
            _ = Glibc.write(descriptor, &digit, 1)
            power /= 10
        }
    }
}
