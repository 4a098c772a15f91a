// What goes wrong, and when it is mended.
//
// Faults are planned from the seed before anything happens, spread over the requests of the run. Each lasts
// a while; at the end everything is mended, and the set has to come to rest.

import RemoteMemory
import ResiliencySet

extension World {
    /// Spreads the scenario's faults over its requests.
    func planFaults() {
        let kinds = Scenario.Faults.each.filter { scenario.faults.contains($0) }
        guard !kinds.isEmpty else { return }
        for number in 0..<scenario.faultCount {
            // A stream of its own: leaving one fault out does not change the others.
            var chance = Chance(seed: scenario.seed, stream: UInt64(1000 + number))
            let kind = chance.pick(from: kinds)
            let moment = chance.within(1...max(1, scenario.steps - 1))
            guard !scenario.without.contains(number) else { continue }
            plannedFaults.append(
                PlannedFault(number: number, kind: kind, request: moment, chance: chance))
        }
        plannedFaults.sort { ($0.request, $0.number) > ($1.request, $1.number) }
    }

    /// A client is about to send a request: what is due goes wrong.
    func injectFaults() {
        while let growth = plannedGrowth.last, growth.request <= requestCount {
            plannedGrowth.removeLast()
            wantedBlocks = growth.blocks
        }
        while let fault = plannedFaults.last, fault.request <= requestCount {
            plannedFaults.removeLast()
            let delay = UInt64(faults.within(0...300)) * 1000
            after(delay) { [self] in
                guard !isHealing else { return }
                var chance = fault.chance
                inject(fault.kind, &chance)
            }
        }
    }

    /// How long a fault lasts, in nanoseconds: from less than anybody notices to longer than all bear.
    private func duration(_ chance: inout Chance) -> UInt64 {
        let scale: [UInt64] = [1_000_000, 20_000_000, 150_000_000, 600_000_000]
        return chance.pick(from: scale) * UInt64(chance.within(1...4))
    }

    private func inject(_ kind: Scenario.Faults, _ chance: inout Chance) {
        let appliance = appliances[chance.below(appliances.count)]
        let time = duration(&chance)
        switch kind {
        case .killDevice: currentDevice?.kill()
        case .killDeviceMidStore:
            if scenario.transport == .sharedMemory {
                currentDevice?.budget.left = 1 + chance.below(400)
            } else if scenario.mayKeepMemory {
                appliance.budget.left = 1 + chance.below(200)
                after(time) { [self] in restart(appliance, &faults) }
            } else {
                currentDevice?.kill()
            }
        case .pauseDevice: pauseDevice(for: time, &chance)
        case .killAppliance:
            appliance.kill()
            after(time) { [self] in restart(appliance, &faults) }
        case .hangAppliance:
            appliance.hang()
            after(time) { appliance.resume() }
        case .slowAppliance:
            appliance.slowness = UInt64(chance.pick(from: [500_000, 5_000_000, 50_000_000]))
            after(time) { appliance.slowness = 0 }
        case .cutLink: cutLink(appliance)
        case .silenceLink: silenceLink(appliance, for: time, &chance)
        case .registry: spoilRegistry(for: time, &chance)
        case .fullMemory:
            appliance.isFull = true
            after(time) { appliance.isFull = false }
        case .snapshot:
            // (An erasure set makes twins for a move as it does for a snapshot.)
            if coder != nil, chance.oneIn(2) {
                currentDevice?.wantsMove = true
            } else {
                currentDevice?.wantsSnapshot = true
            }
            // (A member fails meanwhile, and its appliance does not: the twin there stays.)
            if coder != nil, scenario.transport != .sharedMemory, chance.oneIn(3) {
                let place = chance.below(scenario.memberCount)
                after(UInt64(chance.within(1...8)) * 1_000_000) { [self] in
                    guard !isHealing, let channel = currentDevice?.channels[place] else { return }
                    currentDevice?.reset(channel)
                }
            }
        case .leave: chance.pick(from: clients).disconnect()
        case .scrub: currentDevice?.engine.beginScrub()
        case .killTwo:
            let other = appliances[chance.below(appliances.count)]
            currentDevice?.kill()
            let delay = UInt64(chance.within(0...6000)) * 1000
            after(delay) { [self] in
                guard !isHealing else { return }
                other.kill()
                after(time) { [self] in restart(other, &faults) }
            }
        case .partition: partition(for: time, &chance)
        default: break
        }
    }

    /// A second device takes over while the first lives on: each reaches only a part of the appliances.
    private func partition(for time: UInt64, _ chance: inout Chance) {
        guard scenario.transport != .sharedMemory, let old = currentDevice, old.isServing,
            old.life == .running
        else { return }
        startDevice()
        guard let new = devices.last, new !== old else { return }
        note("devices \(old.number) and \(new.number) are parted")
        for appliance in appliances {
            let isWithOld = chance.oneIn(2)
            let link = (isWithOld ? new : old).link(to: appliance)
            if chance.oneIn(4) { continue }
            link.isDownThere = true
            link.isDownBack = chance.oneIn(2)
            after(time) { [self] in mend(link) }
        }
    }

    private func restart(_ appliance: SimulatedAppliance, _ chance: inout Chance) {
        appliance.restart(keepingMemory: scenario.mayKeepMemory && !chance.oneIn(4))
    }

    private func pauseDevice(for time: UInt64, _ chance: inout Chance) {
        guard let device = currentDevice, device.life == .running else { return }
        device.pause()
        // Somebody starts another one meanwhile, or not. (Where the old one must be gone first, it waits.)
        if chance.oneIn(2), device.isServing {
            after(time / 4) { [self] in
                guard device.life == .paused, devices.last === device else { return }
                startDevice()
            }
        }
        after(time) { device.resume() }
    }

    private func cutLink(_ appliance: SimulatedAppliance) {
        guard scenario.transport != .sharedMemory, let device = currentDevice else { return }
        note("the connection to \(appliance.name) breaks")
        for channel in device.channels.compactMap({ $0 }) where channel.appliance === appliance {
            device.reset(channel)
        }
    }

    private func silenceLink(
        _ appliance: SimulatedAppliance, for time: UInt64, _ chance: inout Chance
    ) {
        guard scenario.transport != .sharedMemory, let device = currentDevice else { return }
        let link = device.link(to: appliance)
        let direction = chance.below(3)
        note("the link of device \(device.number) to \(appliance.name) falls silent (\(direction))")
        link.isDownThere = direction != 1
        link.isDownBack = direction != 0
        after(time) { [self] in mend(link) }
    }

    private func spoilRegistry(for time: UInt64, _ chance: inout Chance) {
        switch chance.below(3) {
        case 0:
            registry.isDown = true
            after(time) { [self] in registry.isDown = false }
        case 1: registry.answersToLose += 1 + chance.below(2)
        default:
            registry.slowness = UInt64(chance.within(1...30)) * 1_000_000
            after(time) { [self] in registry.slowness = 0 }
        }
    }

    // MARK: Mending

    /// Mends everything: from now on the set has to come to rest.
    func heal() {
        isHealing = true
        note("everything is mended")
        wantedBlocks = scenario.blocks
        registry.isDown = false
        registry.slowness = 0
        registry.answersToLose = 0
        for appliance in appliances {
            appliance.budget.left = .max
            appliance.slowness = 0
            appliance.isFull = false
            appliance.resume()
            if appliance.life == .dead { restart(appliance, &faults) }
        }
        for device in devices {
            device.budget.left = .max
            for link in device.links.compactMap({ $0 }) { mend(link) }
            device.resume()
        }
        if devices.last?.life == .dead { startDevice() }
        // Whoever was replaced is stopped by its operator, some time later.
        after(300_000_000) { [self] in
            for device in devices where device !== devices.last { device.kill() }
        }
    }
}

/// A fault that is to happen when so many requests were sent.
struct PlannedFault {
    var number: Int
    var kind: Scenario.Faults
    var request: Int
    var chance: Chance
}
