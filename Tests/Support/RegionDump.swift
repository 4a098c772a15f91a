// The members' memory itself, beside everything Holdfast says about it.
//
// An appliance keeps each region in a memfd. Any process that may trace it can open that memory
// through /proc/PID/fd. It is read with pread: mapping it would make its holes resident.

import Foundation
import Glibc

/// The data of one member's region, read from the outside.
package final class RegionDump: Sendable {
    /// Bytes before the data: label, observer area, dirty map, which differ by member.
    package static let headerSize: UInt64 = 2 << 20

    package let member: StatusReport.Member
    /// Where the memory is found below /proc.
    private let path: String
    private let descriptor: Int32
    private let size: UInt64

    private init(
        _ member: StatusReport.Member, path: String, descriptor: Int32, size: UInt64
    ) {
        self.member = member
        self.path = path
        self.descriptor = descriptor
        self.size = size
    }

    deinit {
        close(descriptor)
    }

    /// Opens the regions of all members of `volume`.
    package static func members(
        of volume: StatusReport.Volume, in status: StatusReport
    ) throws -> [RegionDump] {
        try volume.members.map { member in
            guard let pid = try status.appliance(member.appliance).pid else {
                throw HarnessError("the appliance \(member.appliance) is down")
            }
            return try open(member, of: pid, size: volume.sizeBytes)
        }
    }

    private static func open(
        _ member: StatusReport.Member, of pid: pid_t, size: UInt64
    ) throws -> RegionDump {
        let folder = "/proc/\(pid)/fd"
        let files = try FileManager.default.contentsOfDirectory(atPath: folder).compactMap { name in
            let target = try? FileManager.default.destinationOfSymbolicLink(
                atPath: "\(folder)/\(name)")
            return target.map { (path: "\(folder)/\(name)", target: $0) }
        }
        for file in files where file.target.hasPrefix("/memfd:holdfast-") {
            let descriptor = Glibc.open(file.path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else {
                throw HarnessError("\(file.path): \(String(cString: strerror(errno)))")
            }
            let dump = RegionDump(
                member, path: file.path, descriptor: descriptor, size: size)
            if dump.labelledRegion == member.region { return dump }
        }
        throw HarnessError(
            "process \(pid) has no memory labelled \(member.region) among \(files.map(\.target))")
    }

    /// The region this memory says it is: the fifth and sixth word of the label at its start.
    private var labelledRegion: String {
        var words: (UInt64, UInt64) = (0, 0)
        guard pread(descriptor, &words, 16, 32) == 16 else { return "" }
        let digits = [words.0, words.1].map { String($0, radix: 16) }
        return digits.map { String(repeating: "0", count: 16 - $0.count) + $0 }.joined()
    }

    /// Reads `count` bytes of data from `offset` on.
    package func read(_ count: Int, at offset: UInt64) throws(HarnessError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        let got = pread(descriptor, &bytes, count, off_t(Self.headerSize + offset))
        guard got == count else {
            throw HarnessError("member \(member.index): \(got) of \(count) bytes at \(offset)")
        }
        return bytes
    }

    /// Where `dumps` first differ, and between whom; nil when all are the same, byte for byte.
    package static func firstDifference(between dumps: [RegionDump]) throws -> String? {
        guard let first = dumps.first, dumps.count > 1 else {
            throw HarnessError("there is nothing to compare")
        }
        let chunk: UInt64 = 1 << 20
        for offset in stride(from: 0, to: first.size, by: Int(chunk)) {
            let count = Int(min(chunk, first.size - offset))
            let expected = try first.read(count, at: offset)
            for other in dumps.dropFirst() {
                let found = try other.read(count, at: offset)
                guard found != expected else { continue }
                let place = zip(expected, found).enumerated().first { $0.element.0 != $0.element.1 }
                return "members \(first.member.index) and \(other.member.index) differ at byte "
                    + "\(offset + UInt64(place?.offset ?? 0))"
            }
        }
        return nil
    }

    /// Changes one byte of the data, as a fault of the memory would.
    package func flipByte(at offset: UInt64) throws(HarnessError) {
        var byte = try read(1, at: offset)
        byte[0] ^= 0xFF
        let writable = Glibc.open(path, O_RDWR | O_CLOEXEC)
        defer { close(writable) }
        guard pwrite(writable, byte, 1, off_t(Self.headerSize + offset)) == 1 else {
            throw HarnessError("\(path): \(String(cString: strerror(errno)))")
        }
    }

    /// The bytes of memory the region occupies, header and all.
    package var residentBytes: UInt64 {
        var information = Glibc.stat()
        guard fstat(descriptor, &information) == 0 else { return 0 }
        return UInt64(information.st_blocks) * 512
    }
}
