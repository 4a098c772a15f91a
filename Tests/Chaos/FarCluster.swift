// What the suites on appliances far away have in common: a cluster by TCP with one loaded volume.

import Glibc
import TestSupport
import Testing

/// A cluster, a volume on it, and the load on that volume.
struct LoadedCluster {
    static let volume = "v"
    /// The blocks that are written; the volume is larger.
    static let blocks = 4096
    static let megabytes = 64
    /// What a rebuild has to copy at most where only what was written can be missed.
    static let writtenBytes = UInt64(blocks * BlockStamp.blockSize)

    let cluster: Cluster
    let writer: VerifyingWriter

    /// Starts all of it and waits until the load runs.
    init(
        layout: String = "mirror:3", _ adjust: (inout Cluster.Plan) -> Void = { _ in }
    ) throws {
        var plan = Cluster.Plan()
        plan.transport = .tcp
        plan.evictAfter = "300ms"
        plan.memory = "256M"
        adjust(&plan)
        cluster = try Cluster(plan)
        try cluster.require(
            "volume", "create", Self.volume, "--size", "\(Self.megabytes)M", "--layout", layout)
        writer = Self.writer(at: cluster.uri(of: Self.volume))
        writer.start()
        try writer.waitForWrites(500)
    }

    /// A load for the volume at `uri`, not started.
    static func writer(at uri: String) -> VerifyingWriter {
        var load = VerifyingWriter.Load()
        load.blockCount = blocks
        load.reconnectLimit = .seconds(60)
        return VerifyingWriter(uri, load)
    }

    func stop() {
        cluster.stop()
    }

    func state(of appliance: String) throws -> String? {
        try members().first { $0.appliance == appliance }?.state
    }

    func members() throws -> [StatusReport.Member] {
        try cluster.status().volume(Self.volume).members
    }

    /// Waits until all is there, writes a little more, and expects that nothing was lost and all members
    /// agree.
    func expectWhole(sourceLocation: SourceLocation = #_sourceLocation) throws {
        try cluster.waitUntilHealthy()
        try writer.waitForWrites(200)
        try expectNothingLost(writer, sourceLocation: sourceLocation)
        let mismatches = try cluster.mismatchedExtents(of: Self.volume)
        #expect(mismatches == 0, sourceLocation: sourceLocation)
    }

    /// Waits for a line in the client device's log; a process that was started again has a new one.
    func waitForLog(_ text: String) throws {
        let cluster = cluster
        let isThere = try eventually(atMost: .seconds(60)) {
            try cluster.log(of: .client).contains(text) ? true : nil
        }
        guard isThere == true else { throw HarnessError("nobody logs '\(text)'\(cluster.log)") }
    }
}
