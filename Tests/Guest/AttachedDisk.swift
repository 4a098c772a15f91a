// A volume attached as a disk, a filesystem on it, and a load that would notice a wrong byte.

import Foundation
import TestSupport

/// An export that is attached; detached, by force if need be, with the last reference.
final class AttachedDisk {
    let up: HoldfastUp
    let export: String
    let device: String

    /// Attaches an export of `up` with these further arguments of the command.
    init(_ up: HoldfastUp, _ export: String = "vol0", _ arguments: [String] = []) throws {
        self.up = up
        self.export = export
        let run = try Self.holdfast(["attach", export] + arguments + ["--dir", up.path])
        guard run.succeeded else { throw HarnessError("\(run)\(up.log)") }
        device = String(run.standardOutput.dropLast())
        guard device.hasPrefix("/dev/nbd") else { throw HarnessError("\(run)") }
    }

    deinit {
        _ = try? detach("--force")
    }

    @discardableResult
    func detach(_ arguments: String...) throws -> ToolRun {
        try Self.holdfast(["detach", export, "--dir", up.path] + arguments)
    }

    /// Runs `holdfast`; a guest is slow.
    static func holdfast(_ arguments: [String]) throws(HarnessError) -> ToolRun {
        try ToolRun([HoldfastBinary.path] + arguments, atMost: .seconds(120))
    }

    /// What the kernel shows of the device, such as `ro`.
    func fact(_ name: String) -> String {
        let number = device.dropFirst("/dev/".count)
        let text = try? String(contentsOfFile: "/sys/block/\(number)/\(name)", encoding: .utf8)
        return String((text ?? "").prefix { !$0.isNewline })
    }

    /// The processes that are helpers.
    static var helpers: [pid_t] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return names.compactMap { pid_t($0) }.filter { process in
            let line = FileManager.default.contents(atPath: "/proc/\(process)/cmdline") ?? Data()
            return line.split(separator: 0).contains { $0.elementsEqual("--helper".utf8) }
        }
    }

    /// What the kernel said of errors since `mark`.
    static func kernelErrors(since mark: Int) throws -> [Substring] {
        try ToolRun.output("dmesg").split(separator: "\n").dropFirst(mark).filter {
            $0.contains("I/O error") || $0.contains("Other side returned error")
                || $0.contains("EXT4-fs error")
        }
    }

    static func kernelLines() throws -> Int {
        try ToolRun.output("dmesg").split(separator: "\n").count
    }
}

/// A mounted filesystem; unmounted, lazily if need be, with the last reference.
final class MountedDisk {
    let path: String
    private let directory: TemporaryDirectory
    private var isMounted = true

    /// Mounts a device with these options.
    init(_ device: String, _ options: String = "rw") throws {
        directory = try TemporaryDirectory()
        path = directory.file("files")
        try FileManager.default.createDirectory(
            atPath: path, withIntermediateDirectories: false)
        try ToolRun.output("mount", "-o", options, device, path)
    }

    deinit {
        if isMounted { _ = try? ToolRun(["umount", "--lazy", path]) }
    }

    func unmount() throws {
        try ToolRun.output("umount", path)
        isMounted = false
    }
}

/// Writes that are read back and compared, under way.
struct VerifyingLoad {
    private struct Report: Decodable {
        struct Job: Decodable {
            struct Direction: Decodable {
                struct Latency: Decodable { let max: Double }
                let clat_ns: Latency
                let total_ios: Int
            }
            let error: Int
            let read: Direction
            let write: Direction
        }
        let jobs: [Job]
    }

    private let process: RunningProcess

    /// Starts to write a file of a mounted filesystem over and over, for as long as the guest takes.
    init(on disk: MountedDisk) throws {
        process = try RunningProcess([
            "fio", "--name=load", "--filename=\(disk.path)/load", "--size=16M", "--bs=16k",
            "--rw=randwrite", "--loops=2", "--direct=1", "--ioengine=libaio", "--iodepth=16",
            "--rate_iops=150", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1",
            "--output-format=json",
        ])
    }

    var isRunning: Bool { process.isRunning }

    /// Waits for its end, which must be a good one.
    ///
    /// - Returns: The longest time that a request took, in seconds.
    func finish() throws -> Double {
        guard let end = process.waitForExit(atMost: .seconds(300)) else {
            throw HarnessError("the load did not end")
        }
        _ = process.standardOutput.waitForEnd(atMost: .seconds(10))
        let text = process.standardOutput.text
        guard end == .exited(0), let start = text.firstIndex(of: "{") else {
            throw HarnessError("\(end): \(text)\(process.standardError.text)")
        }
        let report = try JSONDecoder().decode(Report.self, from: Data(text[start...].utf8))
        guard let job = report.jobs.first, job.error == 0, job.write.total_ios == 2048 else {
            throw HarnessError("the load met an error: \(text)")
        }
        return max(job.read.clat_ns.max, job.write.clat_ns.max) / 1e9
    }
}
