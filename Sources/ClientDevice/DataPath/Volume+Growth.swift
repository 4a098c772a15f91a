// A volume grows on its thread (see the engine's Snapshot/Growth).
//
//     regions mapped anew, larger ──▶ hold, drain, record ──▶ the size is another
//
// Mapping comes first, as it may fail. Larger mappings do no harm: what is accessed is bounded by the volume's size.

import CLinux
import RemoteMemory
import ResiliencySet
import SharedMemoryTransport
import TCPTransport

extension Volume {
    /// Reaches as much of every region that the volume has as `dataSize`, to which they have grown.
    ///
    /// What is on its way out to clients from the mappings of before is copied first.
    func enlargeRegions(
        to dataSize: ByteCount, connections: [Connection]
    ) throws(SharedMemoryError) {
        for (member, region) in regions where region.view.dataSize < dataSize {
            let larger = try region.enlarged(to: dataSize)
            for connection in connections { unsafe connection.detach(from: region.bytes) }
            regions[member] = larger
            views[member.number] = larger.view
        }
        for channel in channels.values { channel.enlarge(to: dataSize) }
    }

    /// Holds writes until the new size is recorded; false when that cannot be now.
    func beginGrowth(to size: ByteCount) -> Bool {
        heldSince = clinux_monotonic_nanoseconds()
        guard engine.beginGrowth(to: size) else { return false }
        drain()
        return true
    }

    var isGrowing: Bool { engine.isGrowing }

    /// The registry has the new size.
    ///
    /// To be called just before the engine hears of it. No change is under way: what is allocated is found out anew.
    func grow(to size: ByteCount, connections: [Connection]) {
        self.size = size
        if let stripes, let grown = engine.stripes?.grown(to: size) {
            stripes.grow(to: grown.regionDataSize)
        } else {
            allocation = AllocationMap(deviceSize: size)
        }
        for connection in connections { connection.grow(to: size) }
    }
}
