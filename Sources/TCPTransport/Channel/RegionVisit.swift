// What is done with a far region before it is handed to the thread of its volume: its header is read, and
// what a previous owner had put aside is stored in place.
//
// The caller waits: nobody's I/O depends on it yet.

import CLinux
import Glibc
import Reactor
public import RemoteMemory

/// A region's header as it was when it was read, with a channel through which stores still go.
///
/// (Sendable: it belongs to one thread at a time, as its channel does.)
@safe
public final class RegionVisit: @unchecked Sendable {
    /// Labels, observer area and redo record; and the dirty maps.
    private static let parts = [
        ByteRange(start: ByteOffset(0), count: .kibibytes(64)), RegionLayout.dirtyMaps,
    ]

    public let channel: RegionChannel
    private let header = HeaderWords()
    private let aside = UnsafeMutableRawPointer.allocate(
        byteCount: Int(RegionLayout.redoData.count.bytes), alignment: 16)

    /// Reads the header of the region behind `channel`; gives up on an appliance that is silent for so many
    /// milliseconds.
    public init(_ channel: RegionChannel, within milliseconds: Int) throws(ChannelFault) {
        self.channel = channel
        for part in Self.parts {
            channel.read(part.start, part.count, PendingAccess(purpose: 0))
            let completion = try Self.wait(channel, milliseconds)
            guard completion.content == .bytes else { continue }
            let first = Int(part.start.bytes / 8)
            for index in 0..<Int(part.count.bytes / 8) {
                let word = UInt64(
                    littleEndian: unsafe completion.bytes.loadUnaligned(
                        fromByteOffset: index * 8, as: UInt64.self))
                // (Storing what is there already would allocate its page.)
                if word != 0 { header[first + index] = word }
            }
        }
    }

    deinit { unsafe aside.deallocate() }

    /// Finishes what a previous owner began to write to the last copy; returns how much that was.
    @discardableResult
    public func finishRedo(within milliseconds: Int) throws(ChannelFault) -> ByteCount {
        guard let piece = redoPiece else { return .zero }
        channel.read(
            RegionLayout.redoData.start, piece.count, PendingAccess(purpose: 0))
        let completion = try Self.wait(channel, milliseconds)
        unsafe memset(aside, 0, Int(piece.count.bytes))
        if let bytes = unsafe completion.bytes.baseAddress {
            unsafe memcpy(aside, bytes, completion.bytes.count)
        }
        let settled = replayRedo()
        try store(within: milliseconds)
        return settled
    }

    /// Labels a fresh region.
    public func label(_ label: RegionLabel, within milliseconds: Int) throws(ChannelFault) {
        writeLabel(label)
        try store(within: milliseconds)
    }

    /// Makes the dirty maps of `members` count for nothing.
    public func dropMaps(
        of members: [MemberIndex], within milliseconds: Int
    ) throws(ChannelFault) {
        for member in members { dropMap(of: member) }
        try store(within: milliseconds)
    }

    private func store(within milliseconds: Int) throws(ChannelFault) {
        channel.commitWrite(PendingAccess(purpose: 0))
        _ = try Self.wait(channel, milliseconds)
    }

    /// Waits for the one request under way.
    private static func wait(
        _ channel: RegionChannel, _ milliseconds: Int
    ) throws(ChannelFault) -> AccessCompletion {
        let deadline = clinux_monotonic_nanoseconds() + UInt64(milliseconds) * 1_000_000
        while true {
            channel.flush()
            if let completion = channel.nextCompletion() {
                guard let status = completion.status else { throw channel.fault ?? .closed }
                guard status == .done else { throw .refused(status) }
                return completion
            }
            let now = clinux_monotonic_nanoseconds()
            guard now < deadline else {
                channel.fail(.silent)
                throw .silent
            }
            if !channel.hasHiddenInput {
                var events: Int16 = 0
                if channel.interest.contains(.readable) { events |= Int16(POLLIN) }
                if channel.interest.contains(.writable) { events |= Int16(POLLOUT) }
                var entry = pollfd(fd: channel.descriptor, events: events, revents: 0)
                let left = Int32((deadline - now) / 1_000_000) + 1
                guard unsafe poll(&entry, 1, left) > 0 || errno == EINTR else { continue }
            }
            channel.receive()
        }
    }
}

extension RegionVisit: RegionAccess {
    public func storeWord(_ word: UInt64, at place: ByteOffset) {
        header[Int(place.bytes / 8)] = word
        channel.recorder.storeWord(word, at: place)
    }

    public func loadWord(at place: ByteOffset) -> UInt64 { header[Int(place.bytes / 8)] }

    public func storeData(
        _ payload: RemotePayload, skipping skipped: ByteCount, at range: ByteRange
    ) {
        channel.recorder.storeData(payload, skipping: skipped, at: range)
    }

    public func storeAside(_ payload: RemotePayload, skipping skipped: ByteCount, count: ByteCount)
    {
        channel.recorder.storeAside(payload, skipping: skipped, count: count)
    }

    public func restoreAside(at range: ByteRange) {
        // (It stays where it is as long as this visit does, and the caller waits for the reply.)
        unsafe channel.recorder.storeData(RemotePayload(aside), skipping: .zero, at: range)
    }

    public var dataSize: ByteCount { channel.dataSize }

    public func barrier() {}
}

/// The words of a region's header, zeroes at first.
///
/// Most stay so, and cost no memory: a visit lives as long as its channel, and there is one for each member
/// of each volume.
@safe
private final class HeaderWords {
    private static let count = Int(RegionLayout.dataStart.bytes / 8)

    private let words: UnsafeMutablePointer<UInt64>

    init() {
        let memory = unsafe mmap(
            nil, Self.count * 8, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        guard let memory = unsafe memory, unsafe memory != MAP_FAILED else {
            fatalError("there is no memory for a region's header")
        }
        unsafe words = memory.bindMemory(to: UInt64.self, capacity: Self.count)
    }

    deinit { unsafe munmap(words, Self.count * 8) }

    subscript(index: Int) -> UInt64 {
        get {
            precondition(index >= 0 && index < Self.count)
            return unsafe words[index]
        }
        set {
            precondition(index >= 0 && index < Self.count)
            unsafe words[index] = newValue
        }
    }
}
