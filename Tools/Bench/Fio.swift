// fio's NBD engine beside our generator: a second opinion, and the reason for having our own. fio
// spends more processor time per request than a fast server, so what it shows is its own limit.

import FoundationEssentials
import RemoteMemory

extension Contestant {
    /// Lets fio do `workload`, and reads its JSON report.
    ///
    /// fio's own processor time stands in for the generator's. The server's includes fio's start.
    func measureWithFio(
        _ workload: Workload, seconds: Int, seed: UInt64, directory: String,
        bystanders: [Contestant]
    ) throws(BenchError) -> Sample {
        let pattern = workload.operation == .read ? "randread" : "randwrite"
        let arguments = [
            "fio", "--name=bench", "--ioengine=nbd", "--uri=\(address.uri)", "--rw=\(pattern)",
            "--bs=\(workload.block.bytes)", "--iodepth=\(workload.depth)", "--size=\(volumeBytes)",
            "--time_based", "--runtime=\(seconds)", "--randrepeat=0", "--randseed=\(seed)",
            "--thread", "--output-format=json",
        ]
        let server = processes
        let idle = Contestant.processes(of: bystanders)
        let before = ClockReading(server: server, bystander: idle)
        let process = try ServerProcess(arguments, label: "fio", directory: directory)
        defer { if process.isRunning { process.stop() } }
        guard try process.waitForEnd() else { throw .fioFailed(process.log) }
        let after = ClockReading(server: server, bystander: idle)
        let job = try FioReport.firstJob(of: process.output)
        let result = workload.operation == .read ? job.read : job.write
        guard result.totalRequests > 0, result.milliseconds > 0 else {
            throw .fioFailed("it made no requests")
        }
        func microseconds(_ percentile: String) -> Double {
            (result.latency.percentile?[percentile] ?? 0) / 1000
        }
        let requests = Double(result.totalRequests)
        let wallSeconds = Double(result.milliseconds) / 1000
        return Sample(
            requests: result.totalRequests, seconds: wallSeconds, blockBytes: workload.block.bytes,
            p50Microseconds: microseconds("50.000000"),
            p99Microseconds: microseconds("99.000000"),
            p999Microseconds: microseconds("99.900000"),
            serverMicroseconds: Double(after.server - before.server) / requests / 1000,
            generatorMicroseconds: (job.userPercent + job.systemPercent) / 100 * wallSeconds * 1e6
                / requests,
            bystanderCores: Double(after.bystander - before.bystander)
                / Double(after.time - before.time))
    }
}

/// The part of fio's JSON report (its HOWTO, "JSON output") that is used here.
private struct FioReport: Decodable {
    struct Latency: Decodable { let percentile: [String: Double]? }

    struct Direction: Decodable {
        let totalRequests: UInt64
        let milliseconds: UInt64
        let latency: Latency

        enum CodingKeys: String, CodingKey {
            case totalRequests = "total_ios"
            case milliseconds = "runtime"
            case latency = "clat_ns"
        }
    }

    struct Job: Decodable {
        let read: Direction
        let write: Direction
        let userPercent: Double
        let systemPercent: Double

        enum CodingKeys: String, CodingKey {
            case read, write
            case userPercent = "usr_cpu"
            case systemPercent = "sys_cpu"
        }
    }

    let jobs: [Job]

    static func firstJob(of output: String) throws(BenchError) -> Job {
        // fio may put remarks before its report.
        guard let start = output.firstIndex(of: "{") else { throw .fioFailed("no report") }
        let report: FioReport
        do {
            report = try JSONDecoder().decode(FioReport.self, from: Data(output[start...].utf8))
        } catch {
            throw .fioFailed("its report is not understood: \(error)")
        }
        guard let job = report.jobs.first else { throw .fioFailed("its report has no job") }
        return job
    }
}
