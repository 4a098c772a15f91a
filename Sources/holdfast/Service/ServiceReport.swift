// What goes to the service manager while a command runs: a line about the state when it changes, and a
// sign of life as long as there is proof of life.
//
// The proof is asked for: every part that could hang has to answer. Where one does not, nothing is sent,
// and the manager does what it was told to do about that.

import Control
import Foundation
import Glibc
import RemoteMemory

/// Keeps a service manager informed; without one it does nothing.
struct ServiceReport: Sendable {
    /// How often the state is looked at, unless signs of life are wanted more often.
    private static let interval = Duration.seconds(5)

    let manager: ServiceManager?

    /// Tells that the service is ready, and from then on how it is.
    ///
    /// - Parameters:
    ///   - status: the line about the present state; nil when there is none to be had.
    ///   - prove: returns when every part has answered; throws, or never returns, when one does not.
    func begin(
        status: @escaping @Sendable () async -> String?,
        prove: @escaping @Sendable () async throws -> Void
    ) {
        guard let manager else { return }
        Task {
            var last = await status() ?? ""
            manager.ready(last)
            // Half of the time allowed, as sd_watchdog_enabled(3) advises.
            let pause = min(Self.interval, manager.watchdog.map { $0 / 2 } ?? Self.interval)
            while !Task.isCancelled {
                do {
                    try await prove()
                    if manager.watchdog != nil { manager.isAlive() }
                    if let line = await status(), line != last {
                        manager.status(line)
                        last = line
                    }
                } catch {
                    // (Silence is the message.)
                }
                try? await Task.sleep(for: pause)
            }
        }
    }

    /// What to call when something is to be read again: that is done between the two messages that the
    /// manager waits for, and never twice at a time, so that what was read last counts.
    func rereading(
        status: @escaping @Sendable () async -> String?,
        _ reread: @escaping @Sendable () async -> Void
    ) -> @Sendable () -> Void {
        let (requests, continuation) = AsyncStream.makeStream(
            of: Void.self, bufferingPolicy: .bufferingNewest(1))
        Task {
            for await _ in requests {
                manager?.reloading()
                await reread()
                manager?.ready(await status() ?? "")
            }
        }
        return { continuation.yield() }
    }

    /// The state of volumes in a line, such as `3 volumes: 2 healthy, 1 rebuilding`.
    static func line(_ volumes: [VolumeStatus]) -> String {
        guard !volumes.isEmpty else { return "no volumes" }
        let states = VolumeHealth.allCases.compactMap { health -> String? in
            let count = volumes.count { $0.health == health }
            return count > 0 ? "\(count) \(health.rawValue)" : nil
        }
        let count = volumes.count == 1 ? "1 volume" : "\(volumes.count) volumes"
        return "\(count): \(states.joined(separator: ", "))"
    }
}
