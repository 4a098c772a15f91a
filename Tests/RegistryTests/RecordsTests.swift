import Registry
import RemoteMemory
import Testing

@Suite struct RecordsTests {
    @Test func `an appliance keeps what it was given`() throws {
        let plain = try ApplianceRecord(name: "a0", address: "tcp:h:1")
        #expect(plain.failureDomain == nil)
        let racked = try ApplianceRecord(name: "a0", address: "tcp:h:1", failureDomain: "rack-1")
        #expect(racked.failureDomain == "rack-1")
        #expect(plain != racked)
    }

    @Test func `an appliance with a bad name is refused`() {
        #expect(throws: RegistryError.invalidName(.appliance, name: "a@b")) {
            try ApplianceRecord(name: "a@b", address: "tcp:h:1")
        }
    }

    @Test func `an appliance with a bad failure domain is refused`() {
        #expect(throws: RegistryError.invalidName(.failureDomain, name: "")) {
            try ApplianceRecord(name: "a", address: "tcp:h:1", failureDomain: "")
        }
    }

    private func snapshot(
        name: String = "s", size: UInt64 = 1, epoch: UInt64 = 1
    ) throws(RegistryError) -> SnapshotRecord {
        try SnapshotRecord(
            volume: volumeID(0), name: name, size: ByteCount(size), region: region(0),
            appliance: "a0", incarnation: incarnation(0), cutAtEpoch: Epoch(epoch), createdAt: -1)
    }

    @Test func `a snapshot may be as old as a clock can say`() throws {
        #expect(try snapshot().createdAt == -1)
    }

    @Test func `a snapshot with a bad name is refused`() {
        #expect(throws: RegistryError.invalidName(.snapshot, name: "v@s")) {
            try snapshot(name: "v@s")
        }
    }

    @Test(arguments: [0, UInt64(1) << 63, .max])
    func `a snapshot of an impossible size is refused`(size: UInt64) {
        #expect(throws: RegistryError.illegalChange(.sizeOutOfRange(ByteCount(size)))) {
            try snapshot(size: size)
        }
    }

    @Test(arguments: [UInt64(1) << 63, .max])
    func `a snapshot of an impossible epoch is refused`(epoch: UInt64) {
        #expect(throws: RegistryError.illegalChange(.epochOutOfRange(Epoch(epoch)))) {
            try snapshot(epoch: epoch)
        }
    }
}
