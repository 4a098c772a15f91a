// The one description of what a client device can be asked to do.
//
// The device implements it; `ControlServer` offers an implementation on a Unix socket; and
// `ControlClient` is another implementation, which asks across that socket. So a command line, a
// test and an embedding program use the same calls, and a route can neither be forgotten on one
// side nor differ from the other.

/// A client device, as seen by whoever operates it.
///
/// Every call may be made at any time and concurrently with the others. Names are checked by the
/// device: what is not a name it could have given throws `invalid`, what does not exist `notFound`.
public protocol ControlledDevice: Sendable {
    /// Answers, once every part of the device has shown that it runs.
    func ping() async throws(ControlError)

    /// Everything there is to show.
    func status() async throws(ControlError) -> DeviceStatus

    /// All volumes, ordered by name.
    func volumes() async throws(ControlError) -> [VolumeStatus]

    /// One volume.
    func volume(named name: String) async throws(ControlError) -> VolumeStatus

    /// Creates a volume and starts to serve it; it can be connected to once this returns.
    func createVolume(_ creation: VolumeCreation) async throws(ControlError) -> VolumeStatus

    /// Deletes a volume and its contents; `conflict` while clients are connected or snapshots exist.
    func deleteVolume(named name: String) async throws(ControlError)

    /// Changes a volume while it is used: returns when that is recorded and under way.
    ///
    /// The volume is as it was asked to be when it is healthy and has as many members as its layout.
    func changeVolume(
        named name: String, _ change: VolumeChange
    ) async throws(ControlError) -> VolumeStatus

    /// Makes a volume larger while it is used; what is new can be used once this returns, and reads as zeroes.
    ///
    /// `invalid` for a size that is none, or less than it has.
    func resizeVolume(
        named name: String, _ resize: VolumeResize
    ) async throws(ControlError) -> VolumeStatus

    /// Limits how fast the clients of a volume may go, until that is changed.
    func limitVolume(
        named name: String, _ change: LimitChange
    ) async throws(ControlError) -> VolumeStatus

    /// Starts to move a member to another appliance; the former goes when the latter is whole.
    ///
    /// It is done when the volume has no member on `move.from`.
    func moveMember(
        ofVolume volume: String, _ move: MemberMove
    ) async throws(ControlError) -> VolumeStatus

    /// All appliances, ordered by name.
    func appliances() async throws(ControlError) -> [ApplianceStatus]

    /// Makes an appliance's memory available to volumes, now and in the future.
    func addAppliance(_ addition: ApplianceAddition) async throws(ControlError) -> ApplianceStatus

    /// Forgets an appliance; `conflict` while it holds regions.
    func removeAppliance(named name: String) async throws(ControlError)

    /// Starts to empty an appliance, or calls that off; it is empty when no volume has a member there.
    ///
    /// Refused when there is no room for its members elsewhere. Snapshots stay where they are.
    func drainAppliance(
        named name: String, _ drain: DrainStart
    ) async throws(ControlError) -> ApplianceStatus

    /// The snapshots of one volume, oldest first.
    func snapshots(ofVolume volume: String) async throws(ControlError) -> [SnapshotStatus]

    /// Cuts a snapshot; it can be connected to once this returns.
    func createSnapshot(
        ofVolume volume: String, _ creation: SnapshotCreation
    ) async throws(ControlError) -> CreatedSnapshot

    /// Deletes a snapshot and frees its memory; `conflict` while clients are connected to it.
    func deleteSnapshot(named name: String, ofVolume volume: String) async throws(ControlError)

    /// Starts to rebuild the volume's missing members now, and returns without waiting for it.
    ///
    /// How far it is can be seen in `volume(named:)`. A healthy volume is returned as it is; the limit
    /// that `start` may set holds for its later rebuilds, and for the copies that snapshots become.
    func rebuild(
        volume: String, _ start: RebuildStart
    ) async throws(ControlError) -> VolumeStatus

    /// Compares the volume's members with each other, and returns when that is done.
    ///
    /// How far it is can be seen in `volume(named:)` meanwhile.
    func scrub(volume: String) async throws(ControlError) -> ScrubReport
}

extension ControlledDevice {
    /// Answers at once: for what has no parts that could hang.
    public func ping() async throws(ControlError) {}

    /// Starts to rebuild the volume's missing members now, as fast as before.
    public func rebuild(volume: String) async throws(ControlError) -> VolumeStatus {
        try await rebuild(volume: volume, RebuildStart())
    }
}
