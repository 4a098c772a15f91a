// mkfs discards a whole disk, fstrim all that is free. That must cost a few requests and no memory, whatever
// the size: counted, not timed.

import Foundation
import TestSupport
import Testing

/// What discarding came to.
private struct DiscardCost {
    /// Requests that the server was sent.
    var requests: UInt64
    /// Pages that its processes touched for the first time: each store into memory that was given back is one.
    var touchedPages: Int
}

extension Disk.OnServer {
    @Suite struct Discards {
        /// A volume may cost so many pages more than one of a quarter of its size; a store per page would be
        /// sixty thousand.
        private static let noise = 4096

        @Test func discardingAWholeDiskCostsTheSameForAnySize() throws {
            let up = try HoldfastUp.current
            try up.require("volume", "create", "quarter", "--size", "80M", "--layout", "mirror:3")
            let small = try cost(of: "quarter", in: up) { disk in
                try ToolRun.output("blkdiscard", disk.path)
            }
            let large = try cost(of: "vol0", in: up) { disk in
                try ToolRun.output("blkdiscard", disk.path)
            }
            Guest.tell(
                "discarding 80 MiB: \(small.requests) requests, \(small.touchedPages) pages; "
                    + "320 MiB: \(large.requests) and \(large.touchedPages)")
            #expect(large.requests <= small.requests + 1)
            #expect(large.touchedPages < small.touchedPages + Self.noise)
            try up.require("volume", "delete", "quarter")
        }

        // (xfs discards no less, but writes 64 MiB of zeros for its journal, which takes a minute here.)
        @Test(arguments: [Filesystem.ext4, .btrfs])
        func makingAFilesystemGivesAllMemoryBack(filesystem: Filesystem) throws {
            let up = try HoldfastUp.current
            let disk = try up.attach("vol0")
            try ToolRun.output("blkdiscard", disk.path)
            try filesystem.make(on: disk)
            let made = try residentBytes(of: up)
            // (Where none of them puts anything of its own.)
            try ToolRun.output(
                "dd", "if=/dev/urandom", "of=\(disk.path)", "bs=1M", "count=24", "seek=260",
                "oflag=direct")
            let written = try residentBytes(of: up)
            try filesystem.make(on: disk)
            let remade = try residentBytes(of: up)
            Guest.tell(
                "mkfs.\(filesystem.rawValue): \(made >> 20) MiB resident on an empty disk, "
                    + "\(remade >> 20) on one with \(written >> 20)")
            #expect(written > made + (20 << 20))
            #expect(remade < made + (2 << 20))
            try disk.detach()
        }

        @Test func trimmingGivesTheMemoryOfDeletedFilesBack() throws {
            let up = try HoldfastUp.current
            let disk = try up.attach("vol0")
            try Filesystem.ext4.make(on: disk)
            // (What the kernel would zero by and by, it need not.)
            let mount = try Mount(path: disk.path, options: "noinit_itable")
            let kept = StampedFiles(seed: 4)
            let deleted = StampedFiles(seed: 5, largeBytes: 24 << 20)
            try kept.write(into: mount.path)
            try deleted.write(into: mount.path)
            let full = try residentBytes(of: up)
            try deleted.remove(from: mount.path)
            let requests = disk.completed.discards
            try ToolRun.output("fstrim", mount.path)
            let trimmed = try residentBytes(of: up)
            Guest.tell(
                "fstrim: \(full >> 20) MiB resident before, \(trimmed >> 20) after, by "
                    + "\(disk.completed.discards - requests) discards")
            #expect(trimmed + (20 << 20) < full)
            #expect(kept.problems(in: mount.path) == [])
            try mount.unmount()
            let check = try Filesystem.ext4.check(disk)
            #expect(check.succeeded, "\(check)")
            try disk.detach()
        }

        private func cost(
            of volume: String, in up: HoldfastUp, _ body: (NBDClientDevice) throws -> Void
        ) throws -> DiscardCost {
            let disk = try up.attach(volume)
            let requests = try up.status().volume(volume).counters.discards
            let pages = touchedPages(of: up)
            try body(disk)
            let touched = touchedPages(of: up) - pages
            let sent = try up.status().volume(volume).counters.discards - requests
            try disk.detach()
            return DiscardCost(requests: sent, touchedPages: touched)
        }

        /// What the memory of one copy comes to.
        private func residentBytes(of up: HoldfastUp) throws -> UInt64 {
            try up.status().appliances.map(\.residentBytes).max() ?? 0
        }

        /// The minor faults of all processes of `up` so far.
        private func touchedPages(of up: HoldfastUp) -> Int {
            up.pids.reduce(0) { sum, pid in
                let text = (try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8)) ?? ""
                // After the name, which may have spaces: state, parent, group, … faults as the eighth.
                let fields = text.split(separator: ")").last?.split(separator: " ") ?? []
                return sum + (fields.count > 7 ? Int(fields[7]) ?? 0 : 0)
            }
        }
    }
}
