// The filesystems people put on a volume, and files in them that say what they are.

import Foundation
import TestSupport
import Testing

/// A kind of filesystem, with the programs that make and check it.
enum Filesystem: String, CaseIterable, Sendable, CustomTestStringConvertible {
    case ext4, xfs, btrfs

    var testDescription: String { rawValue }

    /// The smallest volume all of them take is that of xfs: 300 MiB.
    static let volumeSize = "320M"

    /// Makes an empty one on `device`, which discards all that was there.
    func make(on device: NBDClientDevice) throws {
        let options =
            switch self {
            case .ext4: ["-q", "-F"]
            case .xfs, .btrfs: ["-q", "-f"]
            }
        let run = try ToolRun(
            ["mkfs.\(rawValue)"] + options + [device.path], atMost: .seconds(180))
        guard run.succeeded else { throw HarnessError("\(run)") }
    }

    /// Looks at the whole of an unmounted one, and changes nothing.
    func check(_ device: NBDClientDevice) throws -> ToolRun {
        let command =
            switch self {
            case .ext4: ["e2fsck", "-f", "-n"]
            case .xfs: ["xfs_repair", "-n"]
            case .btrfs: ["btrfs", "check", "--readonly"]
            }
        return try ToolRun(command + [device.path], atMost: .seconds(180))
    }
}

/// Files whose contents follow from their names, so that they need not be remembered.
struct StampedFiles: Sendable {
    let seed: UInt64
    /// Small files of one block, beside one large file.
    let count: Int
    /// The large one's.
    let largeBytes: Int

    init(seed: UInt64, count: Int = 24, largeBytes: Int = 4 << 20) {
        self.seed = seed
        self.count = count
        self.largeBytes = largeBytes
    }

    private var sizes: [(name: String, blocks: Int)] {
        (0..<count).map { ("\(seed)-\($0)", 1) }
            + [("\(seed)-large", largeBytes / BlockStamp.blockSize)]
    }

    private func content(_ number: Int, blocks: Int) -> Data {
        let stamp = BlockStamp(seed: seed)
        var bytes = [UInt8](repeating: 0, count: blocks * BlockStamp.blockSize)
        bytes.withUnsafeMutableBytes { bytes in
            for block in 0..<blocks {
                let target = UnsafeMutableRawBufferPointer(
                    rebasing: bytes[(block * BlockStamp.blockSize)...])
                stamp.fill(target, block: block, version: UInt64(number))
            }
        }
        return Data(bytes)
    }

    /// Writes all of them into `folder`, and waits until the disk has them.
    func write(into folder: String) throws {
        for (number, file) in sizes.enumerated() {
            try content(number, blocks: file.blocks)
                .write(to: URL(fileURLWithPath: "\(folder)/\(file.name)"))
        }
        try ToolRun.output("sync", "-f", folder)
    }

    func remove(from folder: String) throws {
        for file in sizes { try FileManager.default.removeItem(atPath: "\(folder)/\(file.name)") }
        try ToolRun.output("sync", "-f", folder)
    }

    /// What is wrong with those in `folder`; nothing when each is as it was written.
    func problems(in folder: String) -> [String] {
        sizes.enumerated().compactMap { number, file in
            let path = "\(folder)/\(file.name)"
            guard let found = FileManager.default.contents(atPath: path) else {
                return "\(path) is missing"
            }
            guard found != content(number, blocks: file.blocks) else { return nil }
            return "\(path) has other contents, in \(found.count) bytes"
        }
    }
}
