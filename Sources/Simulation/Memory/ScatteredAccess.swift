// What a NIC is asked to store, collected: between two barriers it may place it in any order.

import RemoteMemory

/// One store of a word or granule.
enum SimulatedStore {
    case word(ByteOffset, UInt64)
    case tag(Int, UInt64)
    case aside(Int, UInt64)

    func place(in region: SimulatedRegion) {
        switch self {
        case .word(let place, let word): region.setWord(word, at: place)
        case .tag(let granule, let tag): region.setTag(tag, at: granule)
        case .aside(let granule, let tag): region.setAside(tag, at: granule)
        }
    }
}

/// Collects the stores of an access, phase by phase.
final class ScatteredAccess: RegionAccess {
    let region: SimulatedRegion
    private(set) var phases: [[SimulatedStore]] = [[]]

    init(region: SimulatedRegion) { self.region = region }

    var dataSize: ByteCount { region.dataSize }

    private func add(_ store: SimulatedStore) { phases[phases.count - 1].append(store) }

    func storeWord(_ word: UInt64, at place: ByteOffset) { add(.word(place, word)) }
    func loadWord(at place: ByteOffset) -> UInt64 { region.word(at: place) }

    func storeData(_ payload: TagPayload, skipping skipped: ByteCount, at range: ByteRange) {
        let first = Int(skipped.bytes / SimulatedRegion.granule)
        for (index, granule) in SimulatedRegion.granules(range).enumerated() {
            add(.tag(granule, payload.tag(first + index)))
        }
    }

    func storeAside(_ payload: TagPayload, skipping skipped: ByteCount, count: ByteCount) {
        let first = Int(skipped.bytes / SimulatedRegion.granule)
        for index in 0..<Int(count.bytes / SimulatedRegion.granule) {
            add(.aside(index, payload.tag(first + index)))
        }
    }

    func restoreAside(at range: ByteRange) {
        for (index, granule) in SimulatedRegion.granules(range).enumerated() {
            add(.tag(granule, region.asideTag(index)))
        }
    }

    func barrier() {
        if phases.last?.isEmpty == false { phases.append([]) }
    }
}
