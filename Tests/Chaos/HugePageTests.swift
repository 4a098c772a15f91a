// Regions from the pool of huge pages, when it has enough of them free.

import Foundation
import TestSupport
import Testing

extension Chaos {
    @Suite(.timeLimit(.minutes(5)), .needs(.root))
    struct HugePages {
        private static let pool = "/proc/sys/vm/nr_hugepages"

        @Test func aVolumeInHugePagesKeepsItsDataAndTrims() throws {
            let before = try String(contentsOfFile: Self.pool, encoding: .utf8)
            try? "120".write(toFile: Self.pool, atomically: false, encoding: .utf8)
            defer { try? before.write(toFile: Self.pool, atomically: false, encoding: .utf8) }
            guard Self.free >= 110 else {
                try Test.cancel("the kernel gives no 240 MiB of huge pages")
            }
            let up = try HoldfastUp(["--size", "64M", "--layout", "mirror:3"])
            defer { up.stop() }
            #expect(Self.free <= 120 - 3 * 32, "three regions of 64 MiB come from the pool")
            let connection = try NBDConnection(up.uri)
            let bytes = [UInt8]((0..<(4 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 31) })
            try connection.write(bytes, at: 4097)
            try connection.trim(1 << 20, at: 1 << 20)
            let read = try connection.read(bytes.count, at: 4097)
            let hole = (1 << 20) - 4097..<(2 << 20) - 4097
            #expect(read[hole].allSatisfy { $0 == 0 })
            #expect(read[..<hole.lowerBound] == bytes[..<hole.lowerBound])
            #expect(read[hole.upperBound...] == bytes[hole.upperBound...])
            try connection.shutdown()
            try expectToGrow(up, keeping: bytes[..<hole.lowerBound])
            try up.expectMembersIdentical()
        }

        /// All pages of what is new are taken when a volume grows, or it does not.
        private func expectToGrow(_ up: HoldfastUp, keeping bytes: ArraySlice<UInt8>) throws {
            try up.require("volume", "resize", "vol0", "68M")
            #expect(Self.free <= 120 - 3 * 34)
            let larger = try NBDConnection(up.uri)
            #expect(try larger.read(bytes.count, at: 4097) == Array(bytes))
            let last = [UInt8](repeating: 7, count: 4 << 20)
            #expect(try larger.read(last.count, at: 64 << 20).allSatisfy { $0 == 0 })
            try larger.write(last, at: 64 << 20)
            let tooLarge = try up.cli("volume", "resize", "vol0", "160M")
            #expect(tooLarge.status == 1)
            #expect(tooLarge.standardError.contains("vm.nr_hugepages"), "\(tooLarge)")
            #expect(try up.status().volume("vol0").sizeBytes == 68 << 20)
            #expect(try larger.read(last.count, at: 64 << 20) == last)
        }

        /// Free pages of 2 MiB.
        private static var free: Int {
            let text = try? String(
                contentsOfFile: "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages",
                encoding: .utf8)
            return text.flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) } ?? 0
        }
    }
}
