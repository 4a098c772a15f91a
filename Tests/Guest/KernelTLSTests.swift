// Under a kernel that has TLS: it seals what clients over TCP are sent, and they notice nothing.

import Foundation
import TestSupport
import Testing

extension Disk {
    @Suite(.timeLimit(.minutes(5))) struct KernelTLS {
        /// How many connections the kernel has sealed for since it started, and does now.
        private static func counts() throws -> (ever: Int, now: Int) {
            let text = try String(contentsOfFile: "/proc/net/tls_stat", encoding: .utf8)
            func value(_ name: String) -> Int? {
                let line = text.split(separator: "\n").first { $0.hasPrefix(name) }
                return line?.split(whereSeparator: \.isWhitespace).last.flatMap { Int($0) }
            }
            return (try #require(value("TlsTxSw ")), try #require(value("TlsCurrTxSw ")))
        }

        @Test(arguments: [true, false])
        func theKernelSealsWhatIsSentUnlessItIsNotLetTo(isLet: Bool) throws {
            let directory = try TemporaryDirectory()
            let keys = directory.file("keys.psk")
            try "alice:\(String(repeating: "a1", count: 32))\n".write(
                toFile: keys, atomically: true, encoding: .utf8)
            try #require(chmod(keys, 0o600) == 0)
            var options = [
                "--size", "64M", "--layout", "mirror:2", "--nbd", "tcp:127.0.0.1:0",
                "--nbd-psk-file", keys,
                "--evict-after", SharedCluster.evictAfter,
            ]
            if !isLet { options.append("--no-nbd-kernel-tls") }
            let up = try HoldfastUp(options)
            let served = try #require(try up.status().nbd.first { $0.hasPrefix("nbds://") })
            let port = try #require(URL(string: served)?.port)
            let uri = "nbds://alice@127.0.0.1:\(port)/vol0?tls-psk-file=\(keys)"
            let before = try Self.counts()

            let connection = try NBDConnection(uri)
            let during = try Self.counts()
            #expect(during.ever == before.ever + (isLet ? 1 : 0))
            #expect(during.now == before.now + (isLet ? 1 : 0))
            let bytes = (0..<(3 << 20)).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 >> 11) }
            // (The writer below has the blocks in front of it.)
            let place: UInt64 = 32 << 20
            try connection.write(bytes, at: place)
            #expect(try connection.read(bytes.count, at: place) == bytes)
            for (offset, count) in [(0, 1), (1, 511), (16_383, 3), (70_001, 16_385)] {
                #expect(
                    try connection.read(count, at: place + UInt64(offset))
                        == Array(bytes[offset..<offset + count]))
            }
            try connection.shutdown()
            let rest = try eventually(atMost: .seconds(30)) {
                try Self.counts().now == before.now ? true : nil
            }
            #expect(rest != nil, "a connection that is closed is not counted any more")

            // More than the socket takes at once, and blocks that are overwritten while they are sent.
            var load = VerifyingWriter.Load()
            load.blockCount = 256
            load.connections = 2
            load.depth = 16
            load.readsPerHundred = 70
            let writer = VerifyingWriter(uri, load)
            writer.start()
            Thread.sleep(forTimeInterval: 5)
            let counts = try writer.stop()
            #expect(counts.problems.isEmpty && counts.requestErrors == 0, "\(counts)")
            #expect(counts.acknowledgedWrites > 0 && counts.reads > 0, "\(counts)")
            #expect(try writer.verifyAll().isEmpty)
            up.stop()
        }
    }
}
