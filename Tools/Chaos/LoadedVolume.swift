// A volume under a verifying writer, and the snapshots that were cut from it meanwhile.

import Foundation
import TestSupport

/// One volume of a chaos run.
final class LoadedVolume: Sendable {
    /// Older ones are deleted before there are more.
    static let snapshotLimit = 2

    /// What a volume is created with, and how it is written.
    struct Kind: Sendable {
        let megabytes: Int
        let ordering: String
        let load: VerifyingWriter.Load
        /// Zeros carry no version, so a cut of them cannot be judged.
        var canBeJudged: Bool { load.zerosPerHundred == 0 }
    }

    private struct Snapshot: Sendable {
        let name: String
        /// What was known of the cut; judged once, when the snapshot is first read.
        var window: SnapshotWindow?
        var contents: [BlockContent]?
    }

    private struct Snapshots {
        var list: [Snapshot] = []
        var number = 0
        /// A second window cannot be open.
        var isCutting = false
    }

    let name: String
    let kind: Kind
    let writer: VerifyingWriter
    private let cluster: Cluster
    private let snapshots = Monitor(Snapshots())

    /// Creates the volume and starts its load.
    init(_ name: String, _ kind: Kind, layout: String, on cluster: Cluster) throws {
        self.name = name
        self.kind = kind
        self.cluster = cluster
        try cluster.require(
            "volume", "create", name, "--size", "\(kind.megabytes)M", "--layout", layout,
            "--ordering", kind.ordering)
        writer = VerifyingWriter(cluster.uri(of: name), kind.load)
        writer.start()
    }

    /// Three volumes that differ in what hurts: many blocks, the other ordering, few blocks and zeros.
    static func kinds(seed: UInt64) -> [Kind] {
        var large = VerifyingWriter.Load()
        large.zerosPerHundred = 0
        large.reconnectLimit = .seconds(300)
        large.seed = seed
        var sequential = large
        (large.blockCount, sequential.blockCount) = (64 * 256, 32 * 256)
        sequential.seed = seed &+ 1
        var crowded = large
        crowded.blockCount = 64
        crowded.connections = 4
        crowded.zerosPerHundred = 5
        crowded.seed = seed &+ 2
        return [
            Kind(megabytes: 64, ordering: "parallel", load: large),
            Kind(megabytes: 32, ordering: "sequential", load: sequential),
            Kind(megabytes: 16, ordering: "parallel", load: crowded),
        ]
    }

    // MARK: Snapshots

    /// Cuts a snapshot under load; gives what became of it.
    func createSnapshot(isImmediate: Bool) throws -> String {
        let name = snapshots.withLock { snapshots -> String? in
            guard !snapshots.isCutting, snapshots.list.count < Self.snapshotLimit else {
                return nil
            }
            snapshots.isCutting = true
            snapshots.number += 1
            return "s\(snapshots.number)"
        }
        guard let name else { return "there are enough" }
        if kind.canBeJudged { writer.ledger.beginSnapshot() }
        let run = Result {
            try cluster.cli(
                ["snapshot", "create", self.name, name] + (isImmediate ? ["--immediate"] : []),
                atMost: .seconds(120))
        }
        let window = kind.canBeJudged ? writer.ledger.endSnapshot() : nil
        let isThere = (try? run.get().succeeded) == true
        snapshots.withLock { snapshots in
            snapshots.isCutting = false
            // One that was refused, or whose command died, may be there nevertheless.
            snapshots.list.append(Snapshot(name: name, window: isThere ? window : nil))
        }
        return "\(name): \(outcome(try run.get()))"
    }

    /// Deletes the oldest snapshot.
    func deleteSnapshot() throws -> String {
        guard let oldest = snapshots.withLock({ $0.list.first?.name }) else {
            return "there is none"
        }
        let run = try cluster.cli(
            ["snapshot", "delete", name, oldest], atMost: .seconds(120))
        if run.succeeded { forget(oldest) }
        return "\(oldest): \(outcome(run))"
    }

    private func forget(_ snapshot: String) {
        snapshots.withLock { $0.list.removeAll { $0.name == snapshot } }
    }

    // MARK: Growth

    /// How much a volume may grow in all, in times of what it began with.
    private static let growthLimit = 2
    /// How much it grows at once, in bytes.
    private static let growthStep: UInt64 = 1 << 20

    /// Makes the volume a little larger under load; gives what became of it.
    func resize() throws -> String {
        let size = try cluster.status().volume(name).sizeBytes + Self.growthStep
        guard size <= UInt64(kind.megabytes * Self.growthLimit) << 20 else {
            return "it is large enough"
        }
        return outcome(
            try cluster.cli(["volume", "resize", name, "\(size)"], atMost: .seconds(120)))
    }

    // MARK: Judging

    /// Stops the load and waits for its last replies.
    func pause() throws {
        _ = try writer.stop(atMost: .seconds(120))
    }

    /// Writes what no load writes.
    func corrupt() throws {
        try NBDConnection(cluster.uri(of: name)).write([UInt8](repeating: 0xE7, count: 4096), at: 0)
    }

    /// What is wrong while the load pauses: with what was written, between members, in snapshots.
    func findings() throws -> [String] {
        var findings = try writer.verifyAll().map { "\(name): \($0)" }
        let mismatches = try cluster.mismatchedExtents(of: name)
        if mismatches > 0 { findings.append("\(name): members differ in \(mismatches) extents") }
        findings += try snapshotFindings()
        return findings
    }

    private func snapshotFindings() throws -> [String] {
        let known = try cluster.status().volume(name).snapshots
        var findings: [String] = []
        for snapshot in snapshots.withLock({ $0.list }) {
            guard known.first(where: { $0.name == snapshot.name })?.state == "ready" else {
                // Its only copy died with its appliance, or it never was.
                if !known.contains(where: { $0.name == snapshot.name }) { forget(snapshot.name) }
                continue
            }
            let contents = try writer.contents(of: cluster.uri(of: "\(name)@\(snapshot.name)"))
            if let before = snapshot.contents {
                if let block = contents.indices.first(where: { contents[$0] != before[$0] }) {
                    findings.append("\(name)@\(snapshot.name): block \(block) has changed")
                }
            } else {
                let wrong = snapshot.window?.findings(in: contents) ?? []
                findings += wrong.prefix(5).map { "\(name)@\(snapshot.name): \($0)" }
            }
            snapshots.withLock { snapshots in
                guard let index = snapshots.list.firstIndex(where: { $0.name == snapshot.name })
                else { return }
                snapshots.list[index].contents = contents
                snapshots.list[index].window = nil
            }
        }
        return findings
    }
}

/// How a command ended, on one line.
func outcome(_ run: ToolRun) -> String {
    let sentence = run.standardError.split(separator: "\n").last.map { ", \($0)" } ?? ""
    return run.succeeded ? "done" : "\(run.end)\(sentence)"
}
