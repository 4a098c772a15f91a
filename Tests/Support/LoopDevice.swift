// A volume as a real block device, and a filesystem mounted from it, on a kernel without nbd.
//
// Everything is undone by whoever made it, also when a test throws half way: what is not undone
// explicitly, and checked, is undone in deinit as far as possible.

import Foundation

/// A loop device over nbdfuse over an export.
package final class LoopDevice: Sendable {
    package let path: String
    private let directory: TemporaryDirectory
    private let file: String
    private let fuse: RunningProcess
    private let isAttached = Monitor(true)

    /// Makes the export at `uri` a file and the file a block device.
    package init(of uri: String) throws {
        let directory = try TemporaryDirectory()
        let file = directory.file("nbd")
        try Data().write(to: URL(fileURLWithPath: file))
        let fuse = try RunningProcess(["nbdfuse", file, uri])
        do {
            let size = eventually(atMost: .seconds(20)) {
                let attributes = try? FileManager.default.attributesOfItem(atPath: file)
                let size = attributes?[.size] as? Int ?? 0
                return size > 0 ? size : nil
            }
            guard size != nil else {
                throw HarnessError("nbdfuse shows no disk: \(fuse.standardError.text)")
            }
            path = try ToolRun.output("losetup", "--direct-io=on", "--find", "--show", file)
                .trimmingCharacters(in: .newlines)
        } catch {
            Self.unmountFuse(file, fuse)
            throw error
        }
        (self.directory, self.file, self.fuse) = (directory, file, fuse)
    }

    deinit {
        try? detach()
    }

    /// Gives the device and the file back.
    package func detach() throws {
        guard
            isAttached.withLock({ was in
                defer { was = false }; return was
            })
        else { return }
        defer { Self.unmountFuse(file, fuse) }
        try ToolRun.output("losetup", "--detach", path)
    }

    private static func unmountFuse(_ file: String, _ fuse: RunningProcess) {
        // A device in its last moments keeps the file busy for a little while.
        _ = eventually(atMost: .seconds(10), every: .milliseconds(100)) {
            guard fuse.isRunning else { return true }
            let run = try? ToolRun(["umount", file])
            return run?.succeeded == true ? true : nil
        }
        fuse.terminate()
        _ = try? ToolRun(["umount", "--lazy", file])
    }
}

/// A mounted filesystem.
package final class Mount: Sendable {
    private let directory: TemporaryDirectory
    private let isMounted = Monitor(true)
    /// What is mounted, kept until it no longer is.
    private let device: LoopDevice?

    package var path: String { directory.path }

    /// Mounts `device` on a directory of its own.
    package init(_ device: LoopDevice) throws {
        self.device = device
        directory = try TemporaryDirectory()
        try ToolRun.output("mount", device.path, directory.path)
    }

    /// Mounts the block device at `path`, which must stay until this is unmounted, with `options` of `mount -o`.
    package init(path: String, options: String = "rw") throws {
        device = nil
        directory = try TemporaryDirectory()
        try ToolRun.output("mount", "-o", options, path, directory.path)
    }

    /// Mounts the filesystem in the file `image` on a directory of its own.
    package init(image: String) throws {
        device = nil
        directory = try TemporaryDirectory()
        try ToolRun.output("mount", "-o", "loop", image, directory.path)
    }

    deinit {
        try? unmount()
    }

    package func unmount() throws {
        guard
            isMounted.withLock({ was in
                defer { was = false }; return was
            })
        else { return }
        try ToolRun.output("umount", path)
    }

    /// Unmounts it once nobody is busy with it: those that were killed may have an error to wait for.
    package func unmountSoon(atMost limit: Duration = .seconds(60)) throws {
        let isDone = try eventually(atMost: limit, every: .milliseconds(500)) {
            try ToolRun(["umount", path]).succeeded ? true : nil
        }
        guard isDone != nil else { throw HarnessError("\(path) stays busy") }
        isMounted.withLock { $0 = false }
    }
}
