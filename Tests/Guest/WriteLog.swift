// What dm-log-writes wrote down: every write to a disk in the order in which it became durable.
//
//     block 0          block 1        block 2 …                       (blocks of the logged disk's size)
//     super block      entry          its data      entry   data …
//     magic            block
//     version          how many
//     entry count      flags: flush, FUA, discard, mark
//     block size       bytes of a mark's name, which follows in the entry's own block
//
// All numbers are little-endian; see Documentation/admin-guide/device-mapper/log-writes.rst. A write is logged
// when a flush that came after its completion completes, or at once when it is a FUA write itself. So
//
//     a flush among the entries   ⇒ all entries before it are durable
//     a FUA write                 ⇒ it is durable
//     anything after both         may be on the disk, or not
//
// Two writes of one block must not be under way at once, nor be FUA and plain in turns: their order in the log
// would not be theirs on the disk. Whoever makes a log here sees to that.

import Foundation
import TestSupport

/// A log, read from the device or file that holds it.
struct WriteLog {
    /// One thing that happened to the logged disk.
    struct Entry: Equatable {
        let blocks: Range<Int>
        let flags: Flags
        /// Of a mark.
        let name: String
        /// Where the data is in the log, in bytes.
        let dataOffset: Int
    }

    struct Flags: OptionSet {
        let rawValue: UInt64
        static let flush = Flags(rawValue: 1 << 0)
        static let fua = Flags(rawValue: 1 << 1)
        static let discard = Flags(rawValue: 1 << 2)
        static let mark = Flags(rawValue: 1 << 3)
    }

    private static let magic: UInt64 = 0x6a_7366_7773_6872
    private static let headerBytes = 32
    /// More is not a log of these tests, but a misread one.
    private static let entryLimit: UInt64 = 1 << 20

    let blockSize: Int
    let entries: [Entry]
    private let file: FileHandle

    /// Reads the entries of the log at `path`, but not their data.
    ///
    /// - Throws: `HarnessError` when this is no log, or its end is missing.
    init(path: String) throws {
        guard let file = FileHandle(forReadingAtPath: path) else {
            throw HarnessError("\(path) cannot be read")
        }
        let head = try Self.read(Self.headerBytes, at: 0, from: file)
        guard Self.number(head, 0) == Self.magic, Self.number(head, 1) == 1 else {
            throw HarnessError("\(path) is no log of dm-log-writes, version 1")
        }
        let count = Self.number(head, 2)
        let blockSize = Int(truncatingIfNeeded: Self.number(head, 3) & 0xffff_ffff)
        guard count <= Self.entryLimit, [512, 4096].contains(blockSize) else {
            throw HarnessError("\(path) has \(count) entries of \(blockSize) bytes")
        }
        var entries: [Entry] = []
        var offset = blockSize
        for _ in 0..<count {
            let entry = try Self.entry(at: offset, blockSize: blockSize, in: file)
            entries.append(entry)
            offset = entry.dataOffset
            if entry.flags.isDisjoint(with: [.discard, .mark]) {
                offset += entry.blocks.count * blockSize
            }
        }
        self.blockSize = blockSize
        self.entries = entries
        self.file = file
    }

    private static func entry(
        at offset: Int, blockSize: Int, in file: FileHandle
    ) throws -> Entry {
        let bytes = try read(blockSize, at: offset, from: file)
        let first = Int(truncatingIfNeeded: number(bytes, 0))
        let count = Int(truncatingIfNeeded: number(bytes, 1))
        let flags = Flags(rawValue: number(bytes, 2))
        let nameBytes = flags.contains(.mark) ? Int(truncatingIfNeeded: number(bytes, 3)) : 0
        guard first >= 0, count >= 0, (0...(blockSize - headerBytes)).contains(nameBytes) else {
            throw HarnessError("the entry at byte \(offset) is none")
        }
        let name = String(decoding: bytes[headerBytes..<headerBytes + nameBytes], as: UTF8.self)
        return Entry(
            blocks: first..<first + count, flags: flags, name: name,
            dataOffset: offset + blockSize)
    }

    private static func read(_ count: Int, at offset: Int, from file: FileHandle) throws -> [UInt8]
    {
        try file.seek(toOffset: UInt64(offset))
        let data = try file.read(upToCount: count) ?? Data()
        guard data.count == count else { throw HarnessError("the log ends at byte \(offset)") }
        return [UInt8](data)
    }

    private static func number(_ bytes: [UInt8], _ index: Int) -> UInt64 {
        bytes[index * 8..<index * 8 + 8].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    // MARK: What it tells

    /// The place of the mark `name`.
    func position(ofMark name: String) throws(HarnessError) -> Int {
        guard
            let position = entries.firstIndex(where: { $0.flags.contains(.mark) && $0.name == name }
            )
        else {
            let marks = entries.filter { $0.flags.contains(.mark) }.map(\.name)
            throw HarnessError("of \(entries.count) entries none is the mark \(name): \(marks)")
        }
        return position
    }

    private func writesData(_ entry: Entry) -> Bool {
        !entry.blocks.isEmpty && !entry.flags.contains(.mark)
    }

    /// What `entry` puts into `block`, which is one of its own.
    private func content(of block: Int, by entry: Entry) throws -> [UInt8] {
        guard !entry.flags.contains(.discard) else {
            return [UInt8](repeating: 0, count: blockSize)
        }
        let offset = entry.dataOffset + (block - entry.blocks.lowerBound) * blockSize
        return try Self.read(blockSize, at: offset, from: file)
    }

    /// Does to another disk all that was done to this one up to `position`.
    func replay(upTo position: Int, on target: NBDConnection) throws {
        for entry in entries[..<position] where writesData(entry) {
            let bytes = entry.blocks.count * blockSize
            let offset = UInt64(entry.blocks.lowerBound * blockSize)
            if entry.flags.contains(.discard) {
                try target.zero(UInt64(bytes), at: offset)
            } else {
                try target.write(
                    try Self.read(bytes, at: entry.dataOffset, from: file), at: offset)
            }
        }
    }

    /// What a disk must hold that failed after `position`.
    struct Durable {
        /// By block: the entries one of which it must hold, the oldest first; that one is durable.
        fileprivate(set) var allowed: [Int: [Int]] = [:]
        fileprivate(set) var flushes = 0
        fileprivate(set) var fuaWrites = 0
    }

    /// What was durable at `position`, and what else may have come after.
    func durable(at position: Int) -> Durable {
        var durable = Durable()
        let lastFlush = entries[..<position].lastIndex { $0.flags.contains(.flush) } ?? -1
        for (index, entry) in entries.enumerated() {
            if index < position, entry.flags.contains(.flush) { durable.flushes += 1 }
            guard writesData(entry) else { continue }
            let isFUA = index < position && entry.flags.contains(.fua)
            if isFUA { durable.fuaWrites += 1 }
            for block in entry.blocks {
                if index < lastFlush || isFUA {
                    durable.allowed[block] = [index]
                } else {
                    // (What was never durable may be missing altogether.)
                    durable.allowed[block]?.append(index)
                }
            }
        }
        return durable
    }

    /// The blocks of `disk` that hold something else than `durable` says, each with a sentence.
    func problems(of disk: NBDConnection, _ durable: Durable) throws -> [String] {
        try durable.allowed.sorted { $0.key < $1.key }.compactMap { block, positions in
            let found = try disk.read(blockSize, at: UInt64(block * blockSize))
            return try problem(in: block, found, positions)
        }
    }

    /// Says what is wrong with `found` in `block`, if it is the content of none of `positions`.
    func problem(in block: Int, _ found: [UInt8], _ positions: [Int]) throws -> String? {
        for position in positions
        where try content(of: block, by: entries[position]) == found { return nil }
        let older = try entries.indices.last { position in
            try writesData(entries[position]) && entries[position].blocks.contains(block)
                && content(of: block, by: entries[position]) == found
        }
        return
            "block \(block) holds entry \(older.map(String.init) ?? "none"), not one of \(positions)"
    }
}
