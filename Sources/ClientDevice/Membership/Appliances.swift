// Which appliances answer. A broken connection is news; what it means is found out by connecting again:
// refused, or a new incarnation, and the memory is gone; the same incarnation, and nothing happened.

import Appliance
import Control
import Reactor
import Logging
import Registry
import RemoteMemory

/// An appliance and the connection to it, while there is one.
struct ApplianceHandle {
    let record: ApplianceRecord
    var connection: ApplianceConnection?
    var description: ApplianceDescription?
    var hasLoggedAbsence = false
    /// Nobody listens at its address.
    var isDead = false
    /// When it is to be tried again after it did not answer.
    var notBefore: ContinuousClock.Instant?
    /// When it last answered.
    var lastAnswer = ContinuousClock.now
    /// It was silent for too long, and its members were given up.
    var isEvicted = false

    init(record: ApplianceRecord) { self.record = record }

    var isUp: Bool { connection != nil }
}

extension ClientDevice {
    /// How long an appliance that does not answer is left alone.
    private static let respite = Duration.seconds(5)

    private func warnOfSnapshots(on appliance: String) {
        for volume in volumes.values {
            for snapshot in volume.snapshots where snapshot.appliance == appliance {
                log.warning(
                    """
                    snapshot \(volume.record.name)@\(snapshot.name): its appliance died; it is served as \
                    long as this client device lives, then it is lost: copy it if it is needed
                    """)
            }
        }
    }

    /// Connects to an appliance unless that is done, and draws the conclusions of what answers.
    func connect(_ name: String) async {
        guard let handle = appliances[name], !handle.isUp else { return }
        if let notBefore = handle.notBefore, ContinuousClock.now < notBefore { return }
        do throws(ApplianceConnectionError) {
            let connection = try Self.connection(to: handle.record.address)
            let description = try connection.describe()
            let previous = handle.description?.incarnation
            appliances[name]?.connection = connection
            appliances[name]?.description = description
            appliances[name]?.hasLoggedAbsence = false
            appliances[name]?.isDead = false
            appliances[name]?.notBefore = nil
            appliances[name]?.lastAnswer = ContinuousClock.now
            appliances[name]?.isEvicted = false
            try? loop.watch(
                connection.descriptor, for: .hungUp, token: UInt64(connection.descriptor))
            log.info("appliance \(name) is up, incarnation \(description.incarnation)")
            if let previous, previous != description.incarnation {
                log.warning("appliance \(name) lost its memory: it is a new incarnation")
            }
            await loseMembers(on: name, except: description.incarnation)
        } catch {
            if !handle.hasLoggedAbsence {
                log.warning("appliance \(name): \(error)")
                appliances[name]?.hasLoggedAbsence = true
            }
            if case .unreachable = error {
                if !handle.isDead { warnOfSnapshots(on: name) }
                appliances[name]?.isDead = true
                await loseMembers(on: name, except: nil)
            } else {
                // It is there but does not answer: asking it again and again would hold up the others.
                appliances[name]?.notBefore = ContinuousClock.now + Self.respite
            }
        }
    }

    /// Gives up the members of an appliance that has been silent for `evictAfter`.
    ///
    /// Its memory can still be reached by this process, but by no successor: while it hangs, a copy there is
    /// worth as little as one on an appliance that died.
    func evictIfSilent(_ name: String) async {
        let half = configuration.evictAfter / 2
        guard let handle = appliances[name], handle.description != nil, !handle.isDead,
            ContinuousClock.now - handle.lastAnswer >= half
        else { return }
        if handle.isUp {
            do throws(ApplianceConnectionError) {
                _ = try call(name) { connection throws(ApplianceConnectionError) in
                    try connection.describe(within: max(1, Int(half / .milliseconds(1))))
                }
                appliances[name]?.lastAnswer = ContinuousClock.now
                return
            } catch {
                log.warning("appliance \(name): \(error)")
            }
        }
        // (One that is gone rather than silent is noticed by its connection.)
        guard appliances[name]?.isDead == false,
            ContinuousClock.now - handle.lastAnswer >= configuration.evictAfter
        else { return }
        if !handle.isEvicted {
            appliances[name]?.isEvicted = true
            let silence = configuration.evictAfter
            log.warning(
                "appliance \(name) has been silent for \(silence): its members are given up")
        }
        for (id, volume) in volumes where volume.phase == .serving {
            // A last copy stays, for there is no other; later, when there is one, it is given up too.
            let others = volume.activeMembers.filter { $0.appliance != name }
            for member in volume.liveMembers where member.appliance == name && !others.isEmpty {
                await lose(member, of: id)
            }
        }
    }

    static func connection(to address: String) throws(ApplianceConnectionError)
        -> ApplianceConnection
    {
        guard address.hasPrefix("unix:") else { throw .unsupported(address: address) }
        return try ApplianceConnection(path: String(address.dropFirst("unix:".count)))
    }

    /// Drops the connection to an appliance.
    func disconnect(_ name: String) {
        if let connection = appliances[name]?.connection { loop.unwatch(connection.descriptor) }
        appliances[name]?.connection = nil
    }

    /// Calls an appliance; nil when it is not there (any more).
    func call<Result>(
        _ name: String, _ body: (ApplianceConnection) throws(ApplianceConnectionError) -> Result
    ) throws(ApplianceConnectionError) -> Result {
        guard let connection = appliances[name]?.connection else { throw .closed }
        do throws(ApplianceConnectionError) {
            return try body(connection)
        } catch {
            if case .refused = error { throw error }
            disconnect(name)
            switch error {
            case .system, .silent:
                appliances[name]?.notBefore = ContinuousClock.now + Self.respite
            default: break
            }
            throw error
        }
    }

    /// Tells every set that members on an appliance are gone, but for those of its present incarnation.
    private func loseMembers(on appliance: String, except incarnation: Incarnation?) async {
        for (id, volume) in volumes where volume.phase == .serving {
            for member in volume.liveMembers
            where member.appliance == appliance && member.incarnation != incarnation {
                await lose(member, of: id)
            }
        }
    }

    func lose(_ member: MemberRecord, of id: VolumeID) async {
        guard let volume = volumes[id], await volume.thread.lose(member.index, of: id) else {
            return
        }
        log.critical(
            """
            volume \(volume.record.name): appliance \(member.appliance) held its last copy and died; \
            serving from the memory that is still mapped here until another copy is whole
            """)
    }

    /// Whether a member's memory is known to be gone, rather than out of reach for the moment.
    func isLost(_ member: MemberRecord) -> Bool {
        guard let handle = appliances[member.appliance] else { return true }
        return handle.isDead
            || (handle.description.map { $0.incarnation != member.incarnation } ?? false)
    }

    /// Whether a member's appliance is up and still has that member's memory.
    func isReachable(_ member: MemberRecord) -> Bool {
        guard let handle = appliances[member.appliance], handle.isUp else { return false }
        return handle.description?.incarnation == member.incarnation
    }
}
