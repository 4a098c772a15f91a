// Which appliances answer. A broken connection is news; what it means is found out by connecting again:
//
//     the same incarnation      nothing happened
//     a new incarnation         its memory is gone
//     refused, on this host     its process is gone, and the memory with it
//     anything else             it may come back

import Appliance
import Control
import Logging
import Reactor
import Registry
import RemoteMemory
import TCPTransport

/// An appliance and what is known of it.
struct ApplianceHandle {
    var record: ApplianceRecord
    let link: ApplianceLink
    /// The connection stands, as far as is known.
    var isUp = false
    var description: ApplianceDescription?
    var hasLoggedAbsence = false
    /// Nobody listens at its address, which is on this host.
    var isDead = false
    /// When it is to be tried again after it did not answer.
    var notBefore: ContinuousClock.Instant?
    /// How often in a row it did not answer.
    var failures = 0
    /// When it last answered.
    var lastAnswer = ContinuousClock.now
    /// It was silent for too long, and its members were given up.
    var isEvicted = false
    /// Somebody is finding out how it is right now.
    var isLookedAfter = false

    init(record: ApplianceRecord, link: ApplianceLink) {
        self.record = record
        self.link = link
    }
}

extension ClientDevice {
    /// How long an appliance that does not answer is left alone: at first, and at most.
    private static let respite = (first: Duration.milliseconds(100), longest: Duration.seconds(5))

    /// Starts to know an appliance; nothing is asked of it yet.
    func meet(_ record: ApplianceRecord) throws(ReactorError) {
        let name = record.name
        let link = try ApplianceLink(
            to: Address(record.address), named: "to-\(name)", security: configuration.security
        ) { [weak self] in
            Task { [weak self] in await self?.hungUp(name) }
        }
        appliances[name] = ApplianceHandle(record: record, link: link)
    }

    /// Forgets an appliance.
    func part(from name: String) async {
        guard let handle = appliances.removeValue(forKey: name) else { return }
        await handle.link.disconnect()
        handle.link.stop()
    }

    private func hungUp(_ name: String) async {
        appliances[name]?.isUp = false
        await lookAfter(name)
    }

    /// Finds out how an appliance is, unless somebody does already.
    func lookAfter(_ name: String) async {
        guard let handle = appliances[name], !handle.isLookedAfter else { return }
        appliances[name]?.isLookedAfter = true
        await connect(name)
        await evictIfSilent(name)
        appliances[name]?.isLookedAfter = false
    }

    private func warnOfSnapshots(on appliance: String) {
        for volume in volumes.values {
            for snapshot in volume.snapshots
            where snapshot.stripes == nil && snapshot.appliance == appliance {
                log.warning(
                    """
                    snapshot \(volume.record.name)@\(snapshot.name): its appliance died; it is served as \
                    long as this client device lives, then it is lost: copy it if it is needed
                    """)
            }
        }
    }

    /// Connects to an appliance unless that is done, and draws the conclusions of what answers.
    private func connect(_ name: String) async {
        guard let handle = appliances[name], !handle.isUp else { return }
        if let notBefore = handle.notBefore, ContinuousClock.now < notBefore { return }
        do throws(ApplianceConnectionError) {
            let description = try await handle.link.connect()
            guard description.name == name else { return misnamed(name, description.name) }
            await welcome(name, description)
        } catch {
            if !handle.hasLoggedAbsence {
                log.warning("appliance \(name): \(error)")
                appliances[name]?.hasLoggedAbsence = true
            }
            if case .unreachable = error, !handle.link.isRemote {
                if !handle.isDead { warnOfSnapshots(on: name) }
                appliances[name]?.isDead = true
                await loseMembers(on: name, except: nil)
            } else {
                // It is there but does not answer, or out of reach: it is left alone for a while, longer
                // each time, and not by all client devices at once.
                postpone(name)
            }
        }
    }

    /// Another appliance listens at the address of this one.
    private func misnamed(_ name: String, _ found: String) {
        if appliances[name]?.hasLoggedAbsence == false {
            log.error("appliance \(found) answers at the address of \(name): stop one of them")
            appliances[name]?.hasLoggedAbsence = true
        }
        postpone(name)
    }

    private func postpone(_ name: String) {
        guard let handle = appliances[name] else { return }
        let doubled = Self.respite.first * (1 << min(handle.failures, 6))
        let pause = min(doubled, Self.respite.longest) * Double.random(in: 0.75...1.25)
        appliances[name]?.failures += 1
        appliances[name]?.notBefore = ContinuousClock.now + pause
    }

    private func welcome(_ name: String, _ description: ApplianceDescription) async {
        let previous = appliances[name]?.description?.incarnation
        appliances[name]?.isUp = true
        appliances[name]?.description = description
        appliances[name]?.hasLoggedAbsence = false
        appliances[name]?.isDead = false
        appliances[name]?.notBefore = nil
        appliances[name]?.failures = 0
        appliances[name]?.lastAnswer = ContinuousClock.now
        appliances[name]?.isEvicted = false
        log.info("appliance \(name) is up, incarnation \(description.incarnation)")
        if let previous, previous != description.incarnation {
            log.warning("appliance \(name) lost its memory: it is a new incarnation")
        }
        await loseMembers(on: name, except: description.incarnation)
        await freeForgotten(on: name, description.regions)
    }

    /// Gives regions back that sets of this registry forgot while the appliance was away, or never knew: twins of a
    /// device that died.
    func freeForgotten(on name: String, _ regions: [RegionID]) async {
        for region in regions where !isKnown(region) {
            let observation = try? await call(name) {
                connection throws(ApplianceConnectionError) in try connection.observe(region)
            }
            // (Only those of its sets are this client device's business.)
            guard let cluster = observation?.cluster, volumes[cluster.volume] != nil,
                !isKnown(region), isForgotten(region, by: cluster.volume)
            else { continue }
            log.info("appliance \(name) gives a forgotten region back: \(region)")
            await free(region, on: name)
        }
    }

    /// Whether the registry certainly has no use for a region. (Not all it holds may have been read yet.)
    private func isForgotten(_ region: RegionID, by id: VolumeID) -> Bool {
        guard let name = volumes[id]?.record.name, let record = try? registry.volume(named: name),
            let snapshots = try? registry.snapshots(of: id)
        else { return false }
        return !record.members.contains { $0.region == region }
            && !snapshots.contains { $0.members.contains { $0.region == region } }
    }

    private func isKnown(_ region: RegionID) -> Bool {
        volumes.values.contains { volume in
            volume.record.members.contains { $0.region == region }
                || volume.snapshots.contains { $0.members.contains { $0.region == region } }
                || volume.twinning?.regions.contains { $0.region == region } == true
        }
    }

    /// Gives up the members of an appliance on this host that has been silent for `evictAfter`.
    ///
    /// Its memory can still be reached by this process, but by no successor: while it hangs, a copy there is
    /// worth as little as one on an appliance that died. (Members far away are given up by their engine.)
    private func evictIfSilent(_ name: String) async {
        let half = configuration.evictAfter / 2
        guard let handle = appliances[name], handle.description != nil, !handle.isDead,
            !handle.link.isRemote, ContinuousClock.now - handle.lastAnswer >= half
        else { return }
        if handle.isUp {
            do throws(ApplianceConnectionError) {
                _ = try await call(name) { connection throws(ApplianceConnectionError) in
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
            await loseTwins(on: name, except: nil, of: id)
        }
    }

    /// Calls an appliance.
    func call<Result: Sendable>(
        _ name: String,
        _ body: @Sendable (ApplianceConnection) throws(ApplianceConnectionError) -> Result
    ) async throws(ApplianceConnectionError) -> Result {
        guard let handle = appliances[name], handle.isUp else { throw .closed }
        do throws(ApplianceConnectionError) {
            return try await handle.link.call(body)
        } catch {
            noteFailure(of: name, error)
            throw error
        }
    }

    /// Draws the conclusions of a call that failed.
    func noteFailure(of name: String, _ error: ApplianceConnectionError) {
        if case .refused = error { return }
        appliances[name]?.isUp = false
        if case .system = error { postpone(name) }
    }

    /// Tells every set that members on an appliance are gone, but for those of its present incarnation.
    private func loseMembers(on appliance: String, except incarnation: Incarnation?) async {
        for (id, volume) in volumes where volume.phase == .serving {
            for member in volume.liveMembers
            where member.appliance == appliance && member.incarnation != incarnation {
                await lose(member, of: id)
            }
            await loseTwins(on: appliance, except: incarnation, of: id)
        }
    }

    private func loseTwins(
        on appliance: String, except incarnation: Incarnation?, of id: VolumeID
    ) async {
        guard let volume = volumes[id] else { return }
        for twin in volume.twinning?.regions ?? []
        where twin.appliance == appliance && twin.incarnation != incarnation {
            _ = await volume.thread.lose(twin.index.twin, of: id)
        }
    }

    func lose(_ member: MemberRecord, of id: VolumeID) async {
        guard let volume = volumes[id], await volume.thread.lose(member.index, of: id),
            // (It is told of again and again, as long as its appliance is gone.)
            volumes[id]?.heldCopies.insert(member.region).inserted == true
        else { return }
        log.critical(
            """
            volume \(volume.record.name): appliance \(member.appliance) held its last copy and died; \
            serving from the memory that is still mapped here until another copy is whole
            """)
    }

    /// Notes which last copies of a volume are no longer that: another is whole, or their appliance is back with them.
    func letGoOfHeldCopies(of id: VolumeID) {
        guard let volume = volumes[id], !volume.heldCopies.isEmpty else { return }
        let stillHeld = volume.liveMembers.filter {
            volume.heldCopies.contains($0.region) && !isReachable($0)
        }.map(\.region)
        guard stillHeld.count < volume.heldCopies.count else { return }
        volumes[id]?.heldCopies = Set(stillHeld)
        guard stillHeld.isEmpty else { return }
        log.notice(
            "volume \(volume.record.name) does not depend any more on memory that is only mapped here"
        )
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

    /// Whether a member's memory is reached by messages.
    func isRemote(_ member: MemberRecord) -> Bool {
        appliances[member.appliance]?.link.isRemote ?? false
    }
}
