// Two volumes as legs of a mirror of the kernel's own: md finds a lost leg, and one that is back.

import Foundation
import TestSupport
import Testing

extension Disk.OnServer {
    @Suite(.needs(.tool("mdadm"))) struct RAID {
        private static let array = "/dev/md/guest"

        @Test func aMirrorOfTwoVolumesStandsTheLossOfEither() throws {
            let up = try HoldfastUp.current
            try up.require("volume", "create", "left", "--size", "64M", "--layout", "mirror:2")
            try up.require("volume", "create", "right", "--size", "64M", "--layout", "mirror:3")
            let left = try up.attach("left")
            let right = try up.attach("right")
            // (Both are zero, so they agree without being copied.)
            try mdadm(
                "--create", Self.array, "--run", "--level=1", "--raid-devices=2", "--metadata=1.2",
                "--assume-clean", "--bitmap=internal", left.path, right.path)
            defer { _ = try? ToolRun(["mdadm", "--stop", Self.array]) }
            try ToolRun.output("mkfs.ext4", "-q", Self.array)
            let mount = try Mount(path: Self.array)
            let before = StampedFiles(seed: 6)
            let degraded = StampedFiles(seed: 7)
            try before.write(into: mount.path)

            try ToolRun.output("nbd-client", "-d", left.path)
            try degraded.write(into: mount.path)
            let detail = try mdadm("--detail", Self.array)
            #expect(detail.contains("degraded"), "\(detail)")

            // What the left leg missed is copied, and then it is the only one.
            _ = try ToolRun(["mdadm", Self.array, "--fail", left.path])
            try mdadm(Self.array, "--remove", left.path)
            let back = try up.attach("left")
            try mdadm(Self.array, "--re-add", back.path)
            _ = try ToolRun(["mdadm", "--wait", Self.array], atMost: .seconds(120))
            try mdadm(Self.array, "--fail", right.path)
            try mount.unmount()
            let again = try Mount(path: Self.array)
            #expect(before.problems(in: again.path) == [])
            #expect(degraded.problems(in: again.path) == [])
            try again.unmount()

            try mdadm("--stop", Self.array)
            try back.detach()
            try right.detach()
            for volume in ["left", "right"] { try up.require("volume", "delete", volume) }
        }

        @discardableResult
        private func mdadm(_ arguments: String...) throws -> String {
            let run = try ToolRun(["mdadm"] + arguments)
            guard run.succeeded else { throw HarnessError("\(run)") }
            return run.standardOutput
        }
    }
}
