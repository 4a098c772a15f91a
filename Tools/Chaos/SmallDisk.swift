// The registry's directory on a filesystem of its own, small enough to be filled.

import Foundation
import Glibc
import TestSupport

/// A tmpfs mounted on a directory until the last reference goes.
final class SmallDisk: Sendable {
    private static let megabytes = 32

    let directory: TemporaryDirectory
    private var ballast: String { directory.file("ballast") }

    /// Why there can be none; nil when there can.
    static var obstacle: String? { geteuid() == 0 ? nil : "mounting needs root" }

    init() throws {
        directory = try TemporaryDirectory()
        Self.sweep()
        try ToolRun.output(
            "mount", "-t", "tmpfs", "-o", "size=\(Self.megabytes)M,mode=700", Self.label,
            directory.path)
    }

    deinit {
        _ = try? ToolRun(["umount", "--lazy", directory.path])
    }

    /// Leaves no room for a further byte.
    func fill() {
        let descriptor = open(ballast, O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        let page = [UInt8](repeating: 0xB5, count: 4096)
        _ = lseek(descriptor, 0, SEEK_END)
        while write(descriptor, page, page.count) > 0 {}
    }

    func makeRoom() {
        unlink(ballast)
    }

    /// What a mount of this process is called.
    private static var label: String { "holdfast-chaos-\(getpid())" }

    /// Gives up the mounts of runs that were killed.
    private static func sweep() {
        let mounts = (try? String(contentsOfFile: "/proc/mounts", encoding: .utf8)) ?? ""
        for line in mounts.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count > 1, fields[0].hasPrefix("holdfast-chaos-"),
                let process = pid_t(fields[0].dropFirst("holdfast-chaos-".count)),
                kill(process, 0) != 0
            else { continue }
            _ = try? ToolRun(["umount", "--lazy", String(fields[1])])
            rmdir(String(fields[1]))
        }
    }
}
