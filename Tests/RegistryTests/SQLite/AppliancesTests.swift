import Registry
import RemoteMemory
import Testing

@Suite struct AppliancesTests {
    let scratch: Scratch
    let registry: SQLiteRegistry

    init() throws {
        scratch = try Scratch()
        registry = try scratch.open()
    }

    @Test func `appliances are listed by name with all that was given`() throws {
        let plain = try ApplianceRecord(name: "b", address: "unix:/run/b.sock")
        let racked = try ApplianceRecord(name: "a", address: "tcp:[::1]:7", failureDomain: "r1")
        try registry.addAppliance(plain)
        try registry.addAppliance(racked)
        #expect(try registry.appliances() == [racked, plain])
    }

    @Test func `a name is taken once`() throws {
        try registry.addAppliance(appliance(0))
        #expect(throws: RegistryError.alreadyExists(.appliance, name: "a0")) {
            try registry.addAppliance(appliance(0, address: "tcp:elsewhere:1"))
        }
        #expect(try registry.appliances() == [appliance(0)])
    }

    @Test func `names that differ in case are two names`() throws {
        try registry.addAppliance(ApplianceRecord(name: "A", address: "x"))
        try registry.addAppliance(ApplianceRecord(name: "a", address: "x"))
        #expect(try registry.appliances().map(\.name) == ["A", "a"])
    }

    @Test func `an appliance nobody uses can be removed and added again`() throws {
        try registry.addAppliance(appliance(0))
        #expect(try registry.removeAppliance("a0") == appliance(0))
        #expect(try registry.appliances().isEmpty)
        try registry.addAppliance(appliance(0))
    }

    @Test(arguments: ["a1", "", "A0", "a0 ", "%", "a0' OR '1'='1"])
    func `an unknown appliance cannot be removed`(name: String) throws {
        try registry.addAppliance(appliance(0))
        #expect(throws: RegistryError.notFound(.appliance, name: name)) {
            try registry.removeAppliance(name)
        }
    }

    @Test func `an appliance is drained until that is called off, by whoever opens the registry`()
        throws
    {
        for number in 0..<2 { try registry.addAppliance(appliance(number)) }
        let draining = try ApplianceRecord(name: "a1", address: "tcp:h:1", isDraining: true)
        #expect(try registry.setDraining(true, of: "a1") == draining)
        #expect(try registry.setDraining(true, of: "a1") == draining)
        #expect(try registry.appliances() == [appliance(0), draining])
        #expect(try scratch.copyAfterCrash().open().appliances() == [appliance(0), draining])
        #expect(try registry.setDraining(false, of: "a1") == appliance(1))
        #expect(try registry.appliances() == [appliance(0), appliance(1)])
        // It does not keep it from being removed, nor is it remembered of the name.
        try registry.setDraining(true, of: "a1")
        try registry.removeAppliance("a1")
        try registry.addAppliance(appliance(1))
        #expect(try registry.appliances() == [appliance(0), appliance(1)])
        #expect(throws: RegistryError.notFound(.appliance, name: "a2")) {
            try registry.setDraining(true, of: "a2")
        }
    }

    @Test func `an appliance with a member stays until the member is forgotten`() throws {
        for number in 0..<2 { try registry.addAppliance(appliance(number)) }
        try registry.createVolume(volume([.active, .active]))
        let inUse = RegistryError.inUse(.applianceHoldsMember(appliance: "a1", volume: "vol0"))
        #expect(throws: inUse) { try registry.removeAppliance("a1") }
        // A failed member is one still: its record is what keeps it from being read.
        _ = try registry.change(
            volumeID(0), [.fail([index(1)])], owner: owner(1), expecting: Epoch(5))
        #expect(throws: inUse) { try registry.removeAppliance("a1") }
        _ = try registry.change(
            volumeID(0), [.remove([index(1)])], owner: owner(1), expecting: Epoch(6))
        try registry.removeAppliance("a1")
        #expect(try registry.appliances() == [appliance(0)])
    }

    @Test func `an appliance with a snapshot stays until the snapshot is deleted`() throws {
        for number in 0..<2 { try registry.addAppliance(appliance(number)) }
        try registry.createVolume(volume([.active, .active]))
        _ = try registry.change(
            volumeID(0), [.cut(member: index(1), snapshot: "s", at: 0, replacement: nil)],
            owner: owner(1), expecting: Epoch(5))
        let use = RegistryUse.applianceHoldsSnapshot(
            appliance: "a1", volume: "vol0", snapshot: "s")
        #expect(throws: RegistryError.inUse(use)) { try registry.removeAppliance("a1") }
        try registry.deleteSnapshot(of: volumeID(0), named: "s")
        try registry.removeAppliance("a1")
    }
}
