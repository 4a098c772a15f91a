// An erasure set that stands still: once K members can be reached again, all are opened anew, so that nothing
// that was sent to them before lands any more.

import Registry
import RemoteMemory
import ResiliencySet

extension SimulatedDevice {
    /// Opens the active members anew, and lets the engine go on when enough are there.
    func reopenMembers() {
        guard !isReconnecting else { return }
        let members = record.members.filter { engine.active.contains($0.index) }
        guard transport != .sharedMemory else { return memberReturned(Set(members.map(\.index))) }
        isReconnecting = true
        // (What is refused on an old channel, once there is a new one, would look like a new owner.)
        for member in members {
            guard let channel = channels[member.index.number] else { continue }
            channel.isOpen = false
            channels[member.index.number] = nil
            failOutstanding(channel)
        }
        var outcomes: [MemberIndex: OpeningOutcome] = [:]
        for member in members {
            open(member) { [self] outcome in
                guard outcomes[member.index] == nil else { return }
                outcomes[member.index] = outcome
                guard outcomes.count == members.count else { return }
                isReconnecting = false
                for (member, outcome) in outcomes where outcome == .lost {
                    engine.memberLost(member, isAccessible: false)
                }
                memberReturned(Set(outcomes.filter { $0.value == .opened }.keys))
            }
        }
    }

    private func memberReturned(_ back: Set<MemberIndex>) {
        let here = back.filter { channels[$0.number]?.isOpen == true }
        var found: [(member: MemberIndex, slot: UInt8, content: IntentSlot)] = []
        for member in here.sorted() {
            guard let region = channels[member.number]?.mapping else { continue }
            for (slot, content) in records(in: region, of: member) {
                found.append((member, slot, content))
            }
        }
        if here.count >= stripes.dataShards { world.probes.hit(.membersReturned) }
        engine.membersReturned(
            missing: engine.active.subtracting(MemberSet(here)), intents: found)
        drain()
    }
}
