// A process that lends memory.

import RemoteMemory

/// An appliance, its regions and what befalls it.
final class SimulatedAppliance {
    enum Life { case running, hung, dead }

    let index: Int
    let name: String
    private(set) var incarnation: Incarnation
    var regions: [RegionID: SimulatedRegion] = [:]
    private(set) var life = Life.running
    /// Counts its processes.
    private(set) var run = 0
    var backlog: [Event] = []
    /// Added to every message to and from it, in nanoseconds.
    var slowness: UInt64 = 0
    /// It has no memory left for another region.
    var isFull = false
    /// Ends in the middle of what it stores for a message.
    var budget = StoreBudget()
    unowned let world: World

    init(index: Int, incarnation: Incarnation, world: World) {
        self.index = index
        self.incarnation = incarnation
        self.world = world
        name = "a\(index)"
    }

    func hang() {
        guard life == .running else { return }
        world.note("\(name) hangs")
        life = .hung
    }

    func resume() {
        guard life == .hung else { return }
        world.note("\(name) goes on")
        life = .running
        let waiting = backlog
        backlog = []
        for event in waiting { world.dispatch(event) }
    }

    func kill() {
        guard life != .dead else { return }
        world.note("\(name) dies")
        life = .dead
        backlog = []
        budget = StoreBudget()
        for device in world.devices { device.applianceDied(self) }
    }

    /// Starts again: with its memory, or as a new incarnation without.
    func restart(keepingMemory: Bool) {
        guard life == .dead else { return }
        world.note("\(name) is back, \(keepingMemory ? "its memory kept" : "empty")")
        life = .running
        run += 1
        slowness = 0
        guard keepingMemory else {
            regions = [:]
            incarnation = Incarnation(.random(using: &world.names))
            return
        }
        for region in regions.values { region.channel = nil }
    }
}
