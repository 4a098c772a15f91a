// The patent's claims of observers and clusters: the appliance is told of each multi-write before its data
// is there and after, by the client device's stores alone; and each member's resiliency logic knows the
// other members.

import Appliance
import Glibc
import RemoteMemory
import SharedMemoryTransport
import Testing

@Suite struct ObserverTests {
    static func intent(_ sequence: UInt64, _ start: UInt64, _ count: UInt64) -> Intent {
        Intent(
            epoch: Epoch(4), sequence: sequence,
            range: ByteRange(start: ByteOffset(start), count: ByteCount(count)), kind: .write)
    }

    @Test func observersSeeWhatIsUpcomingLandedAndCompleted() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let region = try connection.map(id, owner: OwnerID(.random()))
        #expect(try connection.observe(id).multiWrites.isEmpty)
        let intent = Self.intent(17, 8192, 4096)

        region.view.announce(slot: 5, intent)
        let upcoming = try #require(try connection.observe(id).multiWrites.first)
        #expect(upcoming.sequence == 17)
        #expect(upcoming.epoch == Epoch(4))
        #expect(upcoming.offset == 8192)
        #expect(upcoming.length == 4096)
        #expect(!upcoming.landed)
        #expect(!upcoming.completed)

        region.view.land(slot: 5, intent)
        let landed = try connection.observe(id).multiWrites
        #expect(landed.count == 1)
        #expect(landed.first?.landed == true)
        #expect(landed.first?.completed == false)

        region.view.complete(slot: 5, sequence: 17)
        let completed = try connection.observe(id).multiWrites
        #expect(completed.count == 1)
        #expect(completed.first?.landed == true)
        #expect(completed.first?.completed == true)
    }

    @Test func observersSeeAllSlotsOldestFirst() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let region = try connection.map(id, owner: OwnerID(.random()))
        for slot in 0..<UInt64(RegionLayout.intentSlotCount) {
            let sequence = (slot * 37) % 64 + 1
            region.view.announce(slot: UInt8(slot), Self.intent(sequence, sequence * 4096, 512))
        }
        let seen = try connection.observe(id).multiWrites
        #expect(seen.map(\.sequence) == Array(1...64))
        #expect(seen.allSatisfy { $0.offset == $0.sequence * 4096 && $0.length == 512 })
        // A newer multi-write through a slot replaces the older one: slot 0 held sequence 1.
        region.view.announce(slot: 0, Self.intent(100, 0, 1))
        #expect(try connection.observe(id).multiWrites.map(\.sequence) == Array(2...64) + [100])
    }

    @Test func aHalfStoredRecordIsNotSeen() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        let region = try connection.map(id, owner: OwnerID(.random()))
        region.view.announce(slot: 0, Self.intent(1, 0, 4096))
        let base = try #require(region.bytes.baseAddress)
        let words =
            UnsafeMutableRawPointer(mutating: base)
            + Int(RegionLayout.observerArea.start.bytes)
        words.storeBytes(of: 8192, toByteOffset: 16, as: UInt64.self)
        #expect(try connection.observe(id).multiWrites.isEmpty)
    }

    @Test func observingTakesNoMemory() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region(.mebibytes(16))
        let region = try connection.map(id, owner: OwnerID(.random()))
        region.view.announce(slot: 0, Self.intent(1, 0, 4096))
        let before = try connection.describe(id).resident
        _ = try connection.observe(id)
        #expect(try connection.describe(id).resident == before)
    }

    // MARK: Clusters

    static func cluster(_ id: RegionID, epoch: UInt64, members: Int = 3) -> ResiliencyCluster {
        ResiliencyCluster(
            volume: VolumeID(Identifier(high: 1, low: 2)), epoch: Epoch(epoch),
            members: (0..<members).map {
                .init(
                    index: MemberIndex($0),
                    region: $0 == 0 ? id : RegionID(Identifier(high: 9, low: UInt64($0))),
                    appliance: "host\($0)")
            })
    }

    @Test func membersKnowTheirCluster() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        #expect(try connection.observe(id).cluster == nil)
        let cluster = Self.cluster(id, epoch: 3)
        try connection.enrol(id, in: cluster)
        let known = try connection.observe(id).cluster
        #expect(known == cluster)
        #expect(known?.members.map(\.appliance) == ["host0", "host1", "host2"])
        #expect(known?.members.first?.region == id)
    }

    @Test func newsReplacesAndOldNewsIsRefused() throws {
        let appliance = try RunningAppliance()
        let (connection, id) = try appliance.region()
        try connection.enrol(id, in: Self.cluster(id, epoch: 3))
        let newer = Self.cluster(id, epoch: 5, members: 2)
        try connection.enrol(id, in: newer)
        let error = refusal { try connection.enrol(id, in: Self.cluster(id, epoch: 4)) }
        #expect(error == .staleEpoch(given: Epoch(4), known: Epoch(5)))
        #expect(try connection.observe(id).cluster == newer)
        // The same epoch again: a rebuild's progress changes members without a new owner.
        try connection.enrol(id, in: Self.cluster(id, epoch: 5, members: 1))
        #expect(try connection.observe(id).cluster?.members.count == 1)
    }

    @Test func clustersAreToldApart() throws {
        let appliance = try RunningAppliance()
        let (connection, first) = try appliance.region()
        let (_, second) = try appliance.region()
        try connection.enrol(first, in: Self.cluster(first, epoch: 3))
        #expect(try connection.observe(second).cluster == nil)
    }
}
