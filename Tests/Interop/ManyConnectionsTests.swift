// Two hundred clients at once.

import TestSupport
import Testing

extension Interop {
    @Suite(.served(), .timeLimit(.minutes(5)))
    struct ManyConnections {
        private static let connectionCount = 200
        private static let requestsPerConnection = 8

        @Test func twoHundredConnectionsAreServedAtOnce() throws {
            let uri = try HoldfastUp.current.uri
            let connections = try (0..<Self.connectionCount).map { _ in try NBDConnection(uri) }
            let stamp = BlockStamp(seed: 200)
            let length = Self.requestsPerConnection * BlockStamp.blockSize
            let buffer = UnsafeMutableRawBufferPointer.allocate(
                byteCount: Self.connectionCount * length, alignment: 4096)
            defer { buffer.deallocate() }

            var cookies: [[NBDConnection.Cookie]] = []
            for (number, connection) in connections.enumerated() {
                cookies.append(
                    try (0..<Self.requestsPerConnection).map { request in
                        let block = number * Self.requestsPerConnection + request
                        let offset = block * BlockStamp.blockSize
                        let place = UnsafeMutableRawBufferPointer(
                            rebasing: buffer[offset..<offset + BlockStamp.blockSize])
                        stamp.fill(place, block: block, version: 1)
                        return try connection.submitWrite(
                            UnsafeRawBufferPointer(place), at: UInt64(offset))
                    })
            }
            // All of them have requests under way now; nobody was waited for yet.
            for (connection, cookies) in zip(connections, cookies) {
                for cookie in cookies { try connection.wait(for: cookie) }
            }
            // Each reads what its neighbour wrote.
            for (number, connection) in connections.enumerated() {
                let neighbour = (number + 1) % Self.connectionCount
                let bytes = try connection.read(length, at: UInt64(neighbour * length))
                bytes.withUnsafeBytes { bytes in
                    for request in 0..<Self.requestsPerConnection {
                        let content = stamp.recognise(
                            UnsafeRawBufferPointer(
                                rebasing: bytes[(request * BlockStamp.blockSize)...]),
                            block: neighbour * Self.requestsPerConnection + request)
                        #expect(content == .version(1))
                    }
                }
            }
        }

        @Test func connectionsThatComeAndGoLeaveNothingBehind() throws {
            let uri = try HoldfastUp.current.uri
            for _ in 0..<500 {
                let connection = try NBDConnection(uri)
                _ = try connection.read(512, at: 0)
            }
            #expect(try NBDConnection(uri).read(512, at: 0).count == 512)
        }
    }
}
