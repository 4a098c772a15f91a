// Hundreds of volumes on 64 appliances in 8 failure domains: what is promised of one placement must hold
// of all of them together.

import ClientDevice
import RemoteMemory
import Testing

@Suite struct ManyAppliancesTests {
    /// Sixty-four appliances, eight in each of eight racks, of different sizes, two to a host.
    static let appliances = (0..<64).map { number in
        PlacementCandidate(
            name: "appliance-\(number)", failureDomain: "rack\(number % 8)",
            capacity: .gibibytes(number % 3 == 0 ? 64 : 32),
            free: .gibibytes(number % 3 == 0 ? 64 : 32), host: "host\(number % 8)-\(number / 16)",
            hostAvailable: .gibibytes(1024), promised: .zero)
    }

    /// A volume to be placed: how many members, and how large each is.
    struct Demand: Sendable {
        var copies: Int
        var size: ByteCount
    }

    /// Demands of every layout and of many sizes, the same each time.
    static func demands(_ count: Int) -> [Demand] {
        (0..<count).map { number in
            Demand(
                copies: 1 + number % 8, size: .mebibytes(UInt64(16 + number * 37 % 480)))
        }
    }

    /// Places all, one after the other, as volumes are created.
    static func place(
        _ demands: [Demand], on appliances: [PlacementCandidate]
    ) throws -> (placements: [[String]], after: [PlacementCandidate]) {
        var appliances = appliances
        let placements = try demands.map { demand in
            let names = try Placement.choose(
                demand.copies, regionsOf: demand.size, among: appliances)
            for index in appliances.indices where names.contains(appliances[index].name) {
                appliances[index].free = appliances[index].free - demand.size
                appliances[index].promised = appliances[index].promised + demand.size
            }
            return names
        }
        return (placements, appliances)
    }

    static let domains = Dictionary(
        uniqueKeysWithValues: appliances.map { ($0.name, $0.domain) })

    @Test func everyVolumeIsInAsManyDomainsAsItHasMembers() throws {
        for names in try Self.place(Self.demands(600), on: Self.appliances).placements {
            #expect(Set(names.compactMap { Self.domains[$0] }).count == names.count, "\(names)")
        }
    }

    /// The fullest and the emptiest are as far apart as the largest region is large, at most twice.
    @Test(arguments: [100, 300, 600])
    func sharesStayEven(volumes: Int) throws {
        let demands = Self.demands(volumes)
        let after = try Self.place(demands, on: Self.appliances).after
        let shares = after.map { Double($0.free.bytes) / Double($0.capacity.bytes) }
        let largest = demands.map(\.size.bytes).max() ?? 0
        let bound = 2 * Double(largest) / Double(ByteCount.gibibytes(32).bytes)
        let spread = (shares.max() ?? 0) - (shares.min() ?? 0)
        #expect(spread <= bound, "\(spread) of at most \(bound)")
        #expect((shares.max() ?? 1) < 1, "none is left out")
    }

    @Test func theOrderInWhichAppliancesAreKnownDoesNotMatter() throws {
        let demands = Self.demands(200)
        let expected = try Self.place(demands, on: Self.appliances).placements
        for turn in [1, 17, 40] {
            let turned = Array(Self.appliances[turn...] + Self.appliances[..<turn])
            #expect(try Self.place(demands, on: turned).placements == expected)
            #expect(try Self.place(demands, on: turned.reversed()).placements == expected)
        }
    }

    /// Racks that are not alike: the small one is full first, and from then on it is passed over.
    @Test func aFullRackIsPassedOverAndTheNextRefusalSaysWhere() throws {
        var appliances = Self.appliances
        for index in appliances.indices where appliances[index].domain == .label("rack7") {
            appliances[index].free = .mebibytes(100)
        }
        let demands = Array(repeating: Demand(copies: 8, size: .mebibytes(90)), count: 20)
        let placements = try Self.place(demands, on: appliances).placements
        for (number, names) in placements.enumerated() {
            let counts = Dictionary(grouping: names.compactMap { Self.domains[$0] }) { $0 }
                .mapValues(\.count)
            // Eight appliances of rack7 take one region each.
            #expect(counts.count == (number < 8 ? 8 : 7), "volume \(number): \(names)")
            #expect(counts.values.allSatisfy { $0 <= 2 }, "volume \(number): \(names)")
        }
        let error = #expect(throws: PlacementError.self) {
            try Placement.choose(2, regionsOf: .gibibytes(65), among: appliances)
        }
        guard case .insufficientMemory(_, _, _, let full) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(full.count == 64)
    }
}
