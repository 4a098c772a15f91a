// A volume as /dev/nbdN by way of nbd-client, which negotiates, gives the sockets to the kernel and leaves.
//
// From then on nobody stands between the kernel and the client device. So whoever kills that one kills the
// disk: what is under way fails with EIO, and so does all that follows, until it is attached anew.

import Foundation
import TestSupport

/// A volume or snapshot that nbd-client attached; detached, if not before, with the last reference.
final class NBDClientDevice: Sendable {
    /// Where the client device is reached.
    enum Server: Sendable {
        case unix(String)
        /// On this machine's loopback.
        case tcp(port: Int)
    }

    /// How long the kernel may take to show or to forget a disk.
    private static let limit: Duration = .seconds(30)

    /// Such as nbd0.
    let name: String
    private let isAttached = Monitor(true)

    var path: String { "/dev/\(name)" }

    /// Attaches `export` to a free device, in blocks of 4 KiB.
    init(_ export: String, at server: Server, options: [String] = []) throws {
        let name = try Self.freeName()
        let address =
            switch server {
            case .unix(let socket): ["-unix", socket, "/dev/\(name)"]
            case .tcp(let port): ["127.0.0.1", "\(port)", "/dev/\(name)"]
            }
        self.name = name
        let run = try ToolRun(["nbd-client"] + address + ["-N", export, "-b", "4096"] + options)
        guard run.succeeded else {
            isAttached.withLock { $0 = false }
            throw HarnessError("\(run)")
        }
        try waitForSize()
    }

    /// Takes over the disk `name` that a command attached.
    init(attached name: String) throws {
        self.name = name
        try waitForSize()
    }

    deinit {
        try? detach()
    }

    private func waitForSize() throws {
        guard eventually(atMost: Self.limit, { sizeBytes > 0 ? true : nil }) != nil else {
            throw HarnessError("\(path) shows no size")
        }
    }

    /// Gives the device back; its contents stay with the server.
    func detach() throws {
        let wasAttached = isAttached.withLock { isAttached in
            defer { isAttached = false }
            return isAttached
        }
        guard wasAttached else { return }
        try ToolRun.output("nbd-client", "-d", path)
        let isGone = eventually(atMost: Self.limit) { Self.isFree(name) ? true : nil }
        guard isGone != nil else { throw HarnessError("\(path) is still attached") }
    }

    /// Reads the rest of what the kernel remembers, and forgets it: the next read asks the server.
    func forgetContents() throws {
        try ToolRun.output("blockdev", "--flushbufs", path)
    }

    // MARK: What the kernel says of it

    /// The content of a file below /sys/block/nbdN; empty when there is none.
    func fact(_ file: String) -> String {
        Self.fact(file, of: name)
    }

    var sizeBytes: Int { (Int(fact("size")) ?? 0) * 512 }
    var isReadOnly: Bool { fact("ro") == "1" }

    /// How many requests of each kind the disk has completed.
    var completed: (reads: Int, writes: Int, discards: Int) {
        // The order is that of the kernel's Documentation/block/stat.rst.
        let numbers = fact("stat").split(separator: " ").compactMap { Int($0) }
        return numbers.count > 11 ? (numbers[0], numbers[4], numbers[11]) : (0, 0, 0)
    }

    /// Waits until the disk has completed so many more writes.
    func waitForWrites(_ more: Int, atMost limit: Duration = .seconds(120)) throws {
        let goal = completed.writes + more
        guard eventually(atMost: limit, { completed.writes >= goal ? true : nil }) != nil else {
            throw HarnessError("\(path) did not complete \(more) writes within \(limit)")
        }
    }

    private static func fact(_ file: String, of name: String) -> String {
        let text = try? String(contentsOfFile: "/sys/block/\(name)/\(file)", encoding: .utf8)
        return text?.trimmingCharacters(in: .whitespacesAndNewlines) ?? ""
    }

    private static func isFree(_ name: String) -> Bool {
        fact("pid", of: name).isEmpty && fact("size", of: name) == "0"
    }

    private static func freeName() throws -> String {
        let names = try FileManager.default.contentsOfDirectory(atPath: "/sys/block")
            .filter { $0.hasPrefix("nbd") && isFree($0) }
        // (In order of their numbers.)
        guard let name = names.min(by: { ($0.count, $0) < ($1.count, $1) }) else {
            throw HarnessError("no nbd device is free; is the module loaded?")
        }
        return name
    }
}

extension HoldfastUp {
    /// Attaches a volume or snapshot of this server by its Unix socket.
    func attach(_ export: String, options: [String] = []) throws -> NBDClientDevice {
        try NBDClientDevice(export, at: .unix(socket), options: options)
    }
}

extension Cluster {
    /// Attaches a volume or snapshot of this client device by its Unix socket.
    func attach(_ export: String, options: [String] = []) throws -> NBDClientDevice {
        try NBDClientDevice(export, at: .unix(directory.file("nbd.sock")), options: options)
    }
}
