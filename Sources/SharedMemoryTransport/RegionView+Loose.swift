// Several writes to one region, with one fence for all of them.
//
//     intent and data of each, loosely ─▶ fence ─▶ landed mark of each
//
// Stores behind a fence wait until the data is out of the processor: a fence for each write to each member
// would take a tenth of the time of a 4 KiB write.

import CLinux
import Glibc
public import RemoteMemory

extension RegionView {
    /// Stores an intent, and then the bytes at `payload` in no order to later stores: `fence` must come
    /// before the landed mark.
    public func storeLoosely(slot: UInt8, _ intent: Intent, from payload: UnsafeRawPointer) {
        announce(slot: slot, intent)
        barrier()
        let place = unsafe bytes(intent.range)
        let count = Int(intent.range.count.bytes)
        if count >= Self.streamingSize, UInt(bitPattern: place) & 15 == 0 {
            unsafe clinux_stream_loosely(place, payload, count)
        } else {
            unsafe memcpy(place, payload, count)
        }
    }

    /// Orders all that was stored loosely, in any region, before all that is stored from now on.
    @inline(__always)
    public static func fence() { clinux_stream_fence() }
}
