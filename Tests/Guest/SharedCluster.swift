// One cluster for all tests that kill its processes: starting it takes a while in a guest. Each test puts
// back what it broke, and uses volumes of its own.

import TestSupport
import Testing

/// Starts a client device and four appliances before a suite's first test, and stops them after the last.
struct SharedCluster: SuiteTrait, TestScoping {
    /// Longer than the emulation ever holds up a process that lives.
    static let evictAfter = "20s"

    func provideScope(
        for test: Test, testCase: Test.Case?,
        performing function: @Sendable @concurrent () async throws -> Void
    ) async throws {
        var plan = Cluster.Plan()
        plan.appliances = 4
        plan.evictAfter = Self.evictAfter
        let cluster = try Cluster(plan)
        defer { cluster.stop() }
        try await Cluster.$running.withValue(cluster) {
            try await function()
        }
    }
}

extension Trait where Self == SharedCluster {
    /// Gives the suite a cluster of its own.
    static var onCluster: Self { SharedCluster() }
}

extension Cluster {
    @TaskLocal fileprivate static var running: Cluster?

    /// The one of the suite this is called in.
    static var current: Cluster {
        get throws {
            guard let running else { throw HarnessError("the suite lacks the trait .onCluster") }
            return running
        }
    }

    /// Makes a volume in three copies for as long as `body` takes.
    func withVolume(_ name: String, size: String, _ body: () throws -> Void) throws {
        try require("volume", "create", name, "--size", size, "--layout", "mirror:3")
        do {
            try body()
        } catch {
            // (The next test may want one of this name.)
            _ = try? cli("volume", "delete", name)
            throw error
        }
        try require("volume", "delete", name)
    }
}

extension Disk {
    /// What dies here, dies for real.
    @Suite(.onCluster, .timeLimit(.minutes(15))) enum OnCluster {}
}
