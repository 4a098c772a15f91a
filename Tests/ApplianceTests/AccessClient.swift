// A client device's end of an access connection, byte by byte: it sends what it is told, also nonsense.

import Appliance
import CLinux
import Foundation
import Glibc
import Reactor
import RemoteMemory
import TCPTransport
import Testing

/// One reply as it came.
struct AccessReply: Equatable {
    var status: AccessStatus?
    var content: ReplyContent?
    var tag: UInt64
    var body: [UInt8]
}

/// A connection that nobody is obeyed on but the test.
final class AccessClient {
    /// Generous: it is only ever used up by a failure.
    static let patience: Int32 = 20_000

    let stream: SocketStream

    init(_ stream: SocketStream) { self.stream = stream }

    /// An open connection that is not attached.
    init(_ appliance: RunningAppliance) throws {
        stream = try Dialer.connect(
            to: appliance.network, for: .access, security: .local,
            within: Int(Self.patience))
    }

    /// An attached one.
    init(
        _ appliance: RunningAppliance, _ region: RegionID, _ key: Identifier,
        security: PeerSecurity = .local
    ) throws {
        stream = try ApplianceConnection.attach(
            to: appliance.network, security: security, region, key: key)
    }

    static func request(
        _ operation: AccessOperation, tag: UInt64, _ segments: [AccessSegment] = [],
        _ bytes: [UInt8] = []
    ) -> [UInt8] {
        let header = AccessRequestHeader(
            bodySize: UInt32(segments.count * 16 + bytes.count), operation: operation,
            segmentCount: UInt16(segments.count), tag: tag)
        return words(header.words) + segments.flatMap { words($0.words) } + bytes
    }

    static func words(_ words: (UInt64, UInt64)) -> [UInt8] {
        withUnsafeBytes(of: words.0) { Array($0) } + withUnsafeBytes(of: words.1) { Array($0) }
    }

    func send(_ bytes: [UInt8]) {
        var sent = 0
        while sent < bytes.count {
            let count = sendSome(bytes, from: sent)
            if count > 0 {
                sent += count
            } else if errno == EAGAIN {
                var entry = pollfd(fd: stream.descriptor, events: Int16(POLLOUT), revents: 0)
                guard poll(&entry, 1, Self.patience) == 1 else { return }
            } else {
                return
            }
        }
    }

    /// Sends what the socket takes at once; as `send` returns.
    func sendSome(_ bytes: [UInt8], from start: Int = 0) -> Int {
        bytes.withUnsafeBytes {
            var piece = iovec(
                iov_base: UnsafeMutableRawPointer(
                    mutating: $0.baseAddress.unsafelyUnwrapped + start),
                iov_len: bytes.count - start)
            return stream.send(&piece, 1)
        }
    }

    /// So many bytes; fewer when the connection ends.
    func receive(_ count: Int) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var received = 0
        while received < count {
            let result = bytes.withUnsafeMutableBytes {
                stream.receive($0.baseAddress.unsafelyUnwrapped + received, count - received)
            }
            if result > 0 {
                received += result
            } else if result < 0, errno == EAGAIN {
                var entry = pollfd(fd: stream.descriptor, events: Int16(POLLIN), revents: 0)
                guard poll(&entry, 1, Self.patience) == 1 else { break }
            } else {
                break
            }
        }
        return Array(bytes.prefix(received))
    }

    /// The next reply; nil when the connection ends.
    func reply() -> AccessReply? {
        let header = receive(16)
        guard header.count == 16 else { return nil }
        let read = AccessReplyHeader(header.span.bytes)
        return AccessReply(
            status: read.status, content: read.content, tag: read.tag,
            body: receive(Int(read.bodySize)))
    }

    func ask(
        _ operation: AccessOperation, _ segments: [AccessSegment] = [], _ bytes: [UInt8] = []
    ) -> AccessReply? {
        send(Self.request(operation, tag: 7, segments, bytes))
        return reply()
    }

    /// Stores bytes at a place of the data.
    func write(_ bytes: [UInt8], at place: UInt64) -> AccessStatus? {
        ask(.write, [.data(place, bytes.count)], bytes)?.status
    }

    /// The bytes of a place of the data, also where none are allocated.
    func read(_ place: UInt64, _ count: Int) -> [UInt8]? {
        guard let reply = ask(.read, [.data(place, count)]), reply.status == .done else {
            return nil
        }
        return reply.content == .zeroes ? [UInt8](repeating: 0, count: count) : reply.body
    }

    /// Whether the other end has closed, or does so soon.
    var isClosed: Bool {
        while true {
            var entry = pollfd(fd: stream.descriptor, events: Int16(POLLIN), revents: 0)
            guard poll(&entry, 1, Self.patience) == 1 else { return false }
            var bytes = [UInt8](repeating: 0, count: 1 << 16)
            let count = recv(stream.descriptor, &bytes, bytes.count, 0)
            if count == 0 || (count < 0 && errno != EAGAIN) { return true }
        }
    }
}

extension AccessSegment {
    /// A place of the volume's data.
    static func data(_ place: UInt64, _ count: Int, _ kind: SegmentKind = .bytes) -> AccessSegment {
        AccessSegment(
            place: RegionLayout.dataStart.bytes + place, count: UInt32(count), kind: kind)
    }
}

/// Bytes that tell one place and seed from any other.
func pattern(_ seed: UInt8, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) ^ seed }
}
