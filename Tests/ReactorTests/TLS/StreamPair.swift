// Both ends of a connection on one thread, each going on as far as it gets.

import CLinux
import Glibc
import Reactor

/// A server's end and a client's.
struct StreamPair {
    let server: SocketStream
    let client: SocketStream

    /// Ends of a pair of Unix sockets; those without a context are plain.
    init(server: TLSContext?, client: TLSContext?) throws {
        let (one, other) = try Self.descriptors()
        self.server = server.map { SocketStream(one, tls: $0) } ?? SocketStream(plain: one)
        self.client = client.map { SocketStream(other, tls: $0) } ?? SocketStream(plain: other)
    }

    static func descriptors() throws -> (Int32, Int32) {
        var pair: [Int32] = [0, 0]
        guard socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0 else {
            throw ReactorError.system(call: "socketpair", errno: errno)
        }
        for descriptor in pair { clinux_set_nonblocking(descriptor) }
        return (pair[0], pair[1])
    }

    /// What became of both ends' handshakes: nil for one that is done.
    struct Shaken: Equatable {
        var server: TLSError?
        var client: TLSError?
    }

    /// Shakes hands until both ends are done, or have failed.
    func shake() -> Shaken {
        var shaken = Shaken()
        var (serverEnded, clientEnded) = (false, false)
        // (Each round moves a flight; TLS 1.3 has three.)
        for _ in 0..<10 where !(serverEnded && clientEnded) {
            if !clientEnded { clientEnded = Self.step(client, &shaken.client) }
            if !serverEnded { serverEnded = Self.step(server, &shaken.server) }
        }
        // An end that still waits would have been told of the other's failure by its closing.
        if !serverEnded { shaken.server = .closed }
        if !clientEnded { shaken.client = .closed }
        return shaken
    }

    private static func step(_ stream: SocketStream, _ problem: inout TLSError?) -> Bool {
        do throws(TLSError) {
            return try stream.handshake() == nil
        } catch {
            problem = error
            return true
        }
    }
}

extension SocketStream {
    /// Sends one piece; as `send` returns.
    func send(_ bytes: [UInt8]) -> Int {
        var bytes = bytes
        return bytes.withUnsafeMutableBytes { buffer in
            var piece = iovec(iov_base: buffer.baseAddress, iov_len: buffer.count)
            return send(&piece, 1)
        }
    }

    /// Receives what there is, up to `limit` bytes; nil when `receive` returns -1.
    func received(_ limit: Int = 65536) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: limit)
        let count = bytes.withUnsafeMutableBytes { buffer in
            buffer.baseAddress.map { receive($0, limit) } ?? 0
        }
        return count < 0 ? nil : Array(bytes[..<count])
    }
}
