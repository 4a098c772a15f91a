// `--verify`: what every sector of a volume must hold. A sector's content is a function of its
// number and of how often it was written, so a stale, misplaced or torn sector is told from the
// right one, and the ledger needs one count per sector. A sector with a request in flight is not
// asked for again before the reply: with an overlap NBD promises nothing to check.

final class ContentLedger {
    /// The granule of verification, in bytes; all offsets and lengths are multiples of it.
    static let sectorBytes = 512
    private static let wordBytes = 8

    private let sectorCount: Int
    private let versions: UnsafeMutablePointer<UInt32>
    private let busy: UnsafeMutablePointer<Bool>

    init(volumeBytes: UInt64) {
        sectorCount = Int(volumeBytes) / Self.sectorBytes
        versions = .allocate(capacity: sectorCount)
        versions.initialize(repeating: 0, count: sectorCount)
        busy = .allocate(capacity: sectorCount)
        busy.initialize(repeating: false, count: sectorCount)
    }

    deinit {
        versions.deallocate()
        busy.deallocate()
    }

    /// Reserves the sectors of a request; false when one of them is already in flight.
    func reserve(offset: UInt64, byteCount: Int) -> Bool {
        let sectors = span(offset, byteCount)
        guard sectors.allSatisfy({ !busy[$0] }) else { return false }
        for sector in sectors { busy[sector] = true }
        return true
    }

    func release(offset: UInt64, byteCount: Int) {
        for sector in span(offset, byteCount) { busy[sector] = false }
    }

    /// Fills `payload` with the next version of each of its sectors, and expects that from now on.
    func compose(_ payload: UnsafeMutableRawPointer, offset: UInt64, byteCount: Int) {
        for (index, sector) in span(offset, byteCount).enumerated() {
            versions[sector] &+= 1
            let words = (payload + index * Self.sectorBytes)
            for word in 0..<Self.sectorBytes / Self.wordBytes {
                words.storeBytes(
                    of: content(sector, word), toByteOffset: word * Self.wordBytes, as: UInt64.self)
            }
        }
    }

    func check(
        _ payload: UnsafeRawPointer, offset: UInt64, byteCount: Int
    ) throws(BenchError) {
        for (index, sector) in span(offset, byteCount).enumerated() {
            let words = payload + index * Self.sectorBytes
            for word in 0..<Self.sectorBytes / Self.wordBytes {
                let found = words.loadUnaligned(
                    fromByteOffset: word * Self.wordBytes, as: UInt64.self)
                guard found == content(sector, word) else {
                    throw .wrongContent(
                        offset: UInt64(sector * Self.sectorBytes + word * Self.wordBytes))
                }
            }
        }
    }

    private func span(_ offset: UInt64, _ byteCount: Int) -> Range<Int> {
        let first = Int(offset) / Self.sectorBytes
        let end = first + byteCount / Self.sectorBytes
        precondition(end <= sectorCount, "a request outside of the volume")
        return first..<end
    }

    @inline(__always)
    private func content(_ sector: Int, _ word: Int) -> UInt64 {
        let place = UInt64(sector) << 32 | UInt64(versions[sector])
        return FastRandom.mixed(place) &+ UInt64(word) &* 0x9e37_79b9_7f4a_7c15
    }
}
