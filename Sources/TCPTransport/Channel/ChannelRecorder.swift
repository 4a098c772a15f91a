// Stores on their way to a region: recorded in `RegionAccess`'s order, as segments of one request.

public import RemoteMemory

/// Records stores as segments of the next write of a channel; nothing can be loaded through it.
@safe
public struct ChannelRecorder: RegionAccess {
    /// Without the counting of references: it lives for one message.
    private let channel: Unmanaged<RegionChannel>

    @inline(__always)
    init(_ channel: RegionChannel) { unsafe self.channel = Unmanaged.passUnretained(channel) }

    @inline(__always)
    public func storeWord(_ word: UInt64, at place: ByteOffset) {
        unsafe channel._withUnsafeGuaranteedRef { $0.record(word, at: place.bytes) }
    }

    public func loadWord(at place: ByteOffset) -> UInt64 {
        preconditionFailure("what stands in a region far away is read by a request")
    }

    @inline(__always)
    public func storeData(
        _ payload: RemotePayload, skipping skipped: ByteCount, at range: ByteRange
    ) {
        precondition(range.end.bytes <= dataSize.bytes, "an access stays within its region")
        unsafe channel._withUnsafeGuaranteedRef {
            unsafe $0.record(
                bytes: payload.start + Int(skipped.bytes), count: Int(range.count.bytes),
                at: RegionLayout.dataStart.bytes + range.start.bytes)
        }
    }

    public func storeAside(_ payload: RemotePayload, skipping skipped: ByteCount, count: ByteCount)
    {
        unsafe channel._withUnsafeGuaranteedRef {
            unsafe $0.record(
                bytes: payload.start + Int(skipped.bytes), count: Int(count.bytes),
                at: RegionLayout.redoData.start.bytes)
        }
    }

    public func restoreAside(at range: ByteRange) {
        preconditionFailure("what stands aside far away is read by a request")
    }

    public var dataSize: ByteCount { unsafe channel._withUnsafeGuaranteedRef { $0.dataSize } }

    /// Nothing: a message is carried out from front to back.
    @inline(__always)
    public func barrier() {}
}

/// Where the bytes of a write are until it is answered.
@safe
public struct RemotePayload: BitwiseCopyable {
    let start: UnsafeRawPointer

    /// As many bytes as the write has must be there.
    @inline(__always)
    public init(_ start: UnsafeRawPointer) { unsafe self.start = start }
}
