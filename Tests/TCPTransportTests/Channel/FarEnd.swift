// The other end of a channel, played by the test: it sees every byte, and answers what it likes.

import CLinux
import Glibc
import Reactor
import RemoteMemory
import TCPTransport
import Testing

/// A request as it came, taken apart.
struct SeenRequest: Equatable {
    var operation: AccessOperation?
    var tag: UInt64
    var segments: [AccessSegment]
    var bytes: [UInt8]
}

/// A socket pair: a channel on one end, the test on the other.
final class FarEnd {
    let channel: RegionChannel
    let descriptor: Int32
    private var received: [UInt8] = []

    init(dataSize: ByteCount = .mebibytes(64), buffer: Int32? = nil) throws {
        var ends: [Int32] = [0, 0]
        try #require(
            socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue), 0, &ends)
                == 0)
        descriptor = ends[1]
        channel = RegionChannel(SocketStream(plain: ends[0]), dataSize: dataSize)
        if let buffer { clinux_set_option(ends[0], SOL_SOCKET, SO_SNDBUF, buffer) }
    }

    deinit { close(descriptor) }

    /// Everything that arrived so far and is a whole request.
    func requests() -> [SeenRequest] {
        var piece = [UInt8](repeating: 0, count: 1 << 16)
        while case let count = recv(descriptor, &piece, piece.count, 0), count > 0 {
            received += piece[..<count]
        }
        var seen: [SeenRequest] = []
        while received.count >= 16 {
            let header = AccessRequestHeader(received.span.bytes)
            let size = 16 + Int(header.bodySize)
            guard received.count >= size else { break }
            var segments: [AccessSegment] = []
            for index in 0..<Int(header.segmentCount) {
                let start = 16 + index * 16
                segments.append(AccessSegment(Array(received[start..<start + 16]).span.bytes))
            }
            seen.append(
                SeenRequest(
                    operation: AccessOperation(rawValue: header.operation), tag: header.tag,
                    segments: segments,
                    bytes: Array(received[(16 + 16 * segments.count)..<size])))
            received.removeFirst(size)
        }
        return seen
    }

    /// How many bytes arrived that belong to no whole request yet.
    var rest: Int { received.count }

    func send(_ bytes: [UInt8]) {
        #expect(Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count)
    }

    func reply(
        _ tag: UInt64, _ status: AccessStatus = .done, _ content: ReplyContent = .nothing,
        _ bytes: [UInt8] = []
    ) {
        send(Self.reply(tag, status, content, bytes))
    }

    static func reply(
        _ tag: UInt64, _ status: AccessStatus = .done, _ content: ReplyContent = .nothing,
        _ bytes: [UInt8] = []
    ) -> [UInt8] {
        let header = AccessReplyHeader(
            bodySize: UInt32(bytes.count), status: status, content: content, tag: tag)
        let words = header.words
        return [words.0, words.1].flatMap { withUnsafeBytes(of: $0) { Array($0) } } + bytes
    }

    /// Receives, and takes what is complete.
    func completions() -> [(cookie: UInt64, status: AccessStatus?, bytes: [UInt8])] {
        channel.receive()
        var taken: [(UInt64, AccessStatus?, [UInt8])] = []
        while let completion = channel.nextCompletion() {
            taken.append((completion.access.cookie, completion.status, Array(completion.bytes)))
        }
        return taken
    }
}

extension PendingAccess {
    init(_ cookie: UInt64) { self.init(cookie: cookie, purpose: 1) }
}
