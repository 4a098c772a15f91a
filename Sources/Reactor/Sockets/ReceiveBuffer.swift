// Where messages arrive: as many as there are, with one receive, to be used where they are.
//
//     ┌────────────────────────────────────────────────┐
//     │ done │ unread messages │ room                  │
//     └──────┴─────────────────┴───────────────────────┘
//            start             end
//
// When all is read the buffer starts over at its first byte, so that a steady load lives in the same few
// warm pages.

import CLinux
import Glibc

/// The receive buffer of one connection.
@safe
public struct ReceiveBuffer: ~Copyable {
    /// Fits several of the kernel client's largest requests; a larger one makes the buffer grow.
    public static let usualCapacity = 1 << 20
    /// The most that is received at once, so that what was received is still in the cache when it is
    /// handled, and no connection keeps the others waiting.
    public static let largestReceive = 256 << 10

    /// What this one goes back to after a larger request.
    private let usual: Int
    @usableFromInline var base: UnsafeMutableRawPointer
    @usableFromInline var capacity: Int
    @usableFromInline var start = 0
    @usableFromInline var end = 0

    /// An empty buffer; `usualCapacity` is a multiple of the page size, in bytes.
    public init(usualCapacity: Int = Self.usualCapacity) {
        usual = usualCapacity
        capacity = usualCapacity
        unsafe base = Self.reserve(usualCapacity)
    }

    deinit { unsafe munmap(base, capacity) }

    @inlinable public var unreadCount: Int { end - start }

    /// What was received and not yet consumed.
    @inlinable
    public var unread: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: base + start, count: end - start)
    }

    /// All of the buffer's memory.
    public var storage: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: base, count: capacity)
    }

    /// Passes over the first `count` unread bytes.
    @inlinable
    public mutating func consume(_ count: Int) {
        precondition(count <= unreadCount, "only what was received is consumed")
        start += count
    }

    /// Makes place for the rest of a message of `needed` bytes; what was consumed goes.
    public mutating func makeRoom(for needed: Int) {
        if start == end {
            start = 0
            end = 0
            if capacity > usual, needed <= usual { resize(usual) }
        } else if needed > capacity - start || end == capacity {
            unsafe memmove(base, base + start, end - start)
            end -= start
            start = 0
        }
        if needed > capacity { resize(needed) }
    }

    /// Receives what there is, up to a bound; as `SocketStream.receive` returns.
    public mutating func receive(from stream: SocketStream) -> Int {
        let room = min(capacity - end, Self.largestReceive)
        let count = unsafe stream.receive(base + end, room)
        if count > 0 { end += count }
        return count
    }

    /// Puts bytes that were received elsewhere behind what is here.
    public mutating func append(_ bytes: [UInt8]) {
        if bytes.count > capacity - end { resize(end + bytes.count) }
        for byte in bytes {
            unsafe base.storeBytes(of: byte, toByteOffset: end, as: UInt8.self)
            end += 1
        }
    }

    private mutating func resize(_ wanted: Int) {
        let size = (wanted + 4095) & ~4095
        let place = unsafe Self.reserve(size)
        unsafe memcpy(place, base, min(end, size))
        unsafe munmap(base, capacity)
        unsafe base = place
        capacity = size
    }

    private static func reserve(_ size: Int) -> UnsafeMutableRawPointer {
        let place = unsafe mmap(
            nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let place = unsafe place, unsafe place != MAP_FAILED else {
            preconditionFailure("no address space for a buffer of \(size) bytes")
        }
        return unsafe place
    }
}
