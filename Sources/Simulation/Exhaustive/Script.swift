// A short story instead of chance: these requests, and one thing that goes wrong at an exact place.

import RemoteMemory
import ResiliencySet

/// What a scripted client does, and where the story is cut off.
public struct Script: Sendable, Hashable {
    /// One thing after the other.
    public enum Step: Sendable, Hashable {
        case request(Kind, Range<Int>)
        /// Appliances die for good, and the set learns to live without them.
        case lose(Set<Int>)
        /// A member is to be moved to another appliance; the story goes on at once.
        case move
        /// A snapshot is to be taken; the story goes on at once.
        case snapshot
        /// Nothing for so many milliseconds.
        case rest(UInt64)
    }

    public enum Kind: Sendable, Hashable { case read, write, zero, discard }

    /// Where something goes wrong.
    public enum Cut: Sendable, Hashable {
        case nothing
        /// The device dies after so many of its own stores (shared memory).
        case store(Int)
        /// The device dies before the event with this number.
        case event(Int)
        /// The operation with this number fails; `lands`: after it was carried out.
        case operation(Int, lands: Bool)
    }

    public var steps: [Step]
    public var cut = Cut.nothing
    /// The second device dies too, after so many of its stores, or events after the first death.
    public var secondCut: Int?
    /// Appliances that die with the first device.
    public var lostWithDevice: Set<Int> = []
}

extension Script.Kind {
    var request: RequestKind {
        switch self {
        case .read: .read
        case .write: .write
        case .zero: .zero
        case .discard: .discard
        }
    }
}

extension World {
    /// Lets the story go wrong where it is to; called before every event.
    func followScript() {
        guard let script = scenario.script else { return }
        if case .event(let number) = script.cut, events == number { devices.first?.kill() }
        if let second = script.secondCut, scenario.transport != .sharedMemory,
            let death = firstDeath, events == death + second, devices.count > 1
        {
            devices[1].kill()
        }
    }

    /// A device begins to serve, or to repair: its stores are counted from here.
    func scriptedStart(_ device: SimulatedDevice) {
        guard let script = scenario.script else { return }
        if device.number == 0 {
            if case .store(let number) = script.cut { device.budget.left = number }
            device.budget.isCounting = true
        } else if device.number == 1, let second = script.secondCut,
            scenario.transport == .sharedMemory
        {
            device.budget.left = second
        }
    }

    /// The first device died: so do others, at that very moment.
    func scriptedDeath(_ device: SimulatedDevice) {
        guard let script = scenario.script, device.number == 0 else { return }
        firstDeath = events
        // (Once everything is mended nothing would bring them back.)
        guard !isHealing else { return }
        for index in script.lostWithDevice { appliances[index].kill() }
    }

    /// The next thing that the scripted client does; nil when its story is over.
    func nextScripted() -> Script.Step? {
        guard let script = scenario.script, scriptPosition < script.steps.count else { return nil }
        defer { scriptPosition += 1 }
        return script.steps[scriptPosition]
    }
}
