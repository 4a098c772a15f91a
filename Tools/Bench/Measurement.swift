// One cell of one round: a workload on one server, warmed up, then measured while the pipeline stays
// full. Processor times are read between two phases of the same running load, so neither starting
// nor draining is counted, for any server.

import RemoteMemory

/// What one cell of one round came to.
struct Sample: Encodable, Sendable {
    let requests: UInt64
    let seconds: Double
    let blockBytes: UInt64
    let p50Microseconds: Double
    let p99Microseconds: Double
    let p999Microseconds: Double
    let serverMicroseconds: Double
    let generatorMicroseconds: Double
    /// Cores that the *other* server used meanwhile: it should idle.
    let bystanderCores: Double
    /// The server's time by process.
    var processes: [ProcessShare] = []

    var iops: Double { Double(requests) / seconds }
    var megabytesPerSecond: Double { iops * Double(blockBytes) / 1e6 }
    /// Cores that the server, and that the load generator, used (per-request times are theirs).
    var serverCores: Double { serverMicroseconds * iops / 1e6 }
    var generatorCores: Double { generatorMicroseconds * iops / 1e6 }
}

/// How long each phase of a cell is.
struct Plan {
    let warmUp: PhaseLimit
    let measured: PhaseLimit
}

/// The clocks of all concerned at one moment.
struct ClockReading {
    let time: UInt64
    let server: UInt64
    let serverMembers: [UInt64]
    let bystander: UInt64
    let generator: UInt64

    init(server: ProcessTree, bystander: ProcessTree) {
        serverMembers = server.memberNanoseconds()
        self.server = serverMembers.reduce(0, +)
        self.bystander = bystander.processorNanoseconds()
        generator = ownProcessorNanoseconds()
        time = monotonicNanoseconds()
    }
}

extension Contestant {
    /// Writes the whole volume once, so that all its memory is resident.
    func fill() throws(BenchError) {
        let connection = try NBDConnection.open(address)
        if connection.isReadOnly {
            throw .exportRefused(name: address.exportName, reason: "read-only")
        }
        let offsets = try OffsetStream(workload: .filling, volumeBytes: volumeBytes, seed: 0)
        var generator = LoadGenerator(.filling, at: offsets, on: connection, ledger: ledger)
        try generator.start()
        try generator.run(until: .requests(volumeBytes / Workload.filling.block.bytes))
        try generator.drain()
    }

    /// The processes of all of `contestants` as one.
    static func processes(of contestants: [Contestant]) -> ProcessTree {
        ProcessTree(members: contestants.flatMap { $0.processes.members })
    }

    /// Measures `workload` while `bystanders` are left alone.
    func measure(
        _ workload: Workload, plan: Plan, seed: UInt64, bystanders: [Contestant]
    ) throws(BenchError) -> Sample {
        let connection = try NBDConnection.open(address)
        let offsets = try OffsetStream(workload: workload, volumeBytes: volumeBytes, seed: seed)
        var generator = LoadGenerator(workload, at: offsets, on: connection, ledger: ledger)
        try generator.start()
        try generator.run(until: plan.warmUp)
        // Taken now: threads and processes that serve this connection exist by the time it is warm.
        let server = processes
        let titles = server.titles
        let idle = Contestant.processes(of: bystanders)
        let before = ClockReading(server: server, bystander: idle)
        try generator.run(until: plan.measured)
        let after = ClockReading(server: server, bystander: idle)
        let requests = generator.replies
        func perRequest(_ clock: KeyPath<ClockReading, UInt64>) -> Double {
            (Double(after[keyPath: clock]) - Double(before[keyPath: clock])) / Double(requests)
                / 1000
        }
        func microseconds(_ quantile: Double) -> Double {
            Double(generator.latencies.quantile(quantile)) / 1000
        }
        let elapsed = Double(after.time - before.time)
        let sample = Sample(
            requests: requests, seconds: elapsed / Double(nanosecondsPerSecond),
            blockBytes: workload.block.bytes, p50Microseconds: microseconds(0.5),
            p99Microseconds: microseconds(0.99), p999Microseconds: microseconds(0.999),
            serverMicroseconds: perRequest(\.server),
            generatorMicroseconds: perRequest(\.generator),
            bystanderCores: Double(after.bystander - before.bystander) / elapsed,
            processes: titles.indices.map { index in
                // (A process that ended meanwhile has no clock any more.)
                let used =
                    max(before.serverMembers[index], after.serverMembers[index])
                    - before.serverMembers[index]
                return ProcessShare(
                    process: titles[index],
                    microseconds: Double(used) / Double(requests) / 1000)
            })
        try generator.drain()
        return sample
    }
}
