// What both simulated ways into a region can do beside the accesses of the product.

import RemoteMemory

/// One word of a member's dirty map.
struct MapWord {
    var member: MemberIndex
    var index: Int
    var word: UInt64
}

/// What both simulated ways into a region can do.
protocol SimulatedAccess: RegionAccess where Payload == TagPayload {
    func contents(_ range: ByteRange) -> [UInt64]
}

extension SimulatedAccess {
    func storeWords(_ words: [MapWord]) {
        guard !words.isEmpty else { return }
        for word in words { storeMapWord(word.word, word.index, of: word.member) }
        barrier()
    }
}

extension OrderedAccess: SimulatedAccess {
    func contents(_ range: ByteRange) -> [UInt64] { Array(region.read(range)) }
}

extension ScatteredAccess: SimulatedAccess {
    func contents(_ range: ByteRange) -> [UInt64] { Array(region.read(range)) }
}
