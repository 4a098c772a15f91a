// Where requests arrive: as many as there are, with one receive; payloads stay until they are answered.
//
//     chunk 0   │ held payloads ……………………………………………… │ held │
//     chunk 1   │ held │ unread requests │ room          │        ◀── received into now
//     chunk 2 … │ (no memory until it is needed)         │
//                      start             end
//
// A payload is used where it arrived: members far away are sent it from there. A chunk is used again when
// nothing in it is held; the lowest free one comes first, so that a steady load lives in the same few warm
// pages, all of it in the first chunk when answers are immediate.

import CLinux
import Glibc
import Reactor

/// The receive buffer of one client's connection.
@safe
struct RequestBuffer: ~Copyable {
    /// Fits several of the kernel client's largest requests; a larger one makes its chunk grow.
    static let usualCapacity = 512 << 10
    /// The most that is received at once, so that what was received is still in the cache when it is
    /// handled, and no connection keeps the others waiting.
    static let largestReceive = 256 << 10
    /// How many chunks may be held at once; a client with more in flight waits.
    static let chunkCount = 16
    /// The most memory that held payloads take, in bytes, but for one chunk: a client with more in flight waits.
    static let mostHeld = 64 << 20

    @safe private struct Chunk: BitwiseCopyable {
        var base: UnsafeMutableRawPointer?
        var capacity = 0
        var held = 0
    }

    private let chunks = UnsafeMutablePointer<Chunk>.allocate(capacity: chunkCount)
    private var current = 0
    private var base: UnsafeMutableRawPointer
    private var capacity: Int
    private var start = 0
    private var end = 0

    init() {
        unsafe chunks.initialize(repeating: Chunk(), count: Self.chunkCount)
        capacity = Self.usualCapacity
        unsafe base = Self.reserve(Self.usualCapacity)
        unsafe chunks[0] = unsafe Chunk(base: base, capacity: capacity)
    }

    deinit {
        for index in 0..<Self.chunkCount {
            if let base = unsafe chunks[index].base { unsafe munmap(base, chunks[index].capacity) }
        }
        unsafe chunks.deallocate()
    }

    var unreadCount: Int { end - start }

    /// What was received and not yet consumed.
    var unread: UnsafeRawBufferPointer {
        unsafe UnsafeRawBufferPointer(start: base + start, count: end - start)
    }

    /// Passes over the first `count` unread bytes.
    @inline(__always)
    mutating func consume(_ count: Int) {
        precondition(count <= unreadCount, "only what was received is consumed")
        start += count
    }

    /// Keeps the payload that was just consumed where it is.
    @inline(__always)
    mutating func hold() { unsafe chunks[current].held += 1 }

    /// Lets go of a payload that was held.
    @inline(__always)
    mutating func release(_ payload: UnsafeRawPointer) {
        for index in 0..<Self.chunkCount {
            guard let base = unsafe chunks[index].base, unsafe payload >= UnsafeRawPointer(base),
                unsafe payload < UnsafeRawPointer(base) + chunks[index].capacity
            else { continue }
            precondition(unsafe chunks[index].held > 0, "a payload is released once")
            return unsafe chunks[index].held -= 1
        }
        preconditionFailure("a payload lies where it was received")
    }

    /// Makes place for the rest of a request of `needed` bytes; false when held payloads are in the way.
    mutating func makeRoom(for needed: Int) -> Bool {
        guard unsafe chunks[current].held > 0 else {
            if start == end, current != 0, unsafe chunks[0].held == 0, needed <= Self.usualCapacity
            {
                move(to: 0, needed)
            }
            startOver(needed)
            return true
        }
        if end < capacity, needed <= capacity - start { return true }
        guard heldCapacity < Self.mostHeld,
            let free = (0..<Self.chunkCount).first(where: { unsafe chunks[$0].held == 0 })
        else { return false }
        move(to: free, needed)
        return true
    }

    /// The memory of all chunks in which something is held.
    private var heldCapacity: Int {
        (0..<Self.chunkCount).reduce(0) { sum, index in
            unsafe chunks[index].held > 0 ? sum + chunks[index].capacity : sum
        }
    }

    /// Nothing in the present chunk is held.
    private mutating func startOver(_ needed: Int) {
        if start == end {
            start = 0
            end = 0
            if capacity > Self.usualCapacity, needed <= Self.usualCapacity {
                resize(Self.usualCapacity)
            }
        } else if needed > capacity - start || end == capacity {
            unsafe memmove(base, base + start, end - start)
            end -= start
            start = 0
        }
        if needed > capacity { resize(needed) }
    }

    /// Goes on in another chunk, in which nothing is held.
    private mutating func move(to index: Int, _ needed: Int) {
        let wanted = Self.pages(max(Self.usualCapacity, needed))
        if unsafe chunks[index].capacity != wanted {
            if let old = unsafe chunks[index].base {
                unsafe munmap(old, chunks[index].capacity)
            }
            unsafe chunks[index] = unsafe Chunk(base: Self.reserve(wanted), capacity: wanted)
        }
        guard let place = unsafe chunks[index].base else {
            preconditionFailure("a chunk that is moved to has memory")
        }
        unsafe memcpy(place, base + start, end - start)
        end -= start
        start = 0
        unsafe base = place
        capacity = wanted
        current = index
    }

    /// Receives what there is, up to a bound; as `SocketStream.receive` returns.
    mutating func receive(from stream: SocketStream) -> Int {
        let room = min(capacity - end, Self.largestReceive)
        let count = unsafe stream.receive(base + end, room)
        if count > 0 { end += count }
        return count
    }

    /// Puts bytes that were received elsewhere behind what is here.
    mutating func append(_ bytes: [UInt8]) {
        if bytes.count > capacity - end { resize(end + bytes.count) }
        for byte in bytes {
            unsafe base.storeBytes(of: byte, toByteOffset: end, as: UInt8.self)
            end += 1
        }
    }

    private mutating func resize(_ wanted: Int) {
        let size = Self.pages(wanted)
        let place = unsafe Self.reserve(size)
        unsafe memcpy(place, base, min(end, size))
        unsafe munmap(base, capacity)
        unsafe base = place
        capacity = size
        unsafe chunks[current].base = place
        unsafe chunks[current].capacity = size
    }

    private static func pages(_ size: Int) -> Int { (size + 4095) & ~4095 }

    private static func reserve(_ size: Int) -> UnsafeMutableRawPointer {
        let place = unsafe mmap(
            nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        guard let place = unsafe place, unsafe place != MAP_FAILED else {
            preconditionFailure("no address space for a buffer of \(size) bytes")
        }
        return unsafe place
    }
}
