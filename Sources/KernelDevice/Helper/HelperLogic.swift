// What the helper does and when, as a pure state machine: events in, actions out. No sockets, no clock.
//
//                 a connection died              sockets were given
//       ┌─ calm ─────────────────────▶ renewing ──────────────────▶ settling ─┐
//       │   ▲  ▲                        ▲    │ no server                │     │ after a moment: once more
//       │   │  └── measuring ◀──┐       │    ▼                          ▼     │
//       └───┴───── from time to time    └─ waiting: try again       renewing ─┘
//
// The kernel gives sockets to dead connections and lets go of those that are too many. So to offer a whole
// set is right at any time, and nothing has to be known about which connection died. That makes every doubt
// harmless: a device that is seen for the first time, after a restart of the helper or an overflow of the
// kernel's events, is offered a set. And since the kernel tells of a death a moment before it counts the
// connection among the dead, each set that was given is followed by another one.

/// Keeps all attached devices supplied with connections.
package struct HelperLogic {
    /// What happened.
    package enum Event: Equatable {
        /// All devices that are attached now.
        case found([AttachedDevice])
        case linkDied(DeviceIndex)
        /// Events of the kernel were lost.
        case eventsLost
        case renewed(DeviceIndex, attempt: Int, Renewal)
        /// The size that the server tells now, in bytes; nil when it does not answer.
        case measured(DeviceIndex, attempt: Int, size: UInt64?)
        /// Time passed.
        case tick
    }

    /// How offering sockets went.
    package enum Renewal: Equatable {
        case given
        /// The reason is for people.
        case noServer(String)
        /// The device is attached no more.
        case detached
    }

    /// What is to be done.
    package enum Action: Equatable {
        /// Tell what is attached now, with `found`.
        case look
        /// Connect as often as the device does, and offer that; tell `renewed`.
        case renew(AttachedDevice, attempt: Int)
        /// Ask the server for the size; tell `measured`.
        case measure(AttachedDevice, attempt: Int)
        /// Set the device's size, in bytes.
        case resize(AttachedDevice, size: UInt64)
        case tell(Note)
    }

    /// What people may want to know.
    package enum Note: Equatable {
        case keeps(AttachedDevice)
        case isGone(DeviceIndex)
        case waits(DeviceIndex, reason: String)
        /// The time from the first dead connection on.
        case isBack(DeviceIndex, after: Duration)
        case resized(DeviceIndex, bytes: UInt64)
    }

    /// Until a server is tried again that was not there: at first, and when it has been away for long.
    package static let eagerPause = Duration.milliseconds(100)
    package static let patientPause = Duration.seconds(1)
    package static let eagerTime = Duration.seconds(60)
    /// Until a set of sockets that was given is followed by another.
    package static let settlingTime = Duration.seconds(1)
    /// How often the size is asked for, and the attached devices are looked at.
    package static let measuringPause = Duration.seconds(10)

    private enum State {
        case calm(until: Duration)
        case measuring
        case renewing(isAgain: Bool)
        case waiting(until: Duration)
        case settling(until: Duration)
    }

    private struct Kept {
        var device: AttachedDevice
        var state: State
        /// The number of what is under way; the results of others come too late.
        var attempt: Int
        /// Since when it has a dead connection.
        var deadSince: Duration?
        /// That it waits for a server was told.
        var hasTold = false
    }

    private var kept: [DeviceIndex: Kept] = [:]
    private var attempts = 0
    private var lookAt: Duration = .zero

    /// One that knows of no device.
    package init() {}

    /// Whether no device is attached.
    package var isIdle: Bool { kept.isEmpty }

    /// When `tick` is to come, at the latest.
    package var deadline: Duration {
        kept.values.reduce(lookAt) { earliest, kept in
            switch kept.state {
            case .calm(let until), .waiting(let until), .settling(let until): min(earliest, until)
            case .measuring, .renewing: earliest
            }
        }
    }

    /// The devices, each with how long it has been waiting for a server.
    package func devices(now: Duration) -> [(device: AttachedDevice, waiting: Duration?)] {
        kept.values.sorted { $0.device.device < $1.device.device }
            .map { ($0.device, $0.deadSince.map { now - $0 }) }
    }

    /// Takes an event that happened `now`; returns what is to be done.
    package mutating func handle(_ event: Event, now: Duration) -> [Action] {
        switch event {
        case .found(let devices): return found(devices, now)
        case .linkDied(let device):
            // (One that is not known was attached since.)
            guard kept[device] != nil else { return [.look] }
            return died(device, now)
        case .eventsLost:
            return [.look] + kept.keys.sorted().flatMap { died($0, now) }
        case .renewed(let device, let attempt, let renewal):
            guard let one = kept[device], one.attempt == attempt else { return [] }
            return renewed(one, renewal, now)
        case .measured(let device, let attempt, let size):
            guard var one = kept[device], one.attempt == attempt else { return [] }
            one.state = .calm(until: now + Self.measuringPause)
            kept[device] = one
            guard let size, size != one.device.size, size > 0 else { return [] }
            return [.resize(one.device, size: size), .look, .tell(.resized(device, bytes: size))]
        case .tick: return tick(now)
        }
    }

    private mutating func found(_ devices: [AttachedDevice], _ now: Duration) -> [Action] {
        lookAt = now + Self.measuringPause
        var actions: [Action] = []
        let present = Set(devices.map(\.device))
        for device in kept.keys.sorted() where !present.contains(device) {
            kept[device] = nil
            actions.append(.tell(.isGone(device)))
        }
        for device in devices {
            if kept[device.device]?.device.backend == device.backend {
                kept[device.device]?.device = device
                continue
            }
            kept[device.device] = Kept(device: device, state: .calm(until: now), attempt: 0)
            actions += [.tell(.keeps(device)), renew(device.device)]
        }
        return actions
    }

    private mutating func died(_ device: DeviceIndex, _ now: Duration) -> [Action] {
        guard let one = kept[device] else { return [] }
        kept[device]?.deadSince = one.deadSince ?? now
        switch one.state {
        case .calm, .measuring, .settling: return [renew(device)]
        // (Sockets that are on their way may come too early for this death: others will follow.)
        case .renewing, .waiting: return []
        }
    }

    /// Starts to make connections; `isAgain` for those that follow others.
    private mutating func renew(_ device: DeviceIndex, isAgain: Bool = false) -> Action {
        attempts += 1
        guard var one = kept[device] else { preconditionFailure("what is kept is renewed") }
        one.state = .renewing(isAgain: isAgain)
        one.attempt = attempts
        kept[device] = one
        return .renew(one.device, attempt: attempts)
    }

    private mutating func renewed(_ one: Kept, _ renewal: Renewal, _ now: Duration) -> [Action] {
        var one = one
        let device = one.device.device
        defer { kept[device] = one }
        guard case .renewing(let isAgain) = one.state else { return [] }
        switch renewal {
        case .detached:
            // What is attached now, if anything, is another device.
            one.state = .calm(until: now + Self.measuringPause)
            return [.look]
        case .noServer(let reason):
            let since = one.deadSince ?? now
            one.deadSince = since
            let isLong = now - since > Self.eagerTime
            one.state = .waiting(until: now + (isLong ? Self.patientPause : Self.eagerPause))
            defer { one.hasTold = true }
            return one.hasTold ? [] : [.tell(.waits(device, reason: reason))]
        case .given:
            one.hasTold = false
            let wasDead = one.deadSince
            one.deadSince = nil
            let notes = wasDead.map { [Action.tell(.isBack(device, after: now - $0))] } ?? []
            one.state =
                isAgain && wasDead == nil
                ? .calm(until: now + Self.measuringPause)
                : .settling(until: now + Self.settlingTime)
            return notes
        }
    }

    private mutating func tick(_ now: Duration) -> [Action] {
        var actions: [Action] = []
        if now >= lookAt {
            lookAt = now + Self.measuringPause
            actions.append(.look)
        }
        for device in kept.keys.sorted() {
            guard var one = kept[device] else { continue }
            switch one.state {
            case .waiting(let until) where now >= until: actions.append(renew(device))
            case .settling(let until) where now >= until:
                actions.append(renew(device, isAgain: true))
            case .calm(let until) where now >= until:
                attempts += 1
                one.state = .measuring
                one.attempt = attempts
                kept[device] = one
                actions.append(.measure(one.device, attempt: attempts))
            case .calm, .measuring, .renewing, .waiting, .settling: continue
            }
        }
        return actions
    }
}
