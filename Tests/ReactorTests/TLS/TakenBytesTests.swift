// What a stream has taken goes as it was then, whatever becomes of the memory afterwards.

import CLinux
import Glibc
import Reactor
import Testing

@Suite struct TakenBytesTests {
    @Test(arguments: [false, true], [1000, 16_384, 100_000])
    func `bytes that were taken may change`(isEncrypted: Bool, piece: Int) throws {
        let pair = try isEncrypted ? TLSKeyTests.pair() : StreamPair(server: nil, client: nil)
        try #require(pair.shake() == .init())
        for stream in [pair.server, pair.client] {
            clinux_set_option(stream.descriptor, SOL_SOCKET, SO_SNDBUF, 4096)
        }
        let whole = (0..<1_000_000).map { UInt8(truncatingIfNeeded: $0 / 251 &+ $0) }
        var memory = whole
        var taken = 0
        var refusals = 0
        var arrived: [UInt8] = []
        while taken < whole.count || pair.client.holdsRecord {
            let count = memory.withUnsafeMutableBytes { buffer in
                // Two pieces, so that records end within them and between them.
                let half = min(piece, whole.count - taken)
                let rest = min(piece, whole.count - taken - half)
                var pieces = [
                    iovec(iov_base: buffer.baseAddress.map { $0 + taken }, iov_len: half),
                    iovec(iov_base: buffer.baseAddress.map { $0 + taken + half }, iov_len: rest),
                ]
                return pair.client.take(&pieces, 2)
            }
            if count < 0 {
                try #require(errno == EAGAIN)
            } else {
                for index in taken..<taken + count { memory[index] = 0xFF }
                taken += count
            }
            if count <= 0 || pair.client.holdsRecord {
                refusals += 1
                arrived += pair.server.received() ?? []
            }
        }
        while let more = pair.server.received(), !more.isEmpty { arrived += more }
        #expect(arrived == whole)
        #expect(refusals > 10, "the socket was full again and again")
    }
}
