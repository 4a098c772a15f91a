import Testing

@testable import NBDBench

@Suite("The ledger of a volume's content")
struct ContentLedgerTests {
    private let byteCount = 4096
    private let ledger = ContentLedger(volumeBytes: 1 << 20)

    /// What the ledger has a write to `offset` carry.
    private func write(at offset: UInt64) -> [UInt8] {
        var payload = [UInt8](repeating: 0, count: byteCount)
        payload.withUnsafeMutableBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            ledger.compose(base, offset: offset, byteCount: byteCount)
        }
        return payload
    }

    private func check(_ payload: [UInt8], at offset: UInt64) throws {
        try payload.withUnsafeBytes { bytes in
            guard let base = bytes.baseAddress else { return }
            try ledger.check(base, offset: offset, byteCount: byteCount)
        }
    }

    @Test("accepts what was last written")
    func right() throws {
        try check(write(at: 8192), at: 8192)
    }

    @Test("refuses a stale block")
    func stale() {
        let old = write(at: 8192)
        _ = write(at: 8192)
        #expect(throws: BenchError.wrongContent(offset: 8192)) { try check(old, at: 8192) }
    }

    @Test("refuses a block from elsewhere")
    func misplaced() {
        let elsewhere = write(at: 4096)
        _ = write(at: 8192)
        #expect(throws: BenchError.wrongContent(offset: 8192)) { try check(elsewhere, at: 8192) }
    }

    @Test("refuses a block that is half old and half new, and says where")
    func torn() {
        let old = write(at: 8192)
        let new = write(at: 8192)
        let torn = Array(new[..<2048] + old[2048...])
        #expect(throws: BenchError.wrongContent(offset: 8192 + 2048)) { try check(torn, at: 8192) }
    }

    @Test("keeps two requests from overlapping")
    func overlap() {
        #expect(ledger.reserve(offset: 4096, byteCount: 8192))
        #expect(!ledger.reserve(offset: 8192, byteCount: 4096))
        ledger.release(offset: 4096, byteCount: 8192)
        #expect(ledger.reserve(offset: 8192, byteCount: 4096))
    }
}
