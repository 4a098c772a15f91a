// fio on a disk of the kernel: it verifies what it writes as it goes, and tells how long it had to wait.

import Foundation
import TestSupport

/// What a run of fio came to.
struct FioReport: Sendable {
    /// The jobs that met a request that failed, or a block that was not what was written.
    let errors: Int
    let writes: Int
    /// From the submission of the write that waited longest to its completion.
    let longestWrite: Duration
    let text: String

    init(_ json: Data) throws {
        // (What goes wrong is told before the report begins.)
        text = String(decoding: json, as: UTF8.self)
        let start = json.firstIndex(of: UInt8(ascii: "{")) ?? json.startIndex
        let report = try JSONDecoder().decode(Report.self, from: json[start...])
        errors = report.jobs.reduce(0) { $0 + ($1.error == 0 ? 0 : 1) }
        writes = report.jobs.reduce(0) { $0 + $1.write.total_ios }
        let nanoseconds = report.jobs.map(\.write.clat_ns.max).max() ?? 0
        longestWrite = .nanoseconds(nanoseconds)
    }

    // (The names are fio's.)
    private struct Report: Decodable {
        struct Job: Decodable {
            struct Direction: Decodable {
                struct Latency: Decodable { let max: Int64 }
                let total_ios: Int
                let clat_ns: Latency
            }
            let error: Int
            let write: Direction
        }
        let jobs: [Job]
    }
}

/// A load under way.
final class FioLoad: Sendable {
    private let process: RunningProcess
    private let directory: TemporaryDirectory

    private static let options = [
        "fio", "--name=load", "--ioengine=libaio", "--direct=1", "--rw=randwrite",
        "--bsrange=4k-32k",
        "--iodepth=8", "--verify=crc32c", "--verify_fatal=1", "--verify_state_save=0",
        "--group_reporting", "--output-format=json",
    ]

    /// Writes at random over the first `size` of the disk at `path` and verifies that, until it is stopped.
    init(on path: String, size: String) throws {
        directory = try TemporaryDirectory()
        process = try RunningProcess(
            Self.options + [
                "--filename=\(path)", "--size=\(size)", "--verify_backlog=64", "--time_based",
                "--runtime=1800", "--output=\(directory.file("report"))",
            ])
    }

    /// Lets it end what it has begun; gives what it came to.
    func stop() throws -> FioReport {
        guard process.isRunning else {
            throw HarnessError("fio has ended by itself: \(text)")
        }
        process.signal(SIGINT)
        guard process.waitForExit(atMost: .seconds(120)) != nil else {
            throw HarnessError("fio hangs: \(text)")
        }
        return try FioReport(report)
    }

    private var report: Data {
        FileManager.default.contents(atPath: directory.file("report")) ?? Data()
    }

    private var text: String {
        process.standardError.text + String(decoding: report, as: UTF8.self)
    }

    /// Writes the first `size` of the disk at `path` once and reads it back, in each of `jobs` parts.
    static func verify(_ path: String, size: String, jobs: Int = 1) throws -> FioReport {
        let run = try ToolRun(
            options + [
                "--filename=\(path)", "--size=\(size)", "--offset_increment=\(size)",
                "--numjobs=\(jobs)",
            ], atMost: .seconds(300))
        return try FioReport(Data(run.standardOutput.utf8))
    }
}
