// A client that allocates nothing either: everything it sends is there before it starts.

import Glibc
import NBDProtocol

/// Requests of 4 KiB, many at a time, over one end of a socket pair.
final class PipelinedClient {
    static let block = 4096

    private let descriptor: Int32
    private let requests: UnsafeMutableRawPointer
    private let replies: UnsafeMutableRawPointer
    private let capacity: Int
    private var random: UInt64 = 1

    init(descriptor: Int32, depth: Int) {
        self.descriptor = descriptor
        capacity = depth * (Self.block + Wire.requestHeaderSize)
        requests = .allocate(byteCount: capacity, alignment: 64)
        replies = .allocate(byteCount: capacity, alignment: 64)
        requests.initializeMemory(as: UInt8.self, repeating: 0xA5, count: capacity)
    }

    deinit {
        requests.deallocate()
        replies.deallocate()
        close(descriptor)
    }

    /// Sends `count` requests of a type, `depth` at once, and returns how many were answered well.
    func run(_ type: UInt16, count: Int, depth: Int, blocks: UInt64) -> Int {
        let payload = type == CommandType.write ? Self.block : 0
        let data = type == CommandType.read ? Self.block : 0
        var answered = 0
        while answered < count {
            var size = 0
            for _ in 0..<depth {
                random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                let place = requests + size
                store(Wire.requestMagic, at: place)
                store(UInt16(0), at: place + 4)
                store(type, at: place + 6)
                store(random, at: place + 8)
                store((random >> 33) % blocks * UInt64(Self.block), at: place + 16)
                store(UInt32(Self.block), at: place + 24)
                size += Wire.requestHeaderSize + payload
            }
            guard exchange(size, (Wire.simpleReplySize + data) * depth) else { return answered }
            for number in 0..<depth {
                let place = replies + number * (Wire.simpleReplySize + data)
                guard place.loadUnaligned(as: UInt32.self).bigEndian == Wire.simpleReplyMagic,
                    (place + 4).loadUnaligned(as: UInt32.self) == 0
                else { return answered }
                answered += 1
            }
        }
        return answered
    }

    private func store(_ value: some FixedWidthInteger, at place: UnsafeMutableRawPointer) {
        var value = value.bigEndian
        memcpy(place, &value, value.bitWidth / 8)
    }

    /// Sends and receives at once: neither side may wait for the other's buffer.
    private func exchange(_ size: Int, _ expected: Int) -> Bool {
        var sent = 0
        var received = 0
        while received < expected {
            var entry = pollfd(
                fd: descriptor, events: Int16(sent < size ? POLLIN | POLLOUT : POLLIN), revents: 0)
            guard poll(&entry, 1, 20_000) == 1 else { return false }
            if entry.revents & Int16(POLLOUT) != 0, sent < size {
                let result = send(
                    descriptor, requests + sent, size - sent, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
                if result > 0 { sent += result }
            }
            if entry.revents & Int16(POLLIN) != 0 {
                let result = recv(descriptor, replies + received, expected - received, 0)
                guard result > 0 else { return false }
                received += result
            }
        }
        return true
    }
}
