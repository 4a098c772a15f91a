// Records for tests, every identifier a small number so that a failure can be read.

import Registry
import RemoteMemory

func index(_ number: Int) -> MemberIndex { MemberIndex(number) }
func region(_ number: UInt64) -> RegionID { RegionID(Identifier(high: 1, low: number)) }
func volumeID(_ number: UInt64) -> VolumeID { VolumeID(Identifier(high: 2, low: number)) }
func incarnation(_ number: UInt64) -> Incarnation { Incarnation(Identifier(high: 3, low: number)) }
func owner(_ number: UInt64) -> OwnerID { OwnerID(Identifier(high: 4, low: number)) }

/// A member on appliance `a<number>`, in region `number` unless told otherwise.
func member(
    _ number: Int, _ state: MemberState = .active, region chosen: UInt64? = nil,
    appliance: String? = nil
) -> MemberRecord {
    MemberRecord(
        index: index(number), state: state, region: region(chosen ?? UInt64(number)),
        appliance: appliance ?? "a\(number)", incarnation: incarnation(UInt64(number)))
}

/// `vol<number>` of 1 GiB at epoch 5 in the hands of owner 1, with one member in each of `states`.
func volume(
    _ states: [MemberState], number: UInt64 = 0, layout: Layout = .mirror(copies: 3)
) throws(RegistryError) -> VolumeRecord {
    try volume(
        members: states.enumerated().map { member($0.offset, $0.element) }, number: number,
        layout: layout)
}

func volume(
    members: [MemberRecord], number: UInt64 = 0, epoch: UInt64 = 5,
    owner device: OwnerID? = owner(1), layout: Layout = .mirror(copies: 3)
) throws(RegistryError) -> VolumeRecord {
    try VolumeRecord(
        name: "vol\(number)", id: volumeID(number), size: .gibibytes(1),
        layout: layout, ordering: .parallel, epoch: Epoch(epoch), owner: device,
        members: members)
}

extension VolumeRecord {
    /// Applies as the rightful owner at the right epoch: what is left to fail is the change itself.
    func applying(
        _ changes: [MembershipChange]
    ) throws(RegistryError) -> (VolumeRecord, SnapshotRecord?) {
        try applying(changes, owner: owner ?? Fixture.nobody, expecting: epoch)
    }

    /// The indices and states of the members, such as `0 active, 2 failed`.
    var picture: String {
        members.map { "\($0.index) \($0.state.rawValue)" }.joined(separator: ", ")
    }
}

enum Fixture {
    static let nobody = owner(999)
}
