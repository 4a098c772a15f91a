// How the memory of a member is reached: by load and store, or by messages.

package import SharedMemoryTransport
package import TCPTransport

/// A member's region, ready for client-side access.
package enum MemberMemory: Sendable {
    /// In this process's address space.
    case mapped(MappedRegion)
    /// On the far side of a connection, with its header as it was when the region was opened.
    case remote(RegionVisit)
}

/// A way to a channel for the hot path, without the counting of references; its volume keeps it alive.
@safe
struct ChannelReference: BitwiseCopyable {
    private let channel: Unmanaged<RegionChannel>

    init(_ channel: RegionChannel) { unsafe self.channel = Unmanaged.passUnretained(channel) }

    @inline(__always)
    func use<Result>(_ body: (RegionChannel) -> Result) -> Result {
        unsafe channel._withUnsafeGuaranteedRef { body($0) }
    }
}
