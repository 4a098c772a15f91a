// libnbd's C interface: every command, every error, every edge of a request.

import Glibc
import TestSupport
import Testing

extension Interop {
    @Suite(.served(), .timeLimit(.minutes(5)))
    struct Libnbd {
        private static let size: UInt64 = 256 << 20

        private let connection: NBDConnection

        init() throws {
            connection = try NBDConnection(HoldfastUp.current.uri)
        }

        private func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
            var random = SeededGenerator(seed: seed)
            var bytes = [UInt8](repeating: 0, count: count)
            for index in stride(from: 0, to: count, by: 8) {
                let word = random.next()
                for byte in index..<min(index + 8, count) {
                    bytes[byte] = UInt8(truncatingIfNeeded: word >> UInt64((byte - index) * 8))
                }
            }
            return bytes
        }

        private func isZero(_ bytes: [UInt8]) -> Bool {
            bytes.allSatisfy { $0 == 0 }
        }

        private func expectError(
            _ code: Int32, _ comment: Comment, sourceLocation: SourceLocation = #_sourceLocation,
            _ body: () throws -> Void
        ) {
            #expect(
                throws: NBDError(code: code), comment, sourceLocation: sourceLocation
            ) { try body() }
            // Whatever was refused, the connection goes on.
            #expect(throws: Never.self, comment, sourceLocation: sourceLocation) {
                try connection.read(512, at: 0)
            }
        }

        // MARK: Commands

        @Test func theServerAdvertisesWhatItCan() {
            #expect(connection.size == Int64(Self.size))
            #expect(!connection.isReadOnly)
            #expect(connection.canFlush && connection.canFUA && connection.canTrim)
            #expect(connection.canZero && connection.canCache && connection.canMultiConn)
            let sizes = connection.blockSizes
            #expect(sizes.minimum == 1 && sizes.preferred == 4096 && sizes.maximum == 32 << 20)
        }

        @Test func everyCommandDoesWhatItSays() throws {
            let data = pattern(65536)
            try connection.write(data, at: 1 << 20)
            #expect(try connection.read(65536, at: 1 << 20) == data)
            let reversed = Array(data.reversed())
            try connection.write(reversed, at: 1 << 20, flags: RequestFlag.fua)
            #expect(try connection.read(65536, at: 1 << 20) == reversed)
            try connection.flush()
            try connection.cache(65536, at: 1 << 20)
            try connection.zero(4096, at: 1 << 20)
            #expect(try isZero(connection.read(4096, at: 1 << 20)))
            try connection.zero(
                4096, at: 1 << 20 + 4096, flags: RequestFlag.noHole | RequestFlag.fua)
            #expect(try isZero(connection.read(8192, at: 1 << 20)))
            try connection.trim(8192, at: 1 << 20 + 8192, flags: RequestFlag.fua)
            #expect(try isZero(connection.read(16384, at: 1 << 20)))
            #expect(try connection.read(49152, at: 1 << 20 + 16384) == Array(reversed[16384...]))
        }

        @Test func aFlushCoversWhatOtherConnectionsWrote() throws {
            let other = try NBDConnection(HoldfastUp.current.uri)
            try connection.write(pattern(4096, seed: 3), at: 0)
            try other.flush()
            #expect(try other.read(4096, at: 0) == pattern(4096, seed: 3))
        }

        @Test(arguments: [1, 2, 511, 512, 513, 4095, 4096, 4097, 65537, 1 << 20 + 1])
        func lengthsNeedNoAlignment(length: Int) throws {
            let base: UInt64 = 8 << 20
            let background = pattern(length + 2, seed: 4)
            for offset in [base, base + 1, base + 511, base + 4095] as [UInt64] {
                try connection.write(background, at: offset)
                try connection.write(pattern(length), at: offset + 1)
                let found = try connection.read(length + 2, at: offset)
                #expect(found.first == background.first && found.last == background.last)
                #expect(Array(found[1...length]) == pattern(length))
                try connection.zero(UInt64(length), at: offset + 1)
                let zeroed = try connection.read(length + 2, at: offset)
                #expect(zeroed.first == background.first && zeroed.last == background.last)
                #expect(isZero(Array(zeroed[1...length])))
            }
        }

        @Test func trimsNeedNoAlignment() throws {
            let base: UInt64 = 12 << 20
            let data = pattern(3 * 4096)
            try connection.write(data, at: base)
            try connection.trim(5000, at: base + 1000)
            let found = try connection.read(data.count, at: base)
            #expect(found[..<1000] == data[..<1000])
            #expect(found[6000...] == data[6000...])
        }

        @Test func theLargestPayloadPasses() throws {
            let data = pattern(32 << 20)
            try connection.write(data, at: 64 << 20)
            #expect(try connection.read(32 << 20, at: 64 << 20) == data)
        }

        @Test func theFirstAndLastBytesOfTheVolumeAreReachable() throws {
            for offset in [0, Self.size - 1] {
                try connection.write([0xA5], at: offset)
                #expect(try connection.read(1, at: offset) == [0xA5])
            }
        }

        @Test func theWholeDeviceIsZeroedOrTrimmedInOneRequest() throws {
            let mark = pattern(4096)
            for offset in [0, 100 << 20, Self.size - 4096] as [UInt64] {
                try connection.write(mark, at: offset)
            }
            try connection.zero(Self.size, at: 0)
            for offset in [0, 100 << 20, Self.size - 4096] as [UInt64] {
                #expect(try isZero(connection.read(4096, at: offset)))
                try connection.write(mark, at: offset)
            }
            try connection.trim(Self.size, at: 0)
            for offset in [0, 100 << 20, Self.size - 4096] as [UInt64] {
                #expect(try isZero(connection.read(4096, at: offset)))
            }
        }

        @Test func overlappingRequestsOfOneConnectionAllComplete() throws {
            let buffers = (0..<64).map { pattern(8192, seed: UInt64($0)) }
            try buffers.withUnsafeRawBuffers { buffers in
                let cookies = try buffers.enumerated().map { index, buffer in
                    try connection.submitWrite(buffer, at: 20 << 20 + UInt64(index % 4) * 2048)
                }
                for cookie in cookies { try connection.wait(for: cookie) }
            }
            // One of them was last at each place; the last submitted holds nobody up.
            #expect(try connection.read(16384, at: 20 << 20).count == 16384)
        }

        // MARK: Errors

        @Test func requestsPastTheEndAreRefusedWithTheirErrors() {
            let end = Self.size
            expectError(ENOSPC, "write at the end") {
                try connection.write([1], at: end)
            }
            expectError(ENOSPC, "write across the end") {
                try connection.write([UInt8](repeating: 1, count: 4096), at: end - 4095)
            }
            expectError(ENOSPC, "write far beyond") {
                try connection.write([1], at: 1 << 62)
            }
            expectError(ENOSPC, "zero across the end") {
                try connection.zero(4096, at: end - 1)
            }
            expectError(EINVAL, "read at the end") {
                _ = try connection.read(1, at: end)
            }
            expectError(EINVAL, "read across the end") {
                _ = try connection.read(4096, at: end - 4095)
            }
            expectError(EINVAL, "trim across the end") {
                try connection.trim(4096, at: end - 1)
            }
            expectError(EINVAL, "an offset that wraps around") {
                _ = try connection.read(4096, at: .max - 100)
            }
        }

        @Test func aWriteAcrossTheEndWritesNothing() throws {
            let before = pattern(4096, seed: 9)
            try connection.write(before, at: Self.size - 4096)
            expectError(ENOSPC, "write across the end") {
                try connection.write(pattern(8192), at: Self.size - 4096)
            }
            #expect(try connection.read(4096, at: Self.size - 4096) == before)
        }

        @Test func requestsOfNoLengthDoNotDisconnect() throws {
            // The protocol leaves their outcome open; the connection must survive.
            try? connection.write([], at: 0)
            _ = try? connection.read(0, at: 0)
            try? connection.trim(0, at: 0)
            try? connection.zero(0, at: 0)
            try? connection.cache(0, at: 0)
            try? connection.write([], at: Self.size)
            #expect(try connection.read(4096, at: 0).count == 4096)
        }

        @Test func aFastZeroIsFastOrRefusedWithoutEffect() throws {
            try connection.write([1, 2, 3, 4], at: 30 << 20)
            do {
                try connection.zero(4, at: 30 << 20, flags: RequestFlag.fastZero)
                #expect(try connection.read(4, at: 30 << 20) == [0, 0, 0, 0])
            } catch {
                #expect([EINVAL, ENOTSUP].contains(error.code))
                #expect(try connection.read(4, at: 30 << 20) == [1, 2, 3, 4])
            }
        }

        @Test func aSnapshotTakesNoWrites() throws {
            let up = try HoldfastUp.current
            try connection.write(pattern(4096, seed: 5), at: 40 << 20)
            try up.require("snapshot", "create", "vol0", "fixed")
            let snapshot = try NBDConnection(up.uri(of: "vol0@fixed"))
            #expect(snapshot.isReadOnly)
            for attempt in 0..<3 {
                #expect(throws: NBDError(code: EPERM)) {
                    switch attempt {
                    case 0: try snapshot.write([1], at: 0)
                    case 1: try snapshot.zero(4096, at: 0)
                    default: try snapshot.trim(4096, at: 0)
                    }
                }
            }
            try connection.write(pattern(4096, seed: 6), at: 40 << 20)
            #expect(try snapshot.read(4096, at: 40 << 20) == pattern(4096, seed: 5))
            try snapshot.flush()
        }
    }
}

extension [[UInt8]] {
    /// Lends all arrays at once, for requests that are in flight together.
    fileprivate func withUnsafeRawBuffers<Result>(
        _ body: ([UnsafeRawBufferPointer]) throws -> Result
    ) rethrows -> Result {
        let copies = map { bytes in
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 8)
            copy.copyBytes(from: bytes)
            return copy
        }
        defer { copies.forEach { $0.deallocate() } }
        return try body(copies.map { UnsafeRawBufferPointer($0) })
    }
}
